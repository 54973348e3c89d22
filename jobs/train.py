"""Stage: a training of the planner or the agent, done once for all that decides it."""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from jobs.collect import experts_as_agent, load_seeds
from jobs.pairs import collect_control_pairs, control_pairs_path, pairs_path, validation_path
from jobs.plans import load_plans
from jobs.rollout import load_plan_scores
from jobs.run import Round, Run
from jobs.tasks import load_tasks, parted
from mpo_core.advantages import plans_above_mean, scored_answers
from mpo_core.chat_templates import given_template, template_settings
from mpo_core.config import PgConfig, SftConfig, TrainingConfig, deciding
from mpo_core.demonstrations import best_plans, of_episode, of_plan
from mpo_core.errors import InputError
from mpo_core.files import write_records, write_text
from mpo_core.formats import training_rows
from mpo_core.training.settings import Method
from mpo_core.types import Demonstration, content_hash

S = TypeVar("S", bound=TrainingConfig)
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
"""Version -> why its training has nothing to imitate."""


def train_agent(run: Run) -> dict[str, Any]:
    """SFT of the agent on the experts' episodes of the training tasks, as it would see them."""
    settings = _settings(run.config.agent.sft, "agent.sft", "agent")
    shown = [of_episode(e) for e in experts_as_agent(run) if e.success and e.turns]
    return _imitate(run, "agent", shown, settings)


def train_sft(run: Run) -> dict[str, Any]:
    """SFT of the planner on the seed plans."""
    settings = _settings(run.config.planner.sft, "planner.sft", "sft")
    tasks = {task.id: task for task in load_tasks(run, "train")}
    shown = [of_plan(plan, tasks[plan.task_id], run.prompts) for plan in load_seeds(run)]
    return _imitate(run, "sft", shown, settings)


def train_rft(run: Run) -> dict[str, Any]:
    """Rejection-sampling fine-tuning: SFT goes on with the best scored plan of each task, or with
    all above the task's mean."""
    planner = run.config.planner
    settings = planner.rft.training or _settings(planner.sft, "planner.sft", "rft")
    tasks, plans = load_tasks(run, "train"), load_plans(run, "sft", "train")
    pick = {"best": best_plans, "above_mean": plans_above_mean}[planner.rft.pick]
    picked = pick(tasks, plans, load_plan_scores(run))
    shown = [of_plan(plan, task, run.prompts) for task, plan in picked]
    return _imitate(run, "rft", shown, settings, start="sft")


def train_pg(run: Run) -> dict[str, Any]:
    """Policy gradient on all scored plans of the first round, from the planner that wrote them."""
    settings = _settings(run.config.planner.pg, "planner.pg", "pg")
    start = Round.of(run.config, 1).start
    tasks, plans = load_tasks(run, "train"), load_plans(run, start, "train")
    answers = scored_answers(tasks, plans, load_plan_scores(run), run.prompts)
    learnt, held_out = parted(run, answers)
    rows, validation = (run.dir / "answers" / f"{name}.jsonl" for name in ("answers", "validation"))
    write_records(rows, learnt)
    write_records(validation, held_out)
    if not any(answer.advantage for answer in learnt):
        raise InputError(f"{rows}: {ALL_TIE}")
    return train(
        run,
        "pg",
        "pg",
        rows,
        settings,
        start=start,
        validation=validation if held_out else None,
    )


def _settings(found: S | None, key: str, version: str) -> S:
    """A training's settings. Raises InputError where the config has none."""
    if found is None:
        raise InputError(f"{key}: not set, so {version} has no settings; such as {key}={{}}")
    return found


def train_on_pairs(run: Run, this: Round) -> dict[str, Any]:
    """DPO of a round's planner on its pairs, its start being the reference."""
    _require_pairs(run, this.number)
    return _prefer(run, this, this.version, pairs_path(run, this.number))


def train_controls(run: Run) -> list[dict[str, Any]]:
    """The control planners of `scoring.shuffle`, each trained as the first round's planner is, on
    its pairs half of which are turned; measured on the validation tasks' true ones."""
    if not run.controls:
        return []
    _require_pairs(run, 1)
    summaries = []
    for version in run.controls:
        collect_control_pairs(run, version)
        summaries.append(
            _prefer(run, Round.of(run.config, 1), version, control_pairs_path(run, version))
        )
    return summaries


def train_method(
    run: Run, method: str, round_number: int = 1, given: Path | None = None
) -> list[tuple[dict[str, Any], Path]]:
    """The training of a name on the command line, on rows given or on the run's own.

    Returns:
        Its summary and the folder of its weights; for `shuffled`, those of each control.
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
        planner = run.config.planner
        by_method: dict[Method, TrainingConfig] = {
            "dpo": run.config.training,
            "sft": planner.sft or SftConfig(),
            "pg": planner.pg or PgConfig(),
        }
        kind, settings = next(item for item in by_method.items() if item[0] == method)
        rows = run.dir / "given" / f"{method}.jsonl"
        rows.parent.mkdir(parents=True, exist_ok=True)
        write_text(rows, "".join(json.dumps(r) + "\n" for r in training_rows(given, kind)))
        return [(train(run, version, kind, rows, settings), run.trained_folder(version))]
    if method == "shuffled":
        if not run.controls:
            raise InputError(
                "scoring.shuffle: not set, so there are no control planners; such as "
                "scoring.shuffle=[0,1,2]"
            )
        return list(zip(train_controls(run), map(run.trained_folder, run.controls), strict=True))
    of_method = {"agent": train_agent, "sft": train_sft, "rft": train_rft, "pg": train_pg}
    summary = train_on_pairs(run, this) if method == "dpo" else of_method[method](run)
    return [(summary, run.trained_folder(version))]


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
    of = [
        rows.read_text(encoding="utf-8"),
        validation.read_text(encoding="utf-8") if validation else None,
        run.fingerprint(start) if start else run.backend.fingerprint(role.model),
    ]
    by = [run.config.seed, *([asked] if any(asked.values()) else [])]
    # A training that is known by all of its settings, operational ones too, is the same training.
    identity, of_all = (
        content_hash(*of, settings, *by) for settings in (deciding(config), config.model_dump())
    )
    checkpoints = run.dir / "checkpoints" / version
    done = run.training_summary(version)
    if done.get("tag") in (identity, of_all):
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


def _require_pairs(run: Run, round_number: int) -> None:
    """Raises InputError for a round without pairs."""
    pairs = pairs_path(run, round_number)
    if not pairs.is_file():
        raise InputError(f"{pairs}: no pairs; run `mpo pairs` with the same config first")
    if not pairs.read_text(encoding="utf-8"):
        raise InputError(f"{pairs}: {ALL_TIE}, or lower pairs.min_margin")


def _prefer(run: Run, this: Round, version: str, pairs: Path) -> dict[str, Any]:
    """DPO of a round's start on pairs, measured on those of the validation tasks."""
    validation = validation_path(run, this.number)
    return train(
        run,
        version,
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
        raise InputError(f"{rows}: {NOTHING_SHOWN[version]}")
    measured = validation if held_out else None
    return train(run, version, "sft", rows, config, start=start, validation=measured)
