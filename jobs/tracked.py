"""What MLflow is told of a finished evaluation.

Few figures are metrics, which MLflow draws, sorts and compares runs by: mean rewards, and what the
trained planners gain. Their names begin with what they measure, so that MLflow puts the arms side
by side. All others are rows of tables, or tags.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from html import escape
from operator import attrgetter
from typing import Any

from jobs.arms import planners
from jobs.rollout import Episodes
from jobs.rounds import rounds
from jobs.run import Run
from jobs.tasks import TasksOf
from mpo_core.evaluation import Attempt
from mpo_core.inert import inert
from mpo_core.report.page import against_reference, headline, table_rows
from mpo_core.run_folder import RunFolder
from mpo_core.tracking import Dataset, PlannerVersion
from mpo_core.tracking.assets import dataset
from mpo_core.tracking.traces import trace_of
from mpo_core.tracking.tracker import DESCRIPTION
from mpo_core.types import EpisodeFigures, Plan, PreferencePair, TaskResult, content_hash

TRAINED = re.compile(r"sft|rft|pg|shuffled|mpo(-\d+)?")
"""Arms of planners that a run trains."""
REGISTERED = re.compile(r"sft|rft|pg|mpo(-\d+)?")
PLAN_COLUMNS = ("id", "task_id", "text", "origin", "sample")
EPISODE_COLUMNS = (
    "key",
    "task_id",
    "plan_id",
    "plan_mode",
    "model",
    "repetition",
    "reward",
    "success",
    "end",
    "steps",
    "prompt_tokens",
    "completion_tokens",
    "seconds",
    "not_understood",
)
COUNTS = ("plans", "episodes", "pairs", "tokens_per_s", "env_steps_per_s")
LONGEST_DESCRIPTION = 7500
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Found:
    """What a run has come to, as far as its settings are those of now."""

    agent: str
    """Whose episodes they are."""
    attempts: list[Attempt]
    """Of the arms."""
    results: list[TaskResult]
    """What the attempts come to, task by task."""
    statistics: dict[str, Any]
    """Of the results (`compare`), and what else the summary is to hold."""
    plans: list[Plan]
    played: dict[str, list[EpisodeFigures]]
    """Stage -> its episodes."""
    ledgers: dict[str, Episodes]
    """Stage -> where these stand whole."""
    trained: Mapping[str, str] = field(default_factory=dict)
    """Arm -> the planner trained here (`Run.trainee`) that it stands for, where the arms are called
    otherwise."""


def log_results(run: Run, summary: Mapping[str, Any], tasks: TasksOf, found: Found) -> None:
    """Log an evaluation: figures, tables, a sample of its episodes, planners and the report."""
    tracker = run.tracker
    tracker.log_tags({DESCRIPTION: description(summary)} | counts_of(summary))
    tracker.log_metrics(metrics_of(summary))
    tracker.log_inputs(list(_inputs(run, tasks)))
    for name, rows in _tables(run, summary, found).items():
        tracker.log_table(name, rows)
    for trace in _traces(run, tasks, found):
        tracker.log_trace(trace)
    for planner in _planners(run, summary, tasks, found.trained):
        tracker.log_planner(planner)
    tracker.log_folder(run.files.report, "report")


def metrics_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """The summary's headline figures by the names that MLflow shows them under: an arm's
    `mean_reward/<arm>` over all it has played, and by environment and split where there are
    several; `minus_<arm>/<arm>` for what trained planners gain, task by task, over the planner
    before. Those of sampled plans stand under `sampled/`."""
    metrics = _headline(summary)
    if "sampled" in summary:
        drawn = _headline(summary["sampled"])
        metrics |= {f"sampled/{name}": value for name, value in drawn.items()}
    for row in summary.get("feedback", {}).get("differences", []):
        for where in ("same", "all"):
            if row[where]:
                arms = f"{row['arm_a']}-{row['arm_b']}"
                metrics[f"difference/{where}/{arms}"] = row[where]["diff"]
    return metrics


def _headline(found: Mapping[str, Any]) -> dict[str, float]:
    metrics = {f"mean_reward/{arm}": result["mean_reward"] for arm, result in found["arms"].items()}
    several = len({(row["env"], row["split"]) for row in found["table"]}) > 1
    for row in found["table"] if several else ():
        metrics[f"{row['env']}/{row['split']}/mean_reward/{row['arm']}"] = row["mean_reward"]
    for row in against_reference(found["paired"]):
        if TRAINED.fullmatch(row["arm_a"]):
            place = f"{row['env']}/{row['split']}/" if several else ""
            metrics[f"{place}minus_{row['arm_b']}/{row['arm_a']}"] = row["diff"]
    return metrics


def description(summary: Mapping[str, Any]) -> str:
    """The run in Markdown, as MLflow shows it on top: its headline tables."""
    parts = [_table(table_rows(headline(summary), summary["paired"]))]
    if "sampled" in summary:
        drawn = summary["sampled"]
        parts += ["Sampled plans:", _table(table_rows(headline(drawn), drawn["paired"]))]
    parts.append("The whole report: artifact `report/index.html`.")
    text = "\n\n".join(parts)
    return text if len(text) <= LONGEST_DESCRIPTION else f"{parts[0]}\n\n{parts[-1]}"


def _table(cells: Sequence[Sequence[str]]) -> str:
    header, *rows = [[_in_a_cell(cell) for cell in row] for row in cells]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _in_a_cell(text: str) -> str:
    """No text is markup: neither Markdown's, nor HTML's, which Markdown lets through."""
    plain = escape(inert(text).replace("\n", " "), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#!|~])", r"\\\1", plain)


def counts_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary's single numbers besides its headline figures, by the names of their tags."""
    counts = {f"mpo.{name}": summary[name] for name in COUNTS if name in summary}
    if "spending" in summary:
        counts |= {f"mpo.scoring_{k}": summary["spending"][k] for k in ("episodes", "saved")}
    return counts


