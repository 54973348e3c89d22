"""Stage: a training of the planner or the agent, done once for all that decides it."""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.collect import load_seeds, play_experts
from jobs.pairs import pairs_path, validation_path
from jobs.plans import load_plans
from jobs.rollout import load_plan_scores
from jobs.run import Round, Run
from jobs.tasks import load_tasks, parted
from mpo_core.chat_templates import given_template, template_settings
from mpo_core.config import SftConfig, TrainingConfig
from mpo_core.demonstrations import best_plans, of_episode, of_plan
from mpo_core.errors import InputError
from mpo_core.formats import training_rows
from mpo_core.ledger import write_records, write_text
from mpo_core.training.settings import Method
from mpo_core.types import Demonstration, content_hash

UNTRACKED = {"step", "max_steps", "seconds"}


def train_agent(run: Run) -> dict[str, Any]:
    """SFT of the agent on the experts' episodes of the training tasks, as it would see them."""
    shown = [of_episode(e) for e in play_experts(run, as_agent=True) if e.success and e.turns]
    return _imitate(run, "agent", shown, run.config.agent.sft)


def train_sft(run: Run) -> dict[str, Any]:
    """SFT of the planner on the seed plans."""
    tasks = {task.id: task for task in load_tasks(run, "train")}
    shown = [of_plan(plan, tasks[plan.task_id], run.prompts) for plan in load_seeds(run)]
    return _imitate(run, "sft", shown, run.config.planner.sft)


def train_rft(run: Run) -> dict[str, Any]:
    """Rejection-sampling fine-tuning: SFT goes on with the best scored plan of each task."""
    tasks, plans = load_tasks(run, "train"), load_plans(run, "sft", "train")
    best = best_plans(tasks, plans, load_plan_scores(run))
    shown = [of_plan(plan, task, run.prompts) for task, plan in best]
    return _imitate(run, "rft", shown, run.config.planner.sft, start="sft")


def train_on_pairs(run: Run, this: Round) -> dict[str, Any]:
    """DPO of a round's planner on its pairs, its start being the reference."""
    pairs, validation = pairs_path(run, this.number), validation_path(run, this.number)
    if not pairs.is_file():
        raise InputError(f"{pairs}: no pairs; run `mpo pairs` with the same config first")
    if not pairs.read_text(encoding="utf-8"):
        raise InputError(
            f"{pairs}: the plans of every task tie, so there is nothing to learn from; raise "
            "planner.per_task, scoring.repetitions or the number of train tasks, or lower "
            "pairs.min_margin"
        )
    return train(
        run,
        this.version,
        "dpo",
        pairs,
        run.config.training,
        start=this.start,
        validation=validation
        if validation.is_file() and validation.read_text(encoding="utf-8")
        else None,
    )


def train_method(
    run: Run, method: str, round_number: int = 1, given: Path | None = None
) -> tuple[dict[str, Any], Path]:
    """One training by its name on the command line, on rows given or on the run's own.

    Returns:
        Its summary and the folder of its weights.
    """
    role = run.config.agent if method == "agent" else run.config.planner
    if run.config.models[role.model].source is None:
        raise InputError(
            f"train {method}: models.{role.model} has no source to train; give it one (a model "
            "folder or hub id)"
        )
    this = Round.of(run.config, round_number)
    version = this.version if method == "dpo" else method
    if given is not None:
        rows = run.dir / "given" / f"{method}.jsonl"
        rows.parent.mkdir(parents=True, exist_ok=True)
        write_text(rows, "".join(json.dumps(r) + "\n" for r in training_rows(given, method)))
        config = run.config.training if method == "dpo" else run.config.planner.sft or SftConfig()
        return train(run, version, method, rows, config), run.trained_folder(version)
    section = {"agent": run.config.agent.sft, "dpo": run.config.training}
    if section.get(method, run.config.planner.sft) is None:
        role = "agent" if method == "agent" else "planner"
        raise InputError(
            f"{role}.sft: not set, so {method} has no settings; such as {role}.sft={{}}"
        )
    of_method = {"agent": train_agent, "sft": train_sft, "rft": train_rft}
    summary = train_on_pairs(run, this) if method == "dpo" else of_method[method](run)
    return summary, run.trained_folder(version)


