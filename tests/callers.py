"""Callers of a proxy without the proxy: conversations and their rewards, as it keeps them; and runs
that learn from these without weights."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from jobs.pipeline import run_pipeline
from jobs.run import Run
from mpo_core.config import Config, parse_config
from mpo_core.local import LocalBackend
from mpo_core.proxy.planners import Planners, Source, read_planners, write_planners
from mpo_core.proxy.records import OFF, Conversation, Feedback, task_of
from mpo_core.proxy.store import Store
from mpo_core.training.run import TrainingSummary
from mpo_core.training.settings import TrainingJob
from mpo_core.types import Plan

GOOD, POOR = "Step 1: Knock.\nStep 2: Enter.", "Step 1: Knock.\nStep 2: Wait."


def config(folder: Path, **changes) -> Config:
    """A run on the feedback in `folder`/proxy, without Ray."""
    tree = {
        "name": "mine",
        "source": "feedback",
        "runs_dir": str(folder / "runs"),
        "models": {"planner": {"source": "org/planner"}},
        "planner": {"model": "planner"},
        "validation": 0,
        "evaluation": {"bootstrap": 200},
        "proxy": {"folder": str(folder / "proxy")},
        "feedback": {"least_pairs": 5},
        "tracking": {"enabled": False},
        "cluster": {"enabled": False},
    }
    return parse_config(tree | changes)


def begin(folder: Path) -> None:
    """A proxy's folder with its first planner."""
    Store(folder / "proxy").close()
    first = Planners(current="v1", versions={"v1": Source(endpoint="http://h:1/v1", model="m")})
    write_planners(folder / "proxy", first)


def worth(plan: str | None) -> float:
    """What the agent earns with a plan."""
    return {GOOD: 1.0, POOR: 0.25, None: 0.5}[plan]


def talk(
    folder: Path,
    arm: str,
    plans: Sequence[str | None],
    tasks: int = 10,
    *,
    reward: Callable[[str | None], float] = worth,
    model: str = "agent",
    begun: float = 1.0,
    final: bool = True,
) -> None:
    """A conversation on each task with each plan, which the agent and its caller end at once."""
    with Store(folder / "proxy") as store:
        before = sum(1 for _ in store.conversations())
        for k in range(tasks):
            for number, text in enumerate(plans):
                id = f"c{before + k * len(plans) + number}"
                kept = store.open_conversation(
                    conversation(id, k, text, arm, model=model, begun=begun)
                )
                store.record_usage(id, 3, 30, 7)
                store.feedback(
                    Feedback(conversation=kept.id, reward=reward(text), final=final, at=begun + 2.0)
                )


def conversation(
    id: str, task: int, text: str | None, arm: str, *, model: str = "agent", begun: float = 1.0
) -> Conversation:
    asked = task_of(f"Open door {task}.")
    plan = None if text is None else Plan.of(asked.id, text, arm)
    return Conversation(
        id=id,
        task_id=asked.id,
        task=asked.description,
        plan_id=plan and plan.id,
        plan=text,
        planner=arm if plan else "",
        arm=arm,
        why="" if plan or arm == OFF else "planner timeout",
        model=model,
        mode="query",
        begun=begun,
    )


def versions(folder: Path) -> Planners:
    found = read_planners(folder / "proxy")
    assert found is not None
    return found


class TrainsByName(LocalBackend):
    """A training leaves its summary and no weights."""

    jobs: list[TrainingJob]

    def __init__(self, asked: Config) -> None:
        super().__init__(asked)
        self.jobs = []

    def source(self, name: str) -> str:
        return f"org/{name}"

    def fingerprint(self, name: str) -> str:
        return name

    def trained_fingerprint(self, base: str, folder: Path) -> str:
        return f"{base}+{folder.name}"

    def train(self, job: TrainingJob, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        self.jobs.append(job)
        row = {"step": 1, "max_steps": 1, "loss": 0.5}
        figures = dict.fromkeys((field.name for field in fields(TrainingSummary)), 0)
        summary = figures | {"tag": job.tag, "objective": job.objective, "curve": [row]}
        summary |= {"metrics": {}, "dropped": {}, "warnings": [], "validation": []}
        job.out.mkdir(parents=True, exist_ok=True)
        (job.out / "training.json").write_text(json.dumps(summary))
        return summary


def worked(asked: Config) -> tuple[dict, list[TrainingJob]]:
    """The summary of a run, and the trainings that it did."""
    with Run(asked) as run:
        return run_pipeline(run), run.backend.jobs


def said(summary: dict[str, Any]) -> str:
    """What a run on feedback has said, as its report keeps it."""
    return " ".join(summary["feedback"]["said"])


def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that leave a name, in the place of a backend's."""
    monkeypatch.setattr("jobs.run._backend", TrainsByName)
    monkeypatch.setattr("jobs.run.template_fault", lambda *_: None)
