"""A run in a house of doors (`fakes.Doors`): scripted models, no Ray, done in a moment."""

from pathlib import Path

import pytest

from mpo_core.config import Config, parse_config
from tests.fakes import Doors


def open_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every environment's name stand for the doors."""
    for module in ("jobs.run", "mpo_core.config.tree"):
        monkeypatch.setattr(f"{module}.suite_class", lambda name: Doors)


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