def train(
    run: Run,
    version: str,
    method: Method,
    rows: Path,
    config: TrainingConfig,
    *,
    start: str | None = None,
    validation: Path | None = None,
) -> dict[str, Any]:
    """Train a version (`Run.model`), unless its folder holds what would come out.

    Args:
        start: version to go on from; by default the model of the config.
        validation: rows like those trained on, of other tasks, to measure on.

    Returns:
        The training's summary, as in `training.json` beside the weights.
    """
    run.tracker  # noqa: B018  A store that refuses is found out before the work.
    folder = run.trained_folder(version)
    role = run.config.agent if version == "agent" else run.config.planner
    served = run.config.models[role.model]
    asked = {
        "chat_template": given_template(served),
        "template_settings": template_settings(served),
        # Agents that are trained act without a word: their answers are begun for them.
        "continued": version == "agent",
    }
    identity = content_hash(
        rows.read_text(encoding="utf-8"),
        validation.read_text(encoding="utf-8") if validation else None,
        run.fingerprint(start) if start else run.backend.fingerprint(role.model),
        config.model_dump(),
        run.config.seed,
        *([asked] if any(asked.values()) else []),
    )
    checkpoints = run.dir / "checkpoints" / version
    done = run.training_summary(version)
    if done.get("tag") == identity:
        # Left by a driver that was killed at the very end.
        shutil.rmtree(checkpoints, ignore_errors=True)
        complete_curves(run, version, done)
        return done
    continued = run.trained_folder(start) if start and start != "base" else None

    def track(row: dict[str, Any]) -> None:
        # A tracking server that is lost does not stop the training.
        with suppress(InputError):
            _track(run, version, row)

    with run.timed(f"train {version}"):
        summary = run.backend.train(
            method,
            rows,
            role.model,
            config,
            folder,
            start=continued,
            validation=validation,
            tag=identity,
            **asked,
            seed=run.config.seed,
            storage_path=checkpoints,
            on_report=track,
        )
    complete_curves(run, version, summary)
    return summary


def _track(run: Run, version: str, row: dict[str, Any]) -> None:
    """Log a step, or a measurement on the validation rows."""
    if "step" in row:
        metrics = {f"{version}/{name}": row[name] for name in row.keys() - UNTRACKED}
        run.tracker.log_metrics(metrics, step=int(row["step"]))


def complete_curves(run: Run, version: str, done: dict[str, Any]) -> None:
    """Log what the tracker lacks of a finished training.

    Those are rows that a killed driver had not read, and all of them where the run goes on with
    another tracking server or in another MLflow run.
    """
    for loss, rows in (("loss", done["curve"]), ("eval_loss", done["validation"])):
        logged = run.tracker.logged_steps(f"{version}/{loss}")
        for row in rows:
            if row["step"] not in logged:
                _track(run, version, row)


def _imitate(
    run: Run,
    version: str,
    shown: Sequence[Demonstration],
    config: TrainingConfig,
    start: str | None = None,
) -> dict[str, Any]:
    """SFT on demonstrations, but for those of the validation tasks."""
    learnt, held_out = parted(run, shown)
    rows = run.dir / "demonstrations" / f"{version}.jsonl"
    validation = rows.with_name(f"{version}-validation.jsonl")
    write_records(rows, learnt)
    write_records(validation, held_out)
    if not learnt:
        raise InputError(f"{rows}: no demonstrations to learn from")
    measured = validation if held_out else None
    return train(run, version, "sft", rows, config, start=start, validation=measured)
