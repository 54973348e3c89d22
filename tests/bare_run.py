"""A run by its files alone, for tests of late stages: opening one takes weights."""

from pathlib import Path

import pytest

from jobs.configs import named_config
from jobs.run import Run
from mpo_core.files import write_records
from tests.fakes import protocol, task


def bare_run(folder: Path, monkeypatch: pytest.MonkeyPatch, tasks: int, *overrides: str) -> Run:
    """The demo's run with so many training tasks, whose agent plays what `tests.fakes` does."""
    run = object.__new__(Run)
    run.config = named_config("demo", overrides)
    run.dir, run.suites = folder, {}
    run.agent_fingerprint = lambda: "agent"
    write_records(run.dir / "tasks" / "train.jsonl", [task(k) for k in range(tasks)])
    monkeypatch.setattr(
        "jobs.rollout.agent_protocol",
        lambda run, task, temperature: protocol(temperature=temperature),
    )
    return run
