"""`mpo track`: MLflow's record of runs."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.exits import FAILED, fail
from jobs.rendering import console
from mpo_core.errors import InputError
from mpo_core.run_folder import RunFolder

app = typer.Typer(no_args_is_help=True)


@app.callback()
def track() -> None:
    """MLflow's record of runs: send what it lacks."""


@app.command(
    epilog="Examples:\n\n`mpo track sync demo` (what was logged while the server was away)\n\n"
    "`mpo track sync runs/* --tracking-uri http://HOST:5000` (all of it, to another server)\n\n"
    "`mpo track sync runs/sweeps/demo` (a sweep's own run; its points are runs like others)"
)
def sync(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders or names of runs or sweeps.")
    ],
    *,
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow's store; by default that which the run logs to.")
    ] = None,
) -> None:
    """Send what runs have logged and MLflow does not have: nothing is there twice then."""
    from jobs.view.folders import by_name
    from mpo_core.tracking.queue import Queue
    from mpo_core.tracking.sender import sync as sync_run

    left, folders = 0, [by_name(run) for run in runs]
    if len(folders) > 1:
        # A pattern such as runs/* names more than runs, and runs that logged nothing.
        folders = [run for run in folders if Queue(run).path.is_file()]
        for run in map(by_name, runs):
            if run not in folders and RunFolder(run).config.is_file():
                console.print(f"{run}: nothing was logged there", soft_wrap=True, markup=False)
        if not folders:
            raise InputError("nothing was logged for MLflow in any of these folders")
    for run in folders:
        sent, refused = sync_run(run, tracking_uri)
        left += refused
        console.print(f"{run}: {sent} entries sent", soft_wrap=True)
    if left:
        fail(f"MLflow does not take {left} entries, as said above; they are kept", FAILED)
