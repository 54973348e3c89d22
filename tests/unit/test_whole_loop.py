"""The whole loop, stage by stage, in a house of doors: all but the trainings' own work, which
leave a summary where weights would be."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from jobs.pipeline import run_pipeline
from jobs.run import Run
from jobs.trainings import train_by_name
from mpo_core.chat import ChatModel
from mpo_core.config import Config
from mpo_core.ledger import read_records
from mpo_core.local import LocalBackend
from mpo_core.models import ScriptedModel
from mpo_core.training.run import TrainingSummary
from mpo_core.training.settings import TrainingJob
from mpo_core.types import Demonstration, PreferencePair, ScoredAnswer
from tests.doors import config, open_doors

GOOD, POOR = "Step 1: Knock.\nStep 2: Enter.", "Step 1: Knock.\nStep 2: Wait."
LORA = {"lora": {"rank": 4, "alpha": 8}}
NAMES = ["agent", "sft", "mpo", "mpo-2", "rft", "pg", "shuffled-3"]


def planner(messages: list[dict], seed: int) -> str:
    return GOOD if seed % 2 else POOR


def agent(messages: list[dict], seed: int) -> str:
    told = messages[0]["content"] + messages[-1]["content"]
    said = sum(message["role"] == "assistant" for message in messages[:-1])
    return " enter" if "Enter." in told and said else " knock"


class TrainsByName(LocalBackend):
    """Serves both models as functions; a training leaves its summary and no weights."""

    def __init__(self, asked: Config) -> None:
        super().__init__(asked)
        self.jobs: list[TrainingJob] = []

    def source(self, name: str) -> str:
        return f"org/{name}"

    def fingerprint(self, name: str) -> str:
        return name

    def model(self, name: str) -> ChatModel:
        return ScriptedModel(name, {"planner": planner, "agent": agent}[name])

    def trained_fingerprint(self, base: str, folder: Path) -> str:
        return f"{base}+{folder.name}"

    def trained_model(self, base: str, folder: Path, *, own_engine: bool) -> ChatModel:
        model = self.model(base)
        model.fingerprint = self.trained_fingerprint(base, folder)
        return model

    def train(self, job: TrainingJob, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        self.jobs.append(job)
        row = {"step": 1, "max_steps": 1, "loss": 0.5}
        on_row(row)
        figures = dict.fromkeys((field.name for field in fields(TrainingSummary)), 0)
        summary = figures | {"tag": job.tag, "objective": job.objective, "curve": [row]}
        summary |= {"metrics": {}, "dropped": {}, "warnings": [], "validation": []}
        job.out.mkdir(parents=True)
        (job.out / "training.json").write_text(json.dumps(summary))
        return summary


@pytest.fixture
def asked(tmp_path, monkeypatch) -> Config:
    open_doors(monkeypatch)
    monkeypatch.setattr("jobs.run._backend", TrainsByName)
    monkeypatch.setattr("jobs.run.template_fault", lambda *_: None)
    monkeypatch.setattr("mpo_core.teacher.abstract", lambda *_: GOOD)
    served = {"planner": {"source": "org/planner"}, "agent": {"source": "org/agent"}}
    arms = ["none", "sft", "rft", "pg", "mpo", "mpo-2", "shuffled", "oracle", "expert"]
    return config(
        tmp_path,
        models=served,
        planner={"model": "planner", "per_task": 4, "sft": LORA, "pg": LORA},
        agent={"model": "agent", "example": False, "thoughts": False, "sft": LORA},
        training=LORA,
        scoring={"repetitions": 2, "shuffle": [3]},
        evaluation={"splits": ["unseen"], "arms": arms, "bootstrap": 10},
        rounds=2,
        tracking={"enabled": False},
        cluster={"enabled": True},
    )


@pytest.mark.slow
def test_each_training_gets_the_rows_of_the_stages_before_it_and_is_done_once(asked):
    with Run(asked) as run:
        summary = run_pipeline(run)
        jobs, files = run.backend.jobs, run.files
    assert [job.work.name for job in jobs] == NAMES
    of = dict(zip(NAMES, jobs, strict=True))
    assert of["agent"].out == files.agent and of["agent"].continued
    assert [of[name].out for name in NAMES[1:]] == [files.planner(name) for name in NAMES[1:]]
    starts = {name: job.start.name for name, job in of.items() if job.start}
    sft = dict.fromkeys(("mpo", "rft", "pg", "shuffled-3"), "sft")
    assert starts == sft | {"mpo-2": "mpo"}
    kinds = {"dpo": PreferencePair, "sft": Demonstration, "pg": ScoredAnswer}
    for job in jobs:
        assert read_records(job.rows, kinds[job.objective])
        assert (job.model, job.seed) == (f"org/{'agent' if job is jobs[0] else 'planner'}", 42)
    best = [shown.completion[0]["content"] for shown in read_records(of["rft"].rows, Demonstration)]
    assert best and all("Enter." in text for text in best)
    assert {*summary["trainings"]} == {*NAMES}
    with Run(asked) as again:
        assert run_pipeline(again)["table"] == summary["table"]
        assert again.backend.jobs == []


@pytest.mark.slow
def test_a_stage_alone_takes_up_what_the_loop_has_left(asked):
    with Run(asked) as run:
        run_pipeline(run)
        jobs = {job.work.name: job for job in run.backend.jobs}
    with Run(asked) as run:
        for name in ("agent", "sft", "rft", "dpo", "pg", "shuffled"):
            [(summary, folder)] = train_by_name(run, name)
            [known] = [job for job in jobs.values() if job.out == folder]
            assert summary["tag"] == known.tag
        [(_, folder)] = train_by_name(run, "dpo", 2)
        assert folder == jobs["mpo-2"].out and run.backend.jobs == []
