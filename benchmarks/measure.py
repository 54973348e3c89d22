"""What the benchmarks of the hosts share: what both sides play, what it took, and the report.

Importing this imports none of the suite: the process of a stock side is to hold none of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from mpo_core.types import Task


def options_of_a_ledger(
    about: str, name: str, *, episodes: int, baseline: int
) -> argparse.Namespace:
    """The options of a benchmark that makes a ledger, in a folder that is not there yet."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=episodes)
    parser.add_argument("--baseline", type=int, default=baseline, help="episodes of the baseline")
    parser.add_argument("--folder", type=Path, default=Path(f"runs/bench/{name}-run"))
    parser.add_argument("--out", type=Path, default=Path(f"runs/bench/{name}.json"))
    options = parser.parse_args()
    if options.folder.exists():
        parser.error(f"{options.folder}: is there already; remove it, or give another --folder")
    return options


@dataclass
class Script:
    """A task and the actions that both sides play in it."""

    task: Task
    actions: list[str]


@dataclass(frozen=True)
class Spent:
    """Time that play took."""

    games_s: float = 0.0
    """Processor seconds of the process with the games."""
    client_s: float = 0.0
    """Processor seconds of this process, where the games are in another."""
    wall_s: float = 0.0

    @classmethod
    def now(cls, process: psutil.Process | None = None) -> Spent:
        """Until now, where `process` has the games, or this one."""
        if process is None:
            return cls(time.process_time(), 0.0, time.perf_counter())
        times = process.cpu_times()
        return cls(times.user + times.system, time.process_time(), time.perf_counter())

    @property
    def cpu_s(self) -> float:
        return self.games_s + self.client_s

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.games_s + other.games_s,
            self.client_s + other.client_s,
            self.wall_s + other.wall_s,
        )

    def __sub__(self, other: Spent) -> Spent:
        return self + Spent(-other.games_s, -other.client_s, -other.wall_s)


def figures(steps: int, spent: Spent, sessions: int, gb: float) -> dict[str, float]:
    """A side's figures, from the time that its steps took and the memory of its sessions."""
    return {
        "steps_per_s": round(steps / spent.cpu_s, 2),
        "steps_per_wall_s": round(steps / spent.wall_s, 2),
        "steps": steps,
        "games_s": round(spent.games_s, 2),
        "client_s": round(spent.client_s, 2),
        "wall_s": round(spent.wall_s, 2),
        "sessions_per_gb": round(sessions / gb, 2),
        "sessions": sessions,
        "pss_gb": round(gb, 3),
    }


def pss_gb(process: psutil.Process) -> float:
    return process.memory_full_info().pss / 2**30


def write_report(
    path: Path,
    report: dict,
    rows: Sequence[tuple[str, str, str | None]],
    sides: tuple[str, str] = ("stock", "host"),
) -> None:
    """Write a report, with the machine, and print it as a table.

    Args:
        report: `ours` and `baseline` hold each side's figures, `ratios` and `goals` what is
            compared.
        rows: label, name of the figure and name of its ratio.
        sides: what to call the baseline and ours.
    """
    machine = {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report | {"machine": machine}, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")
    ours, baseline = report["ours"], report["baseline"]
    print(f"{'':<36}{sides[0]:>10}{sides[1]:>10}{'ratio':>9}{'goal':>7}")
    for label, key, ratio in rows:
        times, goal = report["ratios"].get(ratio, ""), report["goals"].get(ratio, "")
        print(f"{label:<36}{baseline[key]:>10.4g}{ours[key]:>10.4g}{times:>9}{goal:>7}")
    print(f"written to {path}")
