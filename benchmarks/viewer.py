"""The viewer on a ledger of 50,000 episodes of an 8B model's length: its pages, and its memory.

    python benchmarks/viewer.py [--episodes N] [--baseline N] [--folder DIR] [--out FILE]

A run is made up as for `ledger.py`, in `--folder`, deleted at the end. `mpo view` is started on it
in a process of its own, once without an index of its own and once with it: seconds from the command
to its first page, then of each kind of page when all is read. The baseline answers the same first
page by parsing every line of the ledger, on fewer episodes; the ratio is per episode.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import psutil
from ledger import command
from measure import options_of_a_ledger, write_report

LIMITS = {"first_page_s": 1.0, "page_s": 1.0, "peak_mb": 300}
REPEATED = 5
ROWS = (("ms to the episodes that won, an episode", "ms_per_episode", "time"),)


def main() -> None:
    options = options_of_a_ledger(__doc__, "viewer", episodes=50_000, baseline=5_000)
    try:
        report = measure(options.folder.absolute(), options.episodes, options.baseline)
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)
    write_report(options.out, report, ROWS, ("baseline", "ours"))
    for name, limit in LIMITS.items():
        print(f"{name:<36}{report['totals'][name]:>10.4g}{f'at most {limit}':>26}")


def measure(folder: Path, episodes: int, baseline: int) -> dict[str, Any]:
    made = command("ledger", str(folder), "make", str(episodes))
    run, path = map(Path, json.loads(made["output"]))
    fresh, again = visit(run), visit(run)
    few = path.with_name("few.jsonl")
    with path.open("rb") as whole, few.open("wb") as part:
        part.writelines(islice(whole, baseline))
    parsed = command("ledger", str(few), "whole")
    ms = 1000 * again["pages"]["won"] / episodes
    naive = 1000 * json.loads(parsed["output"])["wall_s"] / baseline
    return {
        "ratios": {"time": round(naive / ms, 1)},
        "goals": {},
        "ours": {"ms_per_episode": round(ms, 5), "fresh": fresh, "again": again},
        "baseline": {"ms_per_episode": round(naive, 5), "peak_mb": parsed["peak_mb"]},
        "totals": {
            "first_page_s": max(fresh["first_page_s"], again["first_page_s"]),
            "page_s": max(again["pages"].values()),
            "peak_mb": max(fresh["peak_mb"], again["peak_mb"]),
        },
        "limits": LIMITS,
        "ledger_gb": round(path.stat().st_size / 2**30, 2),
        "index_mb": round((run / "view.sqlite").stat().st_size / 2**20, 1),
    }


def visit(run: Path) -> dict[str, Any]:
    """Start the viewer on a run and look at its pages."""
    asked = {"run": run.name}
    with viewing(run) as (client, process, start_s):
        first = seconds(client, "/episodes", asked)
        started = time.perf_counter()
        while client.get("/state", params=asked).json()["behind"]:
            time.sleep(0.1)
        read_s = time.perf_counter() - started
        listed = client.get("/episodes", params=asked).text
        one, two, *_ = dict.fromkeys(re.findall(r"key=(\w+)", listed))
        pages = {
            "list": ("/episodes", asked),
            "won": ("/episodes", {**asked, "success": "1"}),
            "planner, by steps": ("/episodes", {**asked, "planner": "base", "sort": "steps"}),
            "last page": ("/episodes", {**asked, "page": "900"}),
            "text": ("/episodes", {**asked, "text": "hallway"}),
            "episode": ("/episode", {**asked, "key": one}),
            "compare": ("/compare", {**asked, "a": one, "b": two}),
        }
        found = {
            name: statistics.median(seconds(client, *page) for _ in range(REPEATED))
            for name, page in pages.items()
        }
        absent = seconds(client, "/episodes", {**asked, "text": "a text that is nowhere"})
        peak = process.memory_info().rss / 2**20
    return {
        "start_s": round(start_s, 2),
        "first_page_s": round(first, 3),
        "read_s": round(read_s, 2),
        "pages": {name: round(amount, 4) for name, amount in found.items()},
        "text_that_is_nowhere_s": round(absent, 2),
        "peak_mb": round(peak, 1),
    }


@contextmanager
def viewing(run: Path) -> Iterator[tuple[httpx.Client, psutil.Process, float]]:
    """A client of the viewer on a run, its process, and the seconds that its start took."""
    started = time.perf_counter()
    line = [sys.executable, "-m", "jobs.cli", "view", str(run), "--port", "0"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, encoding="utf-8") as process:
        address = process.stdout.readline().strip()
        try:
            with httpx.Client(base_url=address, timeout=60) as client:
                client.get("/static/view.css")
                yield client, psutil.Process(process.pid), time.perf_counter() - started
        finally:
            process.terminate()


def seconds(client: httpx.Client, path: str, asked: dict[str, str]) -> float:
    started = time.perf_counter()
    client.get(path, params=asked).raise_for_status()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
