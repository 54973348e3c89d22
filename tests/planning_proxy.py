"""The planning proxy and an upstream that records what it is asked, each on a free port."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mpo_core.config import ProxyConfig, validated
from mpo_core.proxy.app import proxy_app
from mpo_core.proxy.planners import Planners, Source, write_planners
from mpo_core.proxy.store import Store

TASK = "Boil some water."
PLAN = "Step 1: Find a pot.\nStep 2: Heat the water."
BLOCK = f"This plan may help you with the task:\n{PLAN}"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def chat(*contents: Any, model: str = "agent", **fields: Any) -> dict[str, Any]:
    """A body of turns, the user's first, or of whole messages."""
    roles = ("user", "assistant")
    messages = [
        said
        if isinstance(said, dict) and "role" in said
        else {"role": roles[k % 2], "content": said}
        for k, said in enumerate(contents)
    ]
    return {"model": model, "messages": messages, **fields}


@dataclass
class Seen:
    """One request as it reached the upstream."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass
class Upstream:
    """What an upstream answers, and what it was asked."""

    status: int = 200
    body: bytes | None = None
    """In place of a completion that says how many messages it saw."""
    chunks: Sequence[bytes] = ()
    """Of a stream, with `pause_s` between them."""
    pause_s: float = 0.0
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    breaks: bool = False
    """The connection is closed after the chunks, in the middle of the answer."""
    answer: Callable[[Any], Any] | None = None
    """The JSON that a body is answered with, or the chunks of a stream."""
    seen: list[Seen] = field(default_factory=list)
    left: int = 0
    """Requests whose caller left before the end."""
    url: str = ""

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        headers = [(k.decode(), v.decode("latin-1")) for k, v in request.headers.raw]
        url = request.url
        self.seen.append(Seen(request.method, url.path, url.query, headers, body))
        if self.hangs:
            await self._until_left(request)
        answer = self.answer(json.loads(body)) if self.answer and body else None
        chunks = answer if isinstance(answer, list) else self.chunks
        if chunks:
            media = self.content_type if "event" in self.content_type else "text/event-stream"
            stream = self._stream(chunks)
            return StreamingResponse(stream, self.status, dict(self.headers), media)
        content = self.body if self.body is not None else self._completion(answer)
        return Response(content, self.status, dict(self.headers), self.content_type)

    def _completion(self, answer: Any) -> bytes:
        if answer is not None:
            return json.dumps(answer).encode()
        said = {"role": "assistant", "content": "Well."}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        whole = {"id": "c", "object": "chat.completion", "choices": [choice], "usage": USAGE}
        return json.dumps(whole).encode()

    async def _stream(self, chunks: Sequence[bytes]):
        try:
            for chunk in chunks:
                yield chunk
                await asyncio.sleep(self.pause_s)
            if self.breaks:
                raise ConnectionError("broken on purpose")
        except asyncio.CancelledError:
            self.left += 1
            raise

    async def _until_left(self, request: Request) -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.02)
        self.left += 1
        raise ClientDisconnect

    @property
    def last(self) -> Seen:
        return self.seen[-1]


@contextmanager
def recording_upstream(**behaviour: Any) -> Iterator[Upstream]:
    """An upstream as long as the block lasts."""
    upstream = Upstream(**behaviour)
    methods = ["GET", "POST", "DELETE"]
    app = Starlette(routes=[Route("/{path:path}", upstream.__call__, methods=methods)])
    with _serving(app) as address:
        upstream.url = f"{address}/v1"
        yield upstream


@dataclass
class Running:
    """A proxy, its upstream, and its folder."""

    address: str
    upstream: Upstream
    folder: Path
    client: httpx.Client

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

    def ask(self, body: Any, path: str = "/chat/completions", **headers: str) -> httpx.Response:
        """Post a body; headers by their names with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"content-type": "application/json"} | named
        return self.client.post(f"{self.url}{path}", content=content, headers=named)

    def feedback(self, **said: Any) -> httpx.Response:
        return self.client.post(f"{self.url}/mpo/feedback", json=said)

    def metrics(self, name: str) -> dict[str, float]:
        """The lines of a metric: its labels as they are printed -> its value."""
        lines = self.client.get(f"{self.address}/metrics").text.splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith(f"mpo_proxy_{name}"))
        return {line.removeprefix(f"mpo_proxy_{name}"): float(value) for line, _, value in found}

    def store(self) -> Store:
        return Store(self.folder)


def file_of_plans(folder: Path, plans: Mapping[str, str | list[str]] | None = None) -> Source:
    """A source with plans by their tasks' texts."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"task": task, "plan": plan} for task, plan in (plans or {TASK: PLAN}).items()]
    path = folder / "plans.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(plans=path)


@contextmanager
def planning_proxy(
    folder: Path,
    upstream: Upstream | str | None = None,
    *,
    planners: Planners | Source | None = None,
    key: str = "",
    upstream_key: str = "",
    **settings: Any,
) -> Iterator[Running]:
    """A proxy in this process, before a recording upstream unless one is given."""
    source = planners or file_of_plans(folder)
    if isinstance(source, Source):
        source = Planners(current="v1", versions={"v1": source})
    write_planners(folder, source)
    config = validated(ProxyConfig, {"folder": folder, **settings}, "proxy")
    with ExitStack() as stack:
        if upstream is None:
            upstream = stack.enter_context(recording_upstream())
        url = upstream if isinstance(upstream, str) else upstream.url
        app = proxy_app(config, url, key=key, upstream_key=upstream_key)
        address = stack.enter_context(_serving(app))
        # What speaks to loopback alone need not read the authorities of the world.
        client = stack.enter_context(httpx.Client(timeout=30, verify=False))
        recorded = upstream if isinstance(upstream, Upstream) else Upstream()
        yield Running(address, recorded, folder, client)


class _Server(uvicorn.Server):
    """A server that ends at once: uvicorn's own looks every tenth of a second whether it is to, and
    then waits for another, which is most of what a test of a proxy takes."""

    async def main_loop(self) -> None:
        self.loop, self.ended = asyncio.get_running_loop(), asyncio.Event()
        await self.on_tick(0)
        await self.ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=0.1)
        await self.lifespan.shutdown()


@contextmanager
def _serving(app: Any) -> Iterator[str]:
    """The address of an application, served by a thread of this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = _Server(
        uvicorn.Config(
            app, log_level="critical", access_log=False, server_header=False, date_header=False
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: hasattr(server, "ended"), 30)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        if thread.is_alive():
            server.loop.call_soon_threadsafe(server.ended.set)
        thread.join(10)
        listener.close()


def wait_until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """Raises AssertionError where it does not hold in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)
