"""A training by its name on the command line: on what the stages before have left in the run's
folder, or on a file of the user's own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jobs.collect import load_seeds
from jobs.feedback.learning import train_round
from jobs.feedback.stages import stage_of
from jobs.pairs import load_pairs
from jobs.plans import load_plans
from jobs.rollout import load_plan_scores
from jobs.run import Round, Run, Trainee
from jobs.tasks import load_tasks
from jobs.train import (
    settings_of,
    train,
    train_agent,
    train_controls,
    train_on_pairs,
    train_pg,
    train_rft,
    train_sft,
)
from mpo_core.config import PgConfig, SftConfig, TrainingConfig
from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.formats import training_rows
from mpo_core.training.settings import Objective

Training = Literal["sft", "rft", "dpo", "pg", "shuffled", "agent"]
"""What is trained, by its name on the command line."""
TAKES_ROWS: Mapping[str, Objective] = {"sft": "sft", "dpo": "dpo", "pg": "pg"}
"""Of these, those that rows of the user's own are given to -> what they are learnt by."""
SECTIONS = {"agent": "agent.sft", "sft": "planner.sft", "rft": "planner.sft", "pg": "planner.pg"}
"""Of these, those that a config may lack the settings of -> where they stand."""


def train_by_name(
    run: Run, name: Training, round_number: int = 1, given: Path | None = None
) -> list[tuple[dict[str, Any], Path]]:
    """The training of a name on the command line, on rows given or on the run's own.

    Returns:
        Its summary and the folder of its weights; for `shuffled`, those of each control.
    """
    if run.config.source == "feedback" and given is None:
        return _train_on_feedback(run, name, round_number)
    this = Round.of(run.config, round_number)
    trainee = run.trainee(this.version if name == "dpo" else name)
    if name == "agent":
        trainee = run.agent_trainee
    if trainee.model not in run.config.models_with_source:
        raise InputError(
            f"train {name}: models.{trainee.model} has no source to train; give it one (a model "
            "folder or hub id)"
        )
    if given is not None:
        return [(_train_given(run, trainee, TAKES_ROWS[name], given), trainee.folder)]
    if name == "shuffled":
        if not run.controls:
            raise InputError(
                "scoring.shuffle: not set, so there are no control planners; such as "
                "scoring.shuffle=[0,1,2]"
            )
        pairs, tasks = load_pairs(run), load_tasks(run, "train")
        summaries = train_controls(run, tasks, pairs)
        return list(zip(summaries, map(run.files.planner, run.controls), strict=True))
    return [(_train_on_own(run, name, this), trainee.folder)]


def _train_on_feedback(
    run: Run, name: Training, round_number: int
) -> list[tuple[dict[str, Any], Path]]:
    train = run.config.feedback.train
    if name != train:
        raise InputError(
            f"train {name}: with source: feedback, feedback.train says how is trained: {train}"
        )
    stage = stage_of(run, round_number)
    summary = train_round(run, stage.this, stage.found)
    return [(summary, run.files.planner(stage.this.planner))]


def _train_given(run: Run, trainee: Trainee, objective: Objective, given: Path) -> dict[str, Any]:
    """Train on a file of the user's own."""
    rows = run.files.given(objective)
    write_text(rows, "".join(json.dumps(r) + "\n" for r in training_rows(given, objective)))
    planner = run.config.planner
    config: dict[Objective, TrainingConfig] = {
        "dpo": run.config.training,
        "sft": planner.sft or SftConfig(),
        "pg": planner.pg or PgConfig(),
    }
    return train(run, trainee, objective, rows, config[objective])


def _train_on_own(run: Run, name: Training, this: Round) -> dict[str, Any]:
    """Train on what the stages before have left in the run's folder."""
    if name == "dpo":
        return train_on_pairs(run, this, load_pairs(run, this.number))
    settings_of(run, SECTIONS[name], name)  # Of more use than what the stages before have not left.
    tasks = load_tasks(run, "train")
    if name == "agent":
        return train_agent(run, tasks)
    if name == "sft":
        return train_sft(run, tasks, load_seeds(run, tasks))
    on_plans = {"rft": train_rft, "pg": train_pg}[name]
    plans = load_plans(run, Round.of(run.config, 1).start, "train", tasks)
    return on_plans(run, tasks, plans, load_plan_scores(run))
