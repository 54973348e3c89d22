"""Stage: a training of the planner or the agent, done once for all that decides it."""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any

from jobs.collect import experts_as_agent, load_seeds
from jobs.pairs import collect_control_pairs
from jobs.plans import load_plans
from jobs.rollout import load_plan_scores
from jobs.run import Round, Run, Trainee
from jobs.tasks import load_tasks, parted
from mpo_core.advantages import plans_above_mean, scored_answers
from mpo_core.chat_templates import given_template, template_settings
from mpo_core.config import PgConfig, SftConfig, TrainingConfig, deciding
from mpo_core.demonstrations import best_plans, of_episode, of_plan
from mpo_core.errors import InputError
from mpo_core.files import write_records, write_text
from mpo_core.formats import training_rows
from mpo_core.training.settings import Method, TrainingJob
from mpo_core.types import Demonstration, content_hash

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


def train_agent(run: Run) -> dict[str, Any]:
    """SFT of the agent on the experts' episodes of the training tasks, as it would see them."""
    shown = [of_episode(e) for e in experts_as_agent(run) if e.success and e.turns]
    return _imitate(run, run.agent_trainee, shown, run.config.agent.sft)


def train_sft(run: Run) -> dict[str, Any]:
    """SFT of the planner on the seed plans."""
    tasks = {task.id: task for task in load_tasks(run, "train")}
    shown = [of_plan(plan, tasks[plan.task_id], run.prompts) for plan in load_seeds(run)]
    return _imitate(run, run.trainee("sft"), shown, run.config.planner.sft)


def train_rft(run: Run) -> dict[str, Any]:
    """Rejection-sampling fine-tuning: SFT goes on with the best scored plan of each task, or with
    all above the task's mean."""
    tasks, plans = load_tasks(run, "train"), load_plans(run, "sft", "train")
    planner = run.config.planner
    pick = {"best": best_plans, "above_mean": plans_above_mean}[planner.rft.pick]
    picked = pick(tasks, plans, load_plan_scores(run))
    shown = [of_plan(plan, task, run.prompts) for task, plan in picked]
    config = planner.rft.training or planner.sft
    return _imitate(run, run.trainee("rft"), shown, config, start="sft")


def train_pg(run: Run) -> dict[str, Any]:
    """Policy gradient on all scored plans of the first round, from the planner that wrote them."""
    start = Round.of(run.config, 1).start
    tasks, plans = load_tasks(run, "train"), load_plans(run, start, "train")
    answers = scored_answers(tasks, plans, load_plan_scores(run), run.prompts)
    learnt, held_out = parted(run, answers)
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
        run.config.planner.pg,
        start=start,
        validation=validation if held_out else None,
    )


def train_on_pairs(run: Run, this: Round) -> dict[str, Any]:
    """DPO of a round's planner on its pairs, its start being the reference."""
    _require_pairs(run, this.number)
    return _prefer(run, this, run.trainee(this.version), run.files.pairs(this.number))


def train_controls(run: Run) -> list[dict[str, Any]]:
    """The control planners of `scoring.shuffle`, each trained as the first round's planner is, on
    its pairs half of which are turned; measured on the validation tasks' true ones."""
    if not run.controls:
        return []
    _require_pairs(run, 1)
    summaries = []
    for version in run.controls:
        collect_control_pairs(run, version)
        pairs = run.files.control_pairs(version)
        summaries.append(_prefer(run, Round.of(run.config, 1), run.trainee(version), pairs))
    return summaries


def train_method(
    run: Run, method: str, round_number: int = 1, given: Path | None = None
) -> list[tuple[dict[str, Any], Path]]:
    """The training of a name on the command line, on rows given or on the run's own.

    Returns:
        Its summary and the folder of its weights; for `shuffled`, those of each control.
    """
    this = Round.of(run.config, round_number)
    trainee = run.trainee(this.version if method == "dpo" else method)
    if method == "agent":
        trainee = run.agent_trainee
    if run.config.models[trainee.model].source is None:
        raise InputError(
            f"train {method}: models.{trainee.model} has no source to train; give it one (a model "
            "folder or hub id)"
        )
    if given is not None:
        rows = run.files.given(method)
        write_text(rows, "".join(json.dumps(r) + "\n" for r in training_rows(given, method)))
        planner = run.config.planner
        config = {
            "dpo": run.config.training,
            "sft": planner.sft or SftConfig(),
            "pg": planner.pg or PgConfig(),
        }[method]
        return [(train(run, trainee, method, rows, config), trainee.folder)]
    if method == "shuffled":
        if not run.controls:
            raise InputError(
                "scoring.shuffle: not set, so there are no control planners; such as "
                "scoring.shuffle=[0,1,2]"
            )
        return list(zip(train_controls(run), map(run.files.planner, run.controls), strict=True))
    section = {"agent": "agent.sft", "pg": "planner.pg", "dpo": "training"}
    key = section.get(method, "planner.sft")
    if attrgetter(key)(run.config) is None:
        raise InputError(f"{key}: not set, so {method} has no settings; such as {key}={{}}")
    of_method = {"agent": train_agent, "sft": train_sft, "rft": train_rft, "pg": train_pg}
    summary = train_on_pairs(run, this) if method == "dpo" else of_method[method](run)
    return [(summary, trainee.folder)]


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


def _require_pairs(run: Run, round_number: int) -> None:
    """Raises InputError for a round without pairs."""
    pairs = run.files.pairs(round_number)
    if not pairs.is_file():
        raise InputError(f"{pairs}: no pairs; run `mpo pairs` with the same config first")
    if not pairs.read_text(encoding="utf-8"):
        raise InputError(f"{pairs}: {ALL_TIE}, or lower pairs.min_margin")


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
    shown: Sequence[Demonstration],
    config: TrainingConfig,
    start: str | None = None,
) -> dict[str, Any]:
    """SFT on demonstrations, but for those of the validation tasks."""
    learnt, held_out = parted(run, shown)
    rows = run.files.demonstrations(trainee.name)
    validation = run.files.validation_demonstrations(trainee.name)
    write_records(rows, learnt)
    write_records(validation, held_out)
    if not learnt:
        raise InputError(f"{rows}: {NOTHING_SHOWN[trainee.name]}")
    measured = validation if held_out else None
    return train(run, trainee, "sft", rows, config, start=start, validation=measured)
