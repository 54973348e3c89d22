"""Stage: a training of the planner or the agent, done once for all that decides it."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any

from jobs.collect import experts_as_agent
from jobs.pairs import collect_control_pairs
from jobs.run import Round, Run, Trainee
from jobs.tasks import parted
from mpo_core.advantages import plans_above_mean, scored_answers
from mpo_core.chat_templates import given_template, template_settings
from mpo_core.config import TrainingConfig, deciding
from mpo_core.demonstrations import best_plans, of_episode, of_plan
from mpo_core.errors import InputError
from mpo_core.files import write_records
from mpo_core.training.settings import Method, TrainingJob
from mpo_core.types import (
    Demonstration,
    Plan,
    PlanScore,
    PreferencePair,
    Task,
    content_hash,
)

UNTRACKED = {"step", "max_steps", "seconds"}
ALL_TIE = (
    "the plans of every task tie, so there is nothing to learn from; raise planner.per_task, "
    "scoring.repetitions or the number of train tasks"
)

ALL_HELD_OUT = "the tasks that gave some are all validation tasks; lower validation"
NOTHING_SHOWN = {
    "agent": "no expert's episode to learn from: none is of use, or " + ALL_HELD_OUT,
    "sft": "no seed plans to learn from: " + ALL_HELD_OUT,
    "rft": ALL_TIE,
}
"""Name -> why its training has nothing to imitate."""


def train_agent(run: Run, tasks: Sequence[Task]) -> dict[str, Any]:
    """SFT of the agent on the experts' episodes of the training tasks, as it would see them."""
    config = settings_of(run, "agent.sft", "agent")
    shown = [of_episode(e) for e in experts_as_agent(run, tasks) if e.success and e.turns]
    return _imitate(run, run.agent_trainee, tasks, shown, config)


def train_sft(run: Run, tasks: Sequence[Task], seeds: Sequence[Plan]) -> dict[str, Any]:
    """SFT of the planner on the seed plans."""
    config = settings_of(run, "planner.sft", "sft")
    by_id = {task.id: task for task in tasks}
    shown = [of_plan(plan, by_id[plan.task_id], run.prompts) for plan in seeds]
    return _imitate(run, run.trainee("sft"), tasks, shown, config)


def train_rft(
    run: Run,
    tasks: Sequence[Task],
    plans: Sequence[Plan],
    scores: Sequence[PlanScore],
    this: Round | None = None,
) -> dict[str, Any]:
    """Rejection-sampling fine-tuning: SFT goes on with the best scored plan of each task, or with
    all above the task's mean.

    Args:
        this: whose start is gone on with, by default what SFT has made.
    """
    rft = run.config.planner.rft
    config = rft.training or settings_of(run, "planner.sft", "rft")
    pick = {"best": best_plans, "above_mean": plans_above_mean}[rft.pick]
    shown = [of_plan(plan, task, run.prompts) for task, plan in pick(tasks, plans, scores)]
    this = this or Round(1, "sft", "rft")
    return _imitate(run, run.trainee(this.version), tasks, shown, config, start=this.start)


def train_pg(
    run: Run, tasks: Sequence[Task], plans: Sequence[Plan], scores: Sequence[PlanScore]
) -> dict[str, Any]:
    """Policy gradient on all scored plans of the first round, from the planner that wrote them."""
    config = settings_of(run, "planner.pg", "pg")
    answers = scored_answers(tasks, plans, scores, run.prompts)
    learnt, held_out = parted(answers, tasks, run.config.validation)
    rows, validation = run.files.answers(), run.files.validation_answers()
    write_records(rows, learnt)
    write_records(validation, held_out)
    if not any(answer.advantage for answer in learnt):
        raise InputError(f"{rows}: {ALL_TIE}")
    return train(
        run,
        run.trainee("pg"),
        "pg",
        rows,
        config,
        start=Round.of(run.config, 1).start,
        validation=validation if held_out else None,
    )


def train_on_pairs(run: Run, this: Round, pairs: Sequence[PreferencePair]) -> dict[str, Any]:
    """DPO of a round's planner on its pairs (`jobs.pairs`), its start being the reference.

    Raises:
        InputError: there are none.
    """
    _require_some(run, this, pairs)
    return _prefer(run, this, run.trainee(this.version), run.files.pairs(this.number))


def train_controls(
    run: Run, tasks: Sequence[Task], pairs: Sequence[PreferencePair]
) -> list[dict[str, Any]]:
    """The control planners of `scoring.shuffle`, each trained as the first round's planner is, on
    its pairs half of which are turned; measured on the validation tasks' true ones.

    Raises:
        InputError: there are controls, and no pairs.
    """
    summaries, first = [], Round.of(run.config, 1)
    for version in run.controls:
        _require_some(run, first, pairs)
        collect_control_pairs(run, tasks, pairs, version)
        rows = run.files.control_pairs(version)
        summaries.append(_prefer(run, first, run.trainee(version), rows))
    return summaries


