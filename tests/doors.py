"""A run in a house of doors (`fakes.Doors`): scripted models, no Ray, done in a moment."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from mpo_core.config import Config, parse_config
from mpo_core.tracking import NoTracker
from tests.fakes import Doors


def open_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every environment's name stand for the doors, and reports have no picture drawn."""
    for module in ("jobs.run", "mpo_core.config.tree"):
        monkeypatch.setattr(f"{module}.suite_class", lambda name: Doors)
    monkeypatch.setattr("mpo_core.report.plot", lambda summary, path: path.touch())


def config(folder: Path | str, **changes) -> Config:
    """2 training tasks, 2 plans each, 2 attempts each, then two arms on 2 tasks.

    Args:
        folder: for the runs.
        changes: sections in place of the ones here.
    """
    tree = {
        "name": "mine",
        "runs_dir": str(folder),
        "envs": {"alfworld": {}},
        "models": {
            "planner": {"scripted": "tests.scripted:planner"},
            "agent": {"scripted": "tests.scripted:agent"},
        },
        "planner": {"model": "planner", "per_task": 2},
        "agent": {"model": "agent", "example": False},
        "scoring": {"repetitions": 2},
        "validation": 0,
        "evaluation": {"splits": ["unseen"], "arms": ["none", "base"], "bootstrap": 10},
        "cluster": {"enabled": False},
    }
    return parse_config(tree | changes)


class Kept(NoTracker):
    """A tracker that remembers what is logged: curves by run and name, tables, traces, tags."""

    key = "kept"

    def __init__(self) -> None:
        self.tables = {}
        self.metrics = {}
        self.tags = {}
        self.traces = []
        self.planners = []
        self.names = [""]

    @contextmanager
    def nested(self, name, kind, *, alone=False):
        self.names.append(name)
        yield
        self.names.pop()

    def log_metrics(self, metrics, step=None):
        for name, value in metrics.items():
            self.metrics.setdefault((self.names[-1], name), {}).setdefault(step, value)

    def log_tags(self, tags):
        self.tags.setdefault(self.names[-1], {}).update(tags)

    def log_table(self, name, rows):
        self.tables[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    def log_trace(self, trace):
        self.traces.append(trace)

    def log_planner(self, planner):
        self.planners.append(planner)
