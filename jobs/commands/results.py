"""What a run has left, for others to read and use: `mpo report`, `export`, `serve`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.commands.options import ConfigArgument, Overrides, opened_run
from jobs.rendering import console, print_report

app = typer.Typer()


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
    epilog="Examples:\n\n`mpo export planner demo --out my-planner` (a Hugging Face folder)\n\n"
    "`mpo export planner demo --version sft --out my-planner --push ORG/NAME`\n\n"
    "`mpo export data demo --out data` (in the formats of the paper's data)\n\n"
    "`mpo export data demo --reference-names --out exported`, then `cp -r exported/. MPO/` (over "
    "a checkout of the paper's repository, whose scripts read such as "
    "`data/sciworld/metaplan/metaplan_test_mpo.jsonl` and "
    "`samples/sciworld_metaplan_train_sampled.jsonl`)"
)
def export(
    what: Annotated[
        Literal["planner", "data"],
        typer.Argument(help="The trained planner, or the run's plans and pairs."),
    ],
    config: ConfigArgument,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(help="The folder to write; new or empty.")],
    version: Annotated[
        Literal["sft", "rft", "pg", "mpo"], typer.Option(help="planner: after which training.")
    ] = "mpo",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="planner: the LoRA adapter, not merged.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(help="planner: also upload to this hub repository, private.")
    ] = None,
    reference_names: Annotated[
        bool,
        typer.Option(
            "--reference-names", help="data: files named as the paper's scripts read them."
        ),
    ] = False,
) -> None:
    """Write a run's planner or data for others to use."""
    from jobs.export import export_data, export_planner
    from jobs.export import push as push_folder

    with opened_run(config, overrides) as opened:
        if what == "data":
            for path in export_data(opened, out, reference_names=reference_names):
                console.print(path, soft_wrap=True)
            return
        console.print(export_planner(opened, version, out, adapter=adapter), soft_wrap=True)
    if push:
        console.print(push_folder(out, push), soft_wrap=True)


@app.command(
    epilog="Example: `mpo serve demo cluster.http_port=8000`, then\n\n"
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
