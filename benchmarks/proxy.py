"""The planning proxy before an upstream, against the upstream alone: latency, 500 streams, memory.

    python benchmarks/proxy.py [--requests N] [--streams N] [--out FILE]

The upstream, a server of this file's own that answers at once, the proxy (`mpo proxy`, one worker,
plans from a file) and the client are a process each. Both sides are asked the same, in turns:

- one request after the other, of conversations whose plan is there, and of new ones; what the proxy
  adds is the difference of the medians;
- many streams at a time, each of which brings a token every `--interval` seconds: what arrives is
  compared with what was sent, and an event's delay is counted from when it was due. The streams are
  run twice, so that memory that grew with them would show in the second round.

Memory is the proxy's resident set: what the streams add at their peak to what it held before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from measure import write_report

LIMITS = {"added_ms_median": 5.0, "memory_growth_mb": 20.0}
ROWS = (
    ("median ms, plan there", "known_ms", "known"),
    ("median ms, new conversation", "new_ms", "new"),
    ("99th percentile ms, plan there", "known_p99_ms", None),
    ("median ms that an event is late", "late_ms", None),
    ("processor s of the streams", "cpu_s", None),
)
TURNS = 9
"""Messages of the requests: 2 KB each, as an agent's conversation in its middle."""
ANSWER = json.dumps({"choices": [{"message": {"content": "x" * 400}}], "usage": {}}).encode()
DONE = b"data: [DONE]\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--events", type=int, default=100, help="of each stream")
    parser.add_argument("--interval", type=float, default=0.1, help="seconds between two")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/proxy.json"))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.events, options.interval))
        return
    report = measure(options)
    write_report(options.out, report, ROWS, ("upstream", "proxy"))
    for name, limit in LIMITS.items():
        print(f"{name:<36}{report[name]:>10.4g}{f'at most {limit:g}':>26}")
    print(f"{'streams':<36}{report['streams']:>10}")
    print(f"{'memory_mb_per_500_streams':<36}{report['memory_mb_per_500_streams']:>10.4g}")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    with (
        TemporaryDirectory() as folder,
        upstream(options) as port,
        proxy(Path(folder), port) as (process, proxy_port),
    ):
        return asyncio.run(compared(options, process, port, proxy_port))