def _inputs(run: Run, tasks: TasksOf) -> Iterator[Dataset]:
    """What was played, and what the planners have learnt from, as files of the run's folder."""
    for split in tasks:
        yield dataset(run.files.tasks(split), "training" if split == "train" else "evaluation")
    for _, of_split, path in run.files.planners_plans():
        yield dataset(path, "scoring" if of_split == "train" else "evaluation")
    for outcome in rounds(run):
        path = run.files.pairs(outcome["round"])
        if path.is_file():
            yield dataset(path, "training")


def _tables(run: Run, summary: Mapping[str, Any], found: Found) -> dict[str, Rows]:
    both = [(summary, False), *([(summary["sampled"], True)] if "sampled" in summary else [])]

    def of_both(kind: str) -> list[dict[str, Any]]:
        return [
            {"sampled": sampled} | _with_bounds(row) for of, sampled in both for row in of[kind]
        ]

    amounts = dict.fromkeys(("seconds", "prompt_tokens", "completion_tokens", "env_steps"))
    return {
        "results": of_both("table"),
        "differences": of_both("paired"),
        "types": of_both("types"),
        "plans": [{name: getattr(p, name) for name in PLAN_COLUMNS} for p in found.plans],
        "pairs": list(_pair_rows(run)),
        "pair_rules": [{"rule": rule} | of_rule for rule, of_rule in summary["pair_rules"].items()],
        "stages": [{"stage": s} | amounts | of_stage for s, of_stage in run.timings().items()],
        "episodes": [
            {"stage": stage} | {name: getattr(e, name) for name in EPISODE_COLUMNS}
            for stage, episodes in found.played.items()
            for e in episodes
        ],
    }


