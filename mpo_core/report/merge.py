"""One report of several finished runs that differ in their seed alone."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from mpo_core.errors import InputError
from mpo_core.evaluation import compare
from mpo_core.ledger import read_records
from mpo_core.overrides import flat
from mpo_core.report import DETAILS, RESULTS, SUMMARY, write_report
from mpo_core.report.gain import merged_example
from mpo_core.report.spending import spent_together
from mpo_core.run_folder import RunFolder
from mpo_core.textfile import read_notes
from mpo_core.types import TaskResult

SHARED = ("shuffled", "envs", "models", "tasks", "bootstrap", "settings")
"""What runs must agree in, by its name in the summary."""
COUNTED = ("plans", "episodes", "pairs")


@dataclass(frozen=True)
class Finished:
    """A run's report as it was read."""

    dir: Path
    summary: dict[str, Any]
    results: list[TaskResult]


def report_runs(run_dirs: Sequence[Path], out: Path | None) -> tuple[Path, dict[str, Any]]:
    """Write one report of the runs, of a single one in its own place if `out` is None.

    Returns:
        The report's folder and summary.

    Raises:
        InputError: a run has no whole report, the runs do not go together, or `out` is missing or
            one of theirs.
    """
    runs = [read_report(run_dir) for run_dir in run_dirs]
    own = [RunFolder(run.dir).report for run in runs]
    if len(runs) == 1:
        folder = out or own[0]
    elif out is None:
        raise InputError("--out: say which folder the report of several runs is written into")
    elif out.resolve() in [path.resolve() for path in own]:
        raise InputError(f"--out: {out} is a run's own report; choose another folder")
    else:
        folder = out
    summary, results = merge(runs, folder.name)
    details = read_notes(own[0] / DETAILS) if len(runs) == 1 else None
    write_report(folder, summary, results, details or None)
    return folder, summary


class NoReport(Exception):
    """A run's report is not there, damaged or not whole; the message says which file and why."""


def read_report(run_dir: Path) -> Finished:
    """A run's report. Raises InputError where it is not there, damaged or not whole."""
    try:
        return whole_report(run_dir)
    except NoReport as error:
        raise InputError(
            f"{RunFolder(run_dir).report}/{error}; `mpo evaluate {run_dir}` writes it anew"
        ) from error


def whole_report(run_dir: Path) -> Finished:
    """A run's report. Raises NoReport where it is not there, damaged or not whole."""
    folder = RunFolder(run_dir).report
    for name in (RESULTS, SUMMARY):
        if not (folder / name).is_file():
            raise NoReport(f"{name}: no such file")
    try:
        results = read_records(folder / RESULTS, TaskResult)
    except InputError as error:
        raise NoReport(str(error).removeprefix(f"{folder}/")) from error
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise NoReport(f"{SUMMARY}: not JSON") from error
    if not isinstance(summary, dict):
        raise NoReport(f"{SUMMARY}: no report")
    for key in ("name", "seed", *SHARED, *COUNTED):
        if key not in summary:
            raise NoReport(f"{SUMMARY}: has no {key!r}")
    if not results or not _is_whole(summary, results):
        raise NoReport(f"{RESULTS}: not one line for every arm and task")
    if {result.seed for result in results} != {summary["seed"]}:
        raise NoReport(f"{RESULTS}: of another seed than {SUMMARY}")
    return Finished(run_dir, summary, results)


def _is_whole(summary: Mapping[str, Any], results: Sequence[TaskResult]) -> bool:
    """Whether there is one line for every arm and task; of callers' feedback, whose arms have tasks
    of their own, as many as the summary counts."""
    found = Counter(((result.arm, result.sampled), _task(result)) for result in results)
    arms = {arm for arm, _ in found}
    if "feedback" not in summary:
        return found == Counter(product(arms, _tasks(results)))
    tasks = Counter(arm for arm, _ in found)
    counted = {(arm, False): of_arm["n"] for arm, of_arm in summary.get("arms", {}).items()}
    return tasks == counted and set(found.values()) == {1}


def merge(runs: Sequence[Finished], name: str) -> tuple[dict[str, Any], list[TaskResult]]:
    """The summary and results of all runs; a single run's are its own, worked out anew.

    Raises:
        InputError: two runs have the same seed, or differ in more than seed and arms, or go by
            callers' feedback, whose seed decides nothing.
    """
    first, *others = runs = sorted(runs, key=lambda run: run.summary["seed"])
    by_feedback = [run.dir for run in runs if "feedback" in run.summary]
    if others and by_feedback:
        raise InputError(
            f"{by_feedback[0]}: a run on callers' feedback is not merged with others; "
            "`mpo compare` shows several side by side"
        )
    for before, run in zip(runs, others, strict=False):
        if run.summary["seed"] == before.summary["seed"]:
            raise InputError(
                f"{run.dir}: has seed {run.summary['seed']}, as {before.dir} has; give one run of "
                "each seed"
            )
        _check_alike(first, run)
    results = [result for run in runs for result in run.results]
    if by_feedback:
        # Its arms are compared by conversations of the same time, which results do not tell.
        found = compare(results, first.summary["bootstrap"], ())
        return first.summary | found | {"paired": first.summary["paired"]}, results
    found = compare(results, first.summary["bootstrap"])
    if not others:
        return first.summary | found, results
    summaries = [run.summary for run in runs]
    return {
        "name": name,
        "seed": None,
        "runs": {str(run.dir): run.summary["seed"] for run in runs},
        **{key: first.summary[key] for key in SHARED},
        **found,
        **{key: sum(summary[key] for summary in summaries) for key in COUNTED},
        "pair_rules": {},
        "spending": spent_together(summaries),
        "example": merged_example(summary.get("example") for summary in summaries),
    }, results


def _check_alike(one: Finished, other: Finished) -> None:
    ours, theirs = (flat({key: run.summary[key] for key in SHARED}) for run in (one, other))
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"{other.dir}: {key} is {theirs.get(key)!r}, in {one.dir} it is "
                f"{ours.get(key)!r}; only runs that differ in nothing but seed and arms are merged"
            )
    if _tasks(one.results) != _tasks(other.results):
        raise InputError(f"{other.dir}: its held-out tasks are not those of {one.dir}")


def _task(result: TaskResult) -> tuple[str, str, str, str]:
    return result.env, result.split, result.type, result.task_id


def _tasks(results: Sequence[TaskResult]) -> set[tuple[str, str, str, str]]:
    return {_task(result) for result in results}
