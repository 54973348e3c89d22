"""Looking at runs: `mpo view`, `show`."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.rendering import console

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n`mpo view` (all runs of runs/)\n\n`mpo view demo runs/mine --port 8888`"
)
def view(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="Folders or names of runs; all of runs/."),
    ] = None,
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback others can read the runs.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="8270, or a free one where that is taken.")
    ] = None,
) -> None:
    """Browse runs: episodes turn by turn, plans, pairs, two episodes side by side; also live."""
    from jobs.view.folders import run_folders
    from jobs.view.serve import serve_pages

    serve_pages(run_folders(runs or []), host, port, console.print)


@app.command(
    epilog="Examples:\n\n`mpo show 3f9c2a` (an episode, a plan or a task, by the beginning of its "
    "key or id)\n\n`mpo show scienceworld/boil/14 runs/mine`"
)
def show(
    what: Annotated[
        str, typer.Argument(metavar="EPISODE|PLAN|TASK", help="A key or id, or its beginning.")
    ],
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="Where it is looked for; all of runs/."),
    ] = None,
) -> None:
    """Print an episode turn by turn, a plan with its episodes, or a task with its plans."""
    from jobs.view.folders import run_folders
    from jobs.view.show import show as show_record

    show_record(what, run_folders(runs or []), console)
