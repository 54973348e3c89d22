"""A whole loop that takes a minute: real environments, scripted models, no training."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from mpo_core.ledger import read_records
from mpo_core.types import Episode
from tests.commandline import ROOT

HERE = {"enabled": False, "episodes_in_flight": 4}
"""The section `cluster` of a run without Ray."""


def write_config(folder: Path, **changes) -> Path:
    """4 training tasks, 3 plans each, 3 attempts each, then the arms on 4 tasks.

    Args:
        folder: for the config's file and the runs.
        changes: sections in place of the ones here.
    """
    config = {
        "name": "small",
        "runs_dir": str(folder),
        "envs": {
            "scienceworld": {
                "task_types": ["find-animal", "find-plant"],
                "tasks": {"train": 2, "seen": 0, "unseen": 2},
            },
            "alfworld": {
                "generated": {"train": 6, "seen": 0, "unseen": 6},
                "tasks": {"train": 2, "seen": 0, "unseen": 2},
            },
        },
        "models": {
            "planner": {"scripted": "tests.scripted:planner"},
            "agent": {"scripted": "tests.scripted:slow_agent"},
        },
        "planner": {"model": "planner", "per_task": 3},
        "agent": {"model": "agent", "max_steps": 12, "example": False},
        "scoring": {"repetitions": 3},
        "validation": 0,
        "evaluation": {"splits": ["unseen"], "arms": ["none", "base", "expert"], "bootstrap": 200},
        "cluster": {"episodes_in_flight": 2},
        # Its store takes longer to make than some of these runs take.
        "tracking": {"enabled": False},
    } | changes
    path = folder / f"{config['name']}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(config: Path) -> subprocess.Popen:
    """Begin the loop, or go on with it, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.pipeline", str(config)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    """Wait until it has ended well."""
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-2000:]


def episodes(run: Path, stage: str = "scoring") -> list[Episode]:
    """What a run has played so far."""
    path = run / "episodes" / f"{stage}.jsonl"
    whole = path.is_file() and path.read_bytes().endswith(b"\n")
    return read_records(path, Episode) if whole else []
