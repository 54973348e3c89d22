"""Runs compared: what each of their arms reached, how far they differ on the tasks that they share,
and in which of the settings that decide a result."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpo_core.errors import InputError
from mpo_core.evaluation import Difference, bootstrap_ci, rounded
from mpo_core.exact import exact_mean
from mpo_core.inert import inert
from mpo_core.overrides import flat
from mpo_core.pages import templates
from mpo_core.report import SUMMARY
from mpo_core.report.arms import arm_name
from mpo_core.report.gain import difference
from mpo_core.report.merge import SHARED, Finished, NoReport, whole_report
from mpo_core.types import TaskResult

Cells = list[list[str]]
TABLES = {"table", "types"}
"""What of a summary is compared."""


def usable_reports(run_dirs: Sequence[Path]) -> tuple[list[Finished], dict[Path, str]]:
    """Those of the reports that can be compared; and of each other run's folder, why not."""
    found, faults = [], {}
    for run_dir in run_dirs:
        try:
            report = whole_report(run_dir)
            if TABLES - report.summary.keys():
                raise NoReport(f"{SUMMARY}: has no tables")
            found.append(report)
        except NoReport as error:
            faults[run_dir] = str(error)
    return found, faults


def compare_runs(runs: Sequence[Finished]) -> dict[str, Any]:
    """Several finished runs, the first being the one that the others are compared with.

    Returns:
        `runs`: name and seed. `arms`: a row for each environment, split, arm and run, as its own
        report has it. `differences`: a row for each environment, split and arm that a run and the
        first have both played, with one plan a task and with sampled ones (`sampled`): the run's
        mean reward minus the first's, over the tasks that both played. `types`: mean reward for
        each environment, split, task type and arm, by run. `settings`: those that decide a result
        and are not the same in all runs, with each run's value.

    Raises:
        InputError: there are fewer than two runs.
    """
    twice = [run.dir for run in runs if [one.dir for one in runs].count(run.dir) > 1]
    if twice:
        raise InputError(f"compare: {twice[0]} is given twice")
    for run in runs:
        if TABLES - run.summary.keys():
            raise InputError(
                f"{run.dir}: its summary has no tables; `mpo report {run.dir}` writes it anew"
            )
    if len(runs) < 2:
        raise InputError("compare: give two runs or more; `mpo report` shows a single one")
    names = _names(runs)
    resamples = min(run.summary["bootstrap"] for run in runs)
    return {
        "runs": [{"name": n, "seed": run.summary["seed"]} for n, run in names.items()],
        "arms": [
            {"run": name, "sampled": sampled, **row}
            for name, run in names.items()
            for sampled, found in _single_and_sampled(run.summary)
            for row in found["table"]
        ],
        "differences": list(_differences(names, resamples)),
        "types": list(_types(names)),
        "settings": list(_settings(names)),
    }


def arm_cells(found: Mapping[str, Any], *, sampled: bool = False) -> Cells:
    """What each arm reached as the cells of a table, its header first: a column a run."""
    names = [run["name"] for run in found["runs"]]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for row in found["arms"]:
        if row["sampled"] == sampled:
            low, high = row["ci95"]
            place = f"{row['env']} {row['split']}", arm_name(row["arm"])
            told = f"{row['mean_reward']:.3f} [{low:.3f}, {high:.3f}]"
            rows.setdefault(place, {})[row["run"]] = told
    header = ["environment", "plans", *names]
    return [header, *([*place, *(by.get(n, "") for n in names)] for place, by in rows.items())]


def difference_cells(found: Mapping[str, Any], *, sampled: bool = False) -> Cells:
    """The differences from the first run as the cells of a table, its header first."""
    cells = [["environment", "plans", "run", "difference [95% CI]", "tasks"]]
    for row in found["differences"]:
        if row["sampled"] == sampled:
            place = f"{row['env']} {row['split']}"
            arm = arm_name(row["arm"])
            cells.append([place, arm, row["run"], difference(row), str(row["n"])])
    return cells


def type_cells(found: Mapping[str, Any]) -> Cells:
    """Mean reward by task type as the cells of a table, its header first."""
    names = [run["name"] for run in found["runs"]]
    cells = [["environment", "task type", "plans", *names]]
    for row in found["types"]:
        means = [f"{row['means'][n]:.3f}" if n in row["means"] else "" for n in names]
        cells.append([f"{row['env']} {row['split']}", row["type"], arm_name(row["arm"]), *means])
    return cells


