"""`mpo sweep`: a run for every point of a grid."""

from typing import Annotated, Literal

import typer
from rich.table import Table

from jobs.commands.options import BeginWith, ConfigArgument, Overrides
from jobs.exits import FAILED, GOES_ON, fail
from jobs.rendering import console
from mpo_core.errors import InputError

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n`mpo sweep demo --over seed=0,1 --over training.beta=0.05,0.1 --on slurm`"
    "\n\n`mpo sweep demo --over seed=0,1,2 --status`\n\n"
    "`mpo sweep demo --from runs/demo --over training.beta=0.05,0.1` (with its plans and scores)"
    "\n\nThe same command again goes on with what is not done; `mpo report runs/demo-seed*` then "
    "puts seeds into one table."
)
def sweep(
    config: ConfigArgument,
    overrides: Overrides = None,
    *,
    over: Annotated[
        list[str], typer.Option(metavar="KEY=V,V,...", help="A setting and its values; repeatable.")
    ],
    on: Annotated[
        Literal["slurm", "local", "debug"],
        typer.Option(help="Where the jobs run: Slurm, this machine, or this terminal."),
    ] = "local",
    parallel: Annotated[
        int | None,
        typer.Option(min=1, help="Jobs at a time; 1 on this machine, on Slurm as many as it lets."),
    ] = None,
    begin_with: BeginWith = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say where each point stands.")] = False,
    point: Annotated[
        int | None,
        typer.Option(min=0, help="Print this point's settings, for a job array of your own."),
    ] = None,
) -> None:
    """Run a config at every point of a grid, through submitit, under one run in MLflow."""
    from jobs.sweep import Sweep

    opened = Sweep(config, overrides or [], over, on, begin_with)
    if point is not None:
        if point >= len(opened.points):
            raise InputError(f"--point {point}: there are {len(opened.points)}, from 0")
        print(f"name={opened.points[point].name}", *opened.points[point].overrides, sep="\n")
        return
    if dry_run or status:
        states = opened.states()
    else:
        states = opened.run(parallel or (256 if on == "slurm" else 1))
    table = Table("point", "settings", "state", title=str(opened.dir))
    for entry in opened.points:
        table.add_row(entry.name, " ".join(entry.overrides), states[entry.name])
    console.print(table)
    if dry_run:
        console.print(opened.plan(states), soft_wrap=True)
    if "failed" in states.values() and not dry_run:
        failed = [name for name, state in states.items() if state == "failed"]
        fail(f"{', '.join(failed)}: not done; logs in {opened.dir / 'jobs'}; {GOES_ON}", FAILED)
