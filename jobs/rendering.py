"""What commands show: a run's work ahead, its results as tables, its report in a few lines."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mpo_core.amounts import number_of
from mpo_core.attempts import least_attempts, total_attempts
from mpo_core.config import Config
from mpo_core.hub import hub_check
from mpo_core.inert import inert, shortened
from mpo_core.proxy.looking import counts_of
from mpo_core.proxy.store import DATABASE, Store

if TYPE_CHECKING:
    from jobs.run import Run

console = Console(markup=False, emoji=False)
"""Nothing that is printed is markup, since paths, addresses and names may look like it: what is to
have a style is given it by `style`, or is a `Text`."""


def print_work(run: "Run") -> None:
    """What a run would do, and with what."""
    from jobs.arms import plans_a_task

    config: Config = run.config
    if config.source == "feedback":
        _print_feedback_work(run)
        return
    tasks = {split: run.n_tasks(split) for split in run.splits}
    plans = tasks["train"] * config.planner.per_task
    trainings = list(config.trainings)
    if "rft" in config.evaluation.arms and not config.planner.rft.training:
        trainings.append("RFT")
    trainings += list(run.controls)
    held_out = sum(tasks[split] for split in config.evaluation.splits)
    played = sum(plans_a_task(run, arm) for arm in config.evaluation.arms)
    evaluation = held_out * played * config.evaluation.repetitions
    console.print(f"run        {run.dir}")
    console.print(f"tasks      {', '.join(f'{n} {split}' for split, n in tasks.items())}")
    for name, making in run.to_make.items():
        console.print(
            f"           the run first makes {making} ({name}); this makes none", soft_wrap=True
        )
    console.print(f"rounds     {config.rounds}, each of")
    console.print(f"plans      {plans} to score")
    console.print(f"episodes   {_scoring_work(config, plans)}", soft_wrap=True)
    console.print(f"evaluation {evaluation} episodes: {', '.join(config.evaluation.arms)}")
    console.print(f"trainings  {', '.join(trainings) or 'none'}")
    if config.cluster.enabled:
        from cluster.address import cluster_address
        from cluster.resources import resource_plan

        plan, address = resource_plan(config), cluster_address(config.cluster.address)
        console.print(f"cluster    {address or 'a private one on this machine'}", soft_wrap=True)
        console.print(f"serving    {plan.serving}")
        console.print(f"rollouts   {plan.rollout}")
        console.print(f"training   {plan.training}")
    for name, model in config.models_with_source.items():
        if check := hub_check(name, model.source):
            console.print(f"model      {name}: {check.found}", soft_wrap=True)
            if check.remedy:
                console.print(f"           {check.remedy}", soft_wrap=True)
    if run.dir.is_dir() and run.files.holds_work():
        from jobs.status import status, status_lines

        for line in status_lines(status(run.dir, kept=False)):
            console.print(inert(line), highlight=False, soft_wrap=True)


def _print_feedback_work(run: "Run") -> None:
    """What a run on callers' feedback goes by."""
    from jobs.feedback.prospect import other_planner, trainings_ahead

    config = run.config
    conversations, rewarded = counts_of(config.proxy.folder)
    there, ahead = (config.proxy.folder / DATABASE).is_file(), "none"
    if rewarded:
        with Store(config.proxy.folder, create=False) as store:
            ahead = trainings_ahead(run, store)
    missing = "" if there else " (no proxy has kept anything there)"
    console.print(f"run        {run.dir}")
    console.print(f"feedback   {config.proxy.folder}{missing}", soft_wrap=True)
    console.print(f"           {conversations} conversations, {rewarded} rewarded")
    console.print(f"trainings  {ahead}", soft_wrap=True)
    if warning := other_planner(run):
        console.print(f"warning    {warning}", soft_wrap=True)


def _scoring_work(config: Config, plans: int) -> str:
    """How many episodes a round's scoring is."""
    scoring = config.scoring
    if scoring.repetitions != "auto":
        return f"{plans * scoring.repetitions} scoring"
    least, most = (of(plans, scoring.mean_repetitions) for of in (least_attempts, total_attempts))
    uniform = plans * scoring.max_repetitions
    return f"{least} to {most} scoring (auto; {scoring.max_repetitions} a plan would be {uniform})"