def settings_of(run: Run, key: str, name: str) -> TrainingConfig:
    """The settings of a training. Raises InputError where the config has none."""
    section = attrgetter(key)(run.config)
    if section is None:
        raise InputError(f"{key}: not set, so {name} has no settings; such as {key}={{}}")
    return section


def train(
    run: Run,
    trainee: Trainee,
    method: Method,
    rows: Path,
    config: TrainingConfig,
    *,
    start: str | None = None,
    validation: Path | None = None,
) -> dict[str, Any]:
    """Train, unless the folder holds what would come out.

    Args:
        start: version of the planner to go on from; by default the model of the config.
        validation: rows like those trained on, of other tasks, to measure on.

    Returns:
        The training's summary, as in `training.json` beside the weights.
    """
    run.tracker  # noqa: B018  A store that refuses is found out before the work.
    served = run.config.models[trainee.model]
    asked: dict[str, Any] = {
        "chat_template": given_template(served),
        "template_settings": template_settings(served),
        "continued": trainee.acts,
    }
    of = [
        rows.read_text(encoding="utf-8"),
        validation.read_text(encoding="utf-8") if validation else None,
        run.planner_fingerprint(start) if start else run.backend.fingerprint(trainee.model),
    ]
    by = [run.config.seed, *([asked] if any(asked.values()) else [])]
    # A training that is known by all of its settings, operational ones too, is the same training.
    identity, of_all = (
        content_hash(*of, settings, *by) for settings in (deciding(config), config.model_dump())
    )
    checkpoints = run.files.checkpoints(trainee.name)
    done = trainee.summary()
    if done.get("tag") in (identity, of_all):
        # Left by a driver that was killed at the very end.
        shutil.rmtree(checkpoints, ignore_errors=True)
        complete_curves(run, trainee.name, done)
        return done
    job = TrainingJob(
        rows=rows,
        model=run.backend.source(trainee.model),
        out=trainee.folder,
        work=checkpoints,
        config=config,
        seed=run.config.seed,
        method=method,
        start=run.files.planner(start) if start and start != "base" else None,
        validation=validation,
        tag=identity,
        **asked,
    )

    def track(row: dict[str, Any]) -> None:
        # A tracking server that is lost does not stop the training.
        with suppress(InputError):
            _track(run, trainee.name, row)

    with run.timed(f"train {trainee.name}"):
        summary = run.backend.train(job, track)
    complete_curves(run, trainee.name, summary)
    return summary


def _track(run: Run, name: str, row: dict[str, Any]) -> None:
    """Log a step, or a measurement on the validation rows."""
    if "step" in row:
        metrics = {f"{name}/{key}": row[key] for key in row.keys() - UNTRACKED}
        run.tracker.log_metrics(metrics, step=int(row["step"]))


def complete_curves(run: Run, name: str, done: dict[str, Any]) -> None:
    """Log what the tracker lacks of the finished training of a `Trainee` of that name.

    Those are rows that a killed driver had not read, and all of them where the run goes on with
    another tracking server or in another MLflow run.
    """
    for loss, rows in (("loss", done["curve"]), ("eval_loss", done["validation"])):
        logged = run.tracker.logged_steps(f"{name}/{loss}")
        for row in rows:
            if row["step"] not in logged:
                _track(run, name, row)


def _require_some(run: Run, this: Round, pairs: Sequence[PreferencePair]) -> None:
    """Raises InputError for a round without pairs."""
    if not pairs:
        rows = run.files.pairs(this.number)
        raise InputError(f"{rows}: {ALL_TIE}, or lower pairs.min_margin")


def _prefer(run: Run, this: Round, trainee: Trainee, pairs: Path) -> dict[str, Any]:
    """DPO of a round's start on pairs, measured on those of the validation tasks."""
    validation = run.files.validation_pairs(this.number)
    return train(
        run,
        trainee,
        "dpo",
        pairs,
        run.config.training,
        start=this.start,
        validation=validation
        if validation.is_file() and validation.read_text(encoding="utf-8")
        else None,
    )


def _imitate(
    run: Run,
    trainee: Trainee,
    tasks: Sequence[Task],
    shown: Sequence[Demonstration],
    config: TrainingConfig,
    *,
    start: str | None = None,
) -> dict[str, Any]:
    """SFT on demonstrations, but for those of the validation tasks."""
    learnt, held_out = parted(shown, tasks, run.config.validation)
    rows = run.files.demonstrations(trainee.name)
    validation = run.files.validation_demonstrations(trainee.name)
    write_records(rows, learnt)
    write_records(validation, held_out)
    if not learnt:
        raise InputError(f"{rows}: {NOTHING_SHOWN[trainee.name.partition('-')[0]]}")
    measured = validation if held_out else None
    return train(run, trainee, "sft", rows, config, start=start, validation=measured)