def _with_bounds(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row["ci95"]
    rest = {key: value for key, value in row.items() if key != "ci95"}
    return rest | {"ci95_low": low, "ci95_high": high}


def _pair_rows(run: Run) -> Iterator[dict[str, Any]]:
    for outcome in rounds(run):
        for pair in run.records(run.files.pairs(outcome["round"]), PreferencePair):
            yield {
                "round": outcome["round"],
                "task_id": pair.task_id,
                "rule": pair.rule,
                "chosen": pair.chosen[-1]["content"],
                "rejected": pair.rejected[-1]["content"],
                "chosen_score": pair.chosen_score.mean,
                "rejected_score": pair.rejected_score.mean,
                "margin": pair.chosen_score.mean - pair.rejected_score.mean,
                "episodes": pair.chosen_score.n + pair.rejected_score.n,
            }


def _traces(run: Run, tasks: TasksOf, found: Found) -> Iterator[dict[str, Any]]:
    """Of each stage as many episodes as the config says, drawn by chance, the same every time."""
    by_id = {task.id: task for of_split in tasks.values() for task in of_split}
    arms = {attempt.episode.key: attempt.arm for attempt in reversed(found.attempts)}
    origins = {plan.id: plan.origin for plan in found.plans}
    for stage, episodes in found.played.items():
        # Keys are hashes.
        for one in nsmallest(run.config.tracking.traces, episodes, key=attrgetter("key")):
            whole, task = found.ledgers[stage].whole(one.key), by_id[one.task_id]
            yield trace_of(
                run.tracker.key,
                stage,
                whole,
                task,
                asked=run.prompts[task.env].planner_messages(task.description),
                origin=arms.get(one.key) or origins.get(whole.plan_id or "", ""),
            )


def _planners(
    run: Run, summary: Mapping[str, Any], tasks: TasksOf, trained: Mapping[str, str]
) -> Iterator[PlannerVersion]:
    """The trained planners that were played, but for the controls."""
    config = run.config
    # What callers ask for is of one split, and they play it.
    splits = config.evaluation.splits if config.source == "rollouts" else run.splits
    of_tasks = sorted(task.id for split in splits for task in tasks[split])
    agents = run.agent_fingerprint(), summary["models"]["agent"]
    measured_on = content_hash(of_tasks, *agents, config.agent.plan_mode)
    name = "-".join([config.tracking.experiment, *config.envs, "planner"])
    done: set[str] = set()
    for arm in summary["arms"]:
        versions = planners(run, arm) if REGISTERED.fullmatch(arm) else []
        versions = [trained[arm]] if arm in trained else versions
        for version in set(versions) - done:
            trainee = run.trainee(version)
            if not trainee.summary():
                continue
            done.add(version)
            yield PlannerVersion(
                model=re.sub(r"[^\w. -]", "-", name),
                version=version,
                folder=trainee.folder,
                upload=config.tracking.upload_planner,
                tags=_lineage(run, version, arm),
                measured_on=measured_on,
                mean_reward=summary["arms"][arm]["mean_reward"],
            )


def _lineage(run: Run, version: str, arm: str) -> dict[str, str]:
    """What a planner was made of and from."""
    tags = {
        "mpo.run": run.config.name,
        "mpo.arm": arm,
        "mpo.version": version,
        "mpo.base": run.backend.fingerprint(run.config.planner.model),
        "mpo.fingerprint": run.planner_fingerprint(version),
        "mpo.seed": str(run.config.seed),
    }
    for path in _learnt_from(run.files, version, rounds(run)):
        if path.is_file():
            read = dataset(path, "training")
            tags["mpo.learnt_from"] = f"{read.name} {read.digest} ({read.rows} rows)"
    return tags


def _learnt_from(files: RunFolder, version: str, outcomes: Rows) -> Iterator[Any]:
    of_rounds = {outcome["planner"]: outcome["round"] for outcome in outcomes}
    shown = files.demonstrations(version)
    if version == "pg":
        yield files.answers()
    elif version in of_rounds and not shown.is_file():
        yield files.pairs(of_rounds[version])
    else:
        yield shown