def _print_results(heading: str, found: dict[str, Any]) -> None:
    """A table a place of the means and differences that `found` holds."""
    from mpo_core.report.page import headline, table_rows

    header, *rows = table_rows(headline(found), found["paired"])
    tasks = header.index("tasks")
    # What is the same for all arms stands in the title, so that the rest fits a terminal.
    shown = [k for k, name in enumerate(header) if name not in ("environment", "tasks", "episodes")]
    for place, of_place in groupby(rows, key=lambda row: f"{row[0]}, {row[tasks]} tasks"):
        names = [header[k].removesuffix(" [95% CI]") for k in shown]
        cells = [names, *([row[k] for k in shown] for row in of_place)]
        where = f"{heading}: {place}"
        if not found["paired"] or _width(_table(cells)) <= console.width:
            _print_table(where, cells)
        else:
            # The last column is how far each arm is from the reference one.
            _print_table(where, [row[:-1] for row in cells])
            _print_table(where, [[row[0], row[-1]] for row in cells if row[-1]])


def _print_table(title: str, cells: list[list[str]]) -> None:
    console.print(Text(inert(title), style="italic"), soft_wrap=True)
    console.print(_table(cells))


def _table(cells: list[list[str]]) -> Table:
    header, *rows = cells
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in header:
        table.add_column(Text(inert(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(inert(shortened(cell, 300))) for cell in row))
    return table


def _width(table: Table) -> int:
    """Of a terminal in which no cell of the table wraps."""
    return Measurement.get(console, console.options.update(max_width=1000), table).maximum


def print_report(folder: Path, summary: dict[str, Any]) -> None:
    """What a run has shown, and where its report (`summary`, in `folder`) lies; nothing of a run
    without one."""
    if not summary:
        return
    from mpo_core.report.conduct import conduct_warnings
    from mpo_core.report.gain import gains, imitation
    from mpo_core.report.page import title

    for sentence in [*gains(summary), *imitation(summary)]:
        console.print(sentence, soft_wrap=True)
    if "feedback" in summary:
        _print_feedback(summary)
    else:
        _print_results(title(summary), summary)
    if "sampled" in summary:
        _print_results(f"{title(summary)}, sampled plans", summary["sampled"])
    speed = (
        f"; {summary['tokens_per_s']} tokens/s, {summary['env_steps_per_s']} environment steps/s"
        if "tokens_per_s" in summary
        else ""
    )
    counts = [number_of(summary[f"{what}s"], what) for what in ("plan", "episode", "pair")]
    console.print(f"{', '.join(counts)}{speed}")
    if summary["pair_rules"] and not summary["pairs"] and "feedback" not in summary:
        console.print(
            "no pairs: the plans of every task earned the same; more plans a task, a "
            "higher planner.temperature, more attempts or more tasks may tell them apart",
            style="yellow",
            soft_wrap=True,
        )
    for warning in conduct_warnings(summary.get("conduct", [])):
        console.print(warning, style="yellow", soft_wrap=True)
    console.print(f"report: {folder}", soft_wrap=True)


def _print_feedback(summary: dict[str, Any]) -> None:
    """The arms of callers' conversations, each with tasks of its own, and their differences."""
    from mpo_core.report.feedback import difference_rows, feedback_counts
    from mpo_core.report.page import headline, table_rows, title

    print_cells(title(summary), table_rows(headline(summary)))
    if differences := summary["feedback"]["differences"]:
        _print_table("differences over all tasks", difference_rows(differences))
    console.print(feedback_counts(summary), soft_wrap=True)


def print_cells(heading: str, cells: list[list[str]]) -> None:
    """A table, its header first; what is the same in the first column of all rows stands in its
    title. One that is too wide is parted by what its first column repeats."""
    header, *rows = cells
    if len(rows) > 1 and len({row[0] for row in rows}) == 1:
        heading = f"{heading}: {rows[0][0]}"
        header, rows = header[1:], [row[1:] for row in rows]
    parts = [list(part) for _, part in groupby(rows, key=lambda row: row[0])]
    if len(parts) < len(rows) and _width(_table([header, *rows])) > console.width:
        for part in parts:
            print_cells(f"{heading}: {part[0][0]}", [header[1:], *(row[1:] for row in part)])
    else:
        _print_table(heading, [header, *rows])
