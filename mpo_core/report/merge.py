"""One report of several finished runs that differ in their seed alone."""

import json
from collections import Counter
from collections.abc import Sequence
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


def read_report(run_dir: Path) -> Finished:
    """A run's report. Raises InputError where it is not there, damaged or not whole."""
    folder, again = RunFolder(run_dir).report, f"`mpo evaluate {run_dir}` writes it anew"
    for name in (RESULTS, SUMMARY):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; {again}")
    results = read_records(folder / RESULTS, TaskResult)
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{folder / SUMMARY}: not JSON; {again}") from error
    if not isinstance(summary, dict):
        raise InputError(f"{folder / SUMMARY}: no report; {again}")
    for key in ("name", "seed", *SHARED, *COUNTED):
        if key not in summary:
            raise InputError(f"{folder / SUMMARY}: has no {key!r}; {again}")
    arms = {(result.arm, result.sampled) for result in results}
    tasks = _tasks(results)
    found = Counter(((result.arm, result.sampled), _task(result)) for result in results)
    if not results or found != Counter(product(arms, tasks)):
        raise InputError(f"{folder / RESULTS}: not one line for every arm and task; {again}")
    if {result.seed for result in results} != {summary["seed"]}:
        raise InputError(f"{folder / RESULTS}: of another seed than {SUMMARY}; {again}")
    return Finished(run_dir, summary, results)


def merge(runs: Sequence[Finished], name: str) -> tuple[dict[str, Any], list[TaskResult]]:
    """The summary and results of all runs; a single run's are its own, worked out anew.

    Raises:
        InputError: two runs have the same seed, or differ in more than seed and arms.
    """
    first, *others = runs = sorted(runs, key=lambda run: run.summary["seed"])
    for before, run in zip(runs, others, strict=False):
        if run.summary["seed"] == before.summary["seed"]:
            raise InputError(
                f"{run.dir}: has seed {run.summary['seed']}, as {before.dir} has; give one run of "
                "each seed"
            )
        _check_alike(first, run)
    results = [result for run in runs for result in run.results]
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