def setting_cells(found: Mapping[str, Any]) -> Cells:
    """The settings that differ as the cells of a table, its header first."""
    header = ["setting", *(run["name"] for run in found["runs"])]
    return [header, *([row["key"], *map(str, row["values"])] for row in found["settings"])]


def sections(found: Mapping[str, Any]) -> list[tuple[str, Cells]]:
    """Heading and cells of every table that has rows."""
    first = found["runs"][0]["name"]
    tables = [
        ("Mean reward", arm_cells(found)),
        ("Mean reward, sampled plans", arm_cells(found, sampled=True)),
        (f"Differences from {first}, on the tasks of both", difference_cells(found)),
        (f"Differences from {first}, sampled plans", difference_cells(found, sampled=True)),
        ("By task type", type_cells(found)),
        ("Settings that differ", setting_cells(found)),
    ]
    return [(heading, cells) for heading, cells in tables if len(cells) > 1]


def comparison_markdown(found: Mapping[str, Any]) -> str:
    """The comparison as a page of Markdown."""
    lines = [f"# {_title(found)}", ""]
    for heading, (header, *rows) in sections(found):
        lines += [f"## {heading}", "", _row(header), "|" + "---|" * len(header)]
        lines += [*map(_row, rows), ""]
    return "\n".join(lines)


def comparison_page(found: Mapping[str, Any]) -> str:
    """The comparison as a web page of its own."""
    page = templates("mpo_core.report").get_template("compare.html")
    return page.render(title=_title(found), sections=sections(found))


def _differences(names: Mapping[str, Finished], resamples: int) -> Iterator[dict[str, Any]]:
    first, *others = names.items()
    theirs = _rewards(first[1].results)
    for name, run in others:
        for place, ours in _rewards(run.results).items():
            against = theirs.get(place, {})
            shared = sorted(ours.keys() & against.keys())
            if not shared:
                continue
            values = [ours[task] - against[task] for task in shared]
            low, high = bootstrap_ci(np.array(values), resamples)
            measured = Difference(
                diff=rounded(float(exact_mean(values))),
                ci95=(rounded(low), rounded(high)),
                n=len(shared),
                n_seeds=1,
            )
            env, split, arm, sampled = place
            yield {"env": env, "split": split, "arm": arm, "sampled": sampled, "run": name} | (
                measured.model_dump()
            )


def _rewards(
    results: Sequence[TaskResult],
) -> dict[tuple[str, str, str, bool], dict[str, float]]:
    """Environment, split, arm and whether with sampled plans -> task -> reward."""
    found: dict[tuple[str, str, str, bool], dict[str, float]] = {}
    for result in results:
        place = result.env, result.split, result.arm, result.sampled
        found.setdefault(place, {})[result.task_id] = result.reward
    return found


def _types(names: Mapping[str, Finished]) -> Iterator[dict[str, Any]]:
    found: dict[tuple[str, str, str, str], dict[str, float]] = {}
    for name, run in names.items():
        for row in run.summary["types"]:
            place = row["env"], row["split"], row["type"], row["arm"]
            found.setdefault(place, {})[name] = row["mean_reward"]
    for (env, split, task_type, arm), means in sorted(found.items(), key=lambda item: item[0][:3]):
        yield {"env": env, "split": split, "type": task_type, "arm": arm, "means": means}


def _settings(names: Mapping[str, Finished]) -> Iterator[dict[str, Any]]:
    told = [flat({key: run.summary[key] for key in ("seed", *SHARED)}) for run in names.values()]
    for key in sorted({key for of_run in told for key in of_run}):
        values = [of_run.get(key) for of_run in told]
        if any(value != values[0] for value in values):
            yield {"key": key.removeprefix("settings."), "values": values}


def _single_and_sampled(summary: Mapping[str, Any]) -> Iterator[tuple[bool, Mapping[str, Any]]]:
    yield False, summary
    if "sampled" in summary:
        yield True, summary["sampled"]


def _names(runs: Sequence[Finished]) -> dict[str, Finished]:
    """The runs by name; numbered where two have one name."""
    by_name = {run.summary["name"]: run for run in runs}
    if len(by_name) == len(runs):
        return by_name
    return {f"{run.summary['name']} ({n})": run for n, run in enumerate(runs, start=1)}


def _title(found: Mapping[str, Any]) -> str:
    return " and ".join(run["name"] for run in found["runs"])


def _row(cells: Sequence[str]) -> str:
    told = (" ".join(inert(cell).split()) for cell in cells)
    safe = (cell.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|") for cell in told)
    return "| " + " | ".join(safe) + " |"
