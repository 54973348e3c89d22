"""Looking at runs: `mpo view`, `show`, `status`, `compare`, `track`."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from jobs.commands import track
from jobs.rendering import console, print_cells
from mpo_core.errors import InputError
from mpo_core.inert import inert

app = typer.Typer()
app.add_typer(track.app, name="track")
Runs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="RUN...", help="Folders or names of runs; all of runs/."),
]


@app.command(
    epilog="Examples:\n\n`mpo view` (all runs of runs/)\n\n`mpo view demo runs/mine --port 8888`"
)
def view(
    runs: Runs = None,
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


@app.command(epilog="Examples:\n\n`mpo status demo`\n\n`watch -n 5 mpo status runs/mine`")
def status(
    runs: Runs = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Say how far runs have come, also such as go on elsewhere: episodes, mean reward, ends."""
    from jobs.status import status as status_of
    from jobs.status import status_lines
    from jobs.view.folders import run_folders

    found = [status_of(folder) for folder in run_folders(runs or [])]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for one in found:
        for line in status_lines(one):
            console.print(inert(line), highlight=False, soft_wrap=True)


@app.command(
    epilog="Examples:\n\n`mpo compare demo runs/mine` (each run against the first)\n\n"
    "`mpo compare runs/a runs/b --out a-and-b` (also as Markdown and as a web page)\n\n"
    "`mpo compare --experiment mpo --filter \"params.seed = '1'\"` (runs that MLflow knows)"
)
def compare(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="Folders or names of finished runs, two or more."),
    ] = None,
    *,
    experiment: Annotated[
        str | None, typer.Option(help="The runs of this MLflow experiment, besides those named.")
    ] = None,
    where: Annotated[
        str, typer.Option("--filter", help="MLflow's filter of an experiment's runs.")
    ] = "",
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow's store; MLFLOW_TRACKING_URI, else runs/mlflow.db.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for compare.json, compare.md and index.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Compare runs: arms with intervals, differences on shared tasks, settings that differ."""
    from jobs.view.folders import run_folders
    from mpo_core.files import write_text
    from mpo_core.report.across import (
        compare_runs,
        comparison_markdown,
        comparison_page,
        sections,
        usable_reports,
    )
    from mpo_core.report.merge import read_report
    from mpo_core.tracking.reports import fetch_reports, id_in_mlflow

    with TemporaryDirectory() as fetched:
        named = run_folders(runs) if runs else []
        reports = [read_report(folder) for folder in named]
        if experiment:
            ids = {id: folder for folder in named if (id := id_in_mlflow(folder))}
            folders = fetch_reports(experiment, where, Path(fetched), tracking_uri)
            for folder in [one for one in folders if one.name in ids]:
                folders.remove(folder)
                known = ids[folder.name]
                typer.echo(f"MLflow's run {folder.name} is {known}: it is shown once", err=True)
            usable, faults = usable_reports(folders)
            reports += usable
            for folder, why in faults.items():
                typer.echo(f"left out: MLflow's run {folder.name}: {inert(why)}", err=True)
        found = compare_runs(reports)
    if out and any((out / name).exists() for name in ("config.yaml", "summary.json")):
        raise InputError(f"--out: {out} is a run's or its report; choose another folder")
    if out:
        write_text(out / "compare.json", json.dumps(found, indent=1) + "\n")
        write_text(out / "compare.md", comparison_markdown(found))
        write_text(out / "index.html", comparison_page(found))
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for heading, cells in sections(found):
        print_cells(heading, cells)
    if out:
        console.print(f"comparison: {out}", soft_wrap=True)