async def compared(
    options: argparse.Namespace, process: psutil.Process, port: int, proxy_port: int
) -> dict[str, Any]:
    """The report on an upstream and the proxy before it, by their ports."""
    sides: dict[str, dict[str, Any]] = {"baseline": {}, "ours": {}}
    ports = {"baseline": port, "ours": proxy_port}
    for kind in ("known", "new"):
        times: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(options.requests):
            # The first request of the known conversation begins it.
            turns = TURNS if kind == "known" and number else 1
            body = request(f"task {number if kind == 'new' else 0}", tag=kind, turns=turns)
            for side, at in ports.items():
                times[side].append(await asked(at, body))
        for side, found in times.items():
            ordered = sorted(found[len(found) // 10 :])
            sides[side][f"{kind}_ms"] = round(1000 * statistics.median(ordered), 3)
            sides[side][f"{kind}_p99_ms"] = round(1000 * ordered[int(0.99 * len(ordered))], 3)
    before = rss_mb(process)
    rounds = []
    for number in (1, 2):
        rounds.append(await streamed(options, proxy_port, process, f"round {number}"))
    alone = await streamed(options, port, None, "alone")
    sides["ours"] |= {key: rounds[1][key] for key in ("late_ms", "late_p99_ms", "cpu_s", "wall_s")}
    sides["baseline"] |= {key: alone[key] for key in ("late_ms", "late_p99_ms", "wall_s")}
    sides["baseline"]["cpu_s"] = 0.0
    added = {
        kind: sides["ours"][f"{kind}_ms"] - sides["baseline"][f"{kind}_ms"]
        for kind in ("known", "new")
    }
    peaks = [one["peak_mb"] for one in rounds]
    return {
        "added_ms_median": round(added["known"], 3),
        "added_ms_median_new": round(added["new"], 3),
        "streams": min(one["whole"] for one in rounds),
        "memory_mb_per_500_streams": round((max(peaks) - before) * 500 / options.streams, 1),
        "memory_growth_mb": round(peaks[1] - peaks[0], 1),
        "events_per_s": round(options.streams * options.events / rounds[1]["wall_s"]),
        "proxy_mb": round(before, 1),
        "ratios": {},
        "goals": {},
        "limits": LIMITS,
        **sides,
        "load": os.getloadavg()[0],
    }


# ------------------------------------------------------------------------------------ the client


def request(task: str, *, tag: str, turns: int = 1, stream: bool = False) -> bytes:
    """A request of a conversation about a task; another tag, another conversation."""
    said = [{"role": "user", "content": f"{task}"}]
    for k in range(1, turns):
        said.append({"role": ("user", "assistant")[k % 2], "content": f"{k} {'word ' * 400}"})
    return json.dumps({"model": tag, "messages": said, "stream": stream}).encode()


async def asked(port: int, body: bytes) -> float:
    """Seconds of a request on a connection of its own, from its sending to the answer's end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    await send(writer, body)
    status, _ = await head(reader)
    assert status == 200, status
    await reader.read()
    took = time.perf_counter() - began
    writer.close()
    return took


async def streamed(
    options: argparse.Namespace, port: int, process: psutil.Process | None, tag: str
) -> dict[str, Any]:
    """All streams at once: how many came whole, how late their events were, what the proxy took."""
    late: list[float] = []
    peak = rss_mb(process) if process else 0.0
    cpu = sum(process.cpu_times()[:2]) if process else 0.0

    async def one(number: int) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await send(writer, request(f"task {number}", tag=tag, stream=True))
        status, chunked = await head(reader)
        seen = 0
        async for line in lines(reader, chunked):
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                late.append(time.time() - event["due"])
                seen += event["number"] == seen
        writer.close()
        return status == 200 and seen == options.events

    began = time.perf_counter()
    running = [asyncio.create_task(one(number)) for number in range(options.streams)]
    waiting = asyncio.gather(*running)
    while not waiting.done():
        await asyncio.wait([waiting], timeout=0.25)
        peak = max(peak, rss_mb(process)) if process else 0.0
    whole = await waiting
    wall = time.perf_counter() - began
    ordered = sorted(late)
    return {
        "whole": sum(whole),
        "late_ms": round(1000 * statistics.median(ordered), 2),
        "late_p99_ms": round(1000 * ordered[int(0.99 * len(ordered))], 1),
        "peak_mb": peak,
        "cpu_s": round(sum(process.cpu_times()[:2]) - cpu, 2) if process else 0.0,
        "wall_s": round(wall, 2),
    }


async def send(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    )
    await writer.drain()


async def head(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Status of an answer, and whether its body comes in chunks."""
    text = (await reader.readuntil(b"\r\n\r\n")).lower()
    return int(text.split()[1]), b"transfer-encoding: chunked" in text


async def lines(reader: asyncio.StreamReader, chunked: bool) -> AsyncIterator[bytes]:
    """The lines of a body."""
    rest = b""
    while True:
        if chunked:
            size = int((await reader.readline()) or b"0", 16)
            chunk = await reader.readexactly(size) if size else b""
            await reader.readline()
        else:
            chunk = await reader.read(2**16)
        if not chunk:
            return
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line


# ---------------------------------------------------------------------- the upstream, the proxy


async def serve(events: int, interval: float) -> None:
    """Answer chat completions: at once, or as a stream of events of which each says when it was
    due."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while text := await _request_head(reader):
            length = int(text.partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if b'"stream": true' in body:
                await stream(writer)
            else:
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                    b"\r\n%s" % (len(ANSWER), ANSWER)
                )
            await writer.drain()
            if b"connection: close" in text:
                break
        writer.close()

    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        began = time.time()
        for number in range(events):
            due = began + number * interval
            await asyncio.sleep(max(0.0, due - time.time()))
            event = json.dumps({"number": number, "due": due, "content": "token"}).encode()
            write_chunk(writer, b"data: " + event + b"\n\n")
            await writer.drain()
        write_chunk(writer, DONE)
        write_chunk(writer, b"")

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=2048, limit=2**20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _request_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).lower()
    except asyncio.IncompleteReadError:
        return b""


def write_chunk(writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(content), content))


@contextmanager
def upstream(options: argparse.Namespace) -> Iterator[int]:
    """The port of an upstream in a process of its own."""
    line = [sys.executable, __file__, "--serve"]
    line += [f"--events={options.events}", f"--interval={options.interval}"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@contextmanager
def proxy(folder: Path, port: int) -> Iterator[tuple[psutil.Process, int]]:
    """`mpo proxy` before the upstream, with a plan for every task, and its port."""
    plans = folder / "plans.jsonl"
    plan = "Step 1: Look around.\nStep 2: Take what is needed.\nStep 3: Bring it back."
    rows = ({"task": f"task {k}", "plan": plan} for k in range(5000))
    plans.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    line = [sys.executable, "-m", "jobs.cli", "proxy", str(plans), "--port=0"]
    line += [f"--upstream=http://127.0.0.1:{port}/v1", f"proxy.folder={folder / 'proxy'}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "400"}
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, env=environment, encoding="utf-8"
    ) as process:
        try:
            ready = process.stdout.readline()
            yield psutil.Process(process.pid), int(ready.partition("/v1")[0].rpartition(":")[2])
        finally:
            process.terminate()


def rss_mb(process: psutil.Process) -> float:
    return process.memory_info().rss / 2**20


if __name__ == "__main__":
    main()
