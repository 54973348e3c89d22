"""What a run has left, for others to read and use: `mpo report`, `export`, `serve`."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands import export
from jobs.commands.options import ConfigArgument, Overrides, opened_run
from jobs.rendering import console, print_report

app = typer.Typer()
app.add_typer(export.app, name="export")


@app.command(
    epilog="Examples:\n\n`mpo report runs/mine`\n\n"
    "`mpo report runs/mine-1 runs/mine-2 runs/mine-3 --out runs/mine-all` (three seeds of a config)"
)
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR...", help="Folders of finished runs.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; a single run's own by default.")
    ] = None,
) -> None:
    """Write a run's report anew, or one report of several seeds of the same config."""
    from jobs.view.folders import by_name
    from mpo_core.report.merge import report_runs

    print_report(*report_runs([by_name(run) for run in runs], out))


@app.command(
    epilog="Example: `mpo serve demo-llm cluster.http_port=8000`, then\n\n"
    '`curl localhost:8000/v1/chat/completions -H "Content-Type: application/json" '
    '-d \'{"model": "smollm2", "messages": [{"role": "user", "content": "Hello"}]}\'`\n\n'
    "`mpo serve runs/mine --proxy self` (its agent, to which each new conversation comes with a "
    "plan of its planner)\n\n"
    "`mpo serve runs/mine --proxy http://HOST:8000/v1 proxy.port=8100` (another server's)"
)
def serve(
    config: ConfigArgument,
    overrides: Overrides = None,
    *,
    proxy: Annotated[
        str | None,
        typer.Option(
            metavar="UPSTREAM",
            help="Also a proxy that gives conversations plans of the planner, before the server at "
            "this URL; `self` for the models served here. See `mpo proxy`.",
        ),
    ] = None,
) -> None:
    """Serve the config's models on loopback until Ctrl-C."""
    from jobs.serve import serve_until_interrupted

    with opened_run(config, overrides) as opened:
        serve_until_interrupted(opened, lambda line: console.print(line, soft_wrap=True), proxy)
