"""What leaves a run: `mpo export planner`, `data`, `episodes`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.commands.options import ConfigArgument, Overrides, opened_run
from jobs.rendering import console

app = typer.Typer(
    no_args_is_help=True, help="Write a run's planner, data or episodes for others to use."
)
Out = Annotated[Path, typer.Option(help="The folder to write; new or empty.")]


@app.command(
    epilog="Examples:\n\n`mpo export planner demo --out my-planner` (a Hugging Face folder)\n\n"
    "`mpo export planner demo --version sft --out my-planner --push ORG/NAME`"
)
def planner(
    config: ConfigArgument,
    overrides: Overrides = None,
    *,
    out: Out,
    version: Annotated[
        Literal["sft", "rft", "pg", "mpo"], typer.Option(help="After which training.")
    ] = "mpo",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="The LoRA adapter, not merged.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(help="Also upload to this hub repository, private.")
    ] = None,
) -> None:
    """Write the trained planner as a Hugging Face folder."""
    from jobs.export import export_planner
    from jobs.export import push as push_folder

    with opened_run(config, overrides) as opened:
        console.print(export_planner(opened, version, out, adapter=adapter), soft_wrap=True)
    if push:
        console.print(push_folder(out, push), soft_wrap=True)


@app.command(
    epilog="Examples:\n\n`mpo export data demo --out data` (in the formats of the paper's data)\n\n"
    "`mpo export data demo --reference-names --out exported`, then `cp -r exported/. MPO/` (over "
    "a checkout of the paper's repository, whose scripts read such as "
    "`data/sciworld/metaplan/metaplan_test_mpo.jsonl` and "
    "`samples/sciworld_metaplan_train_sampled.jsonl`)"
)
def data(
    config: ConfigArgument,
    overrides: Overrides = None,
    *,
    out: Out,
    reference_names: Annotated[
        bool,
        typer.Option("--reference-names", help="Files named as the paper's scripts read them."),
    ] = False,
) -> None:
    """Write the run's plans and pairs in the formats of the paper's data."""
    from jobs.export import export_data

    with opened_run(config, overrides) as opened:
        for path in export_data(opened, out, reference_names=reference_names):
            console.print(path, soft_wrap=True)


@app.command(
    epilog="Examples:\n\n`mpo export episodes demo --format hf --out episodes` (a Hugging Face "
    'dataset: `datasets.load_dataset("episodes", split="evaluation")`)\n\n'
    "`mpo export episodes demo --format inspect --out logs --stage evaluation`, then "
    "`inspect view --log-dir logs`\n\n"
    "`mpo export episodes runs/mine --format atif --out won.jsonl --arm mpo --min-reward 1`\n\n"
    "`mpo export episodes runs/mine --format otel --out traces.jsonl --limit 100` (a file for "
    "OpenTelemetry's collector)"
)
def episodes(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, or its name in runs/.")
    ],
    *,
    form: Annotated[
        Literal["atif", "otel", "inspect", "hf"],
        typer.Option(
            "--format",
            help="atif: trajectories (Harbor); otel: OpenTelemetry spans; inspect: inspect_ai's "
            "logs, one for each arm; hf: a Hugging Face dataset.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="What to write, new: a folder for atif, inspect and hf; a file .jsonl for otel, "
            "and for atif with one trajectory a line."
        ),
    ],
    stage: Annotated[
        str | None,
        typer.Option(help="expert, scoring, validation or evaluation; feedback, of callers."),
    ] = None,
    arm: Annotated[
        str | None,
        typer.Option(
            help="Whose plans: a planner such as sft or mpo, `none`, `expert`, or `given` for "
            "plans of no planner of the run; of callers' conversations, the arm that each was "
            "drawn into: `off`, or a version such as v1."
        ),
    ] = None,
    env: Annotated[str | None, typer.Option(help="Environment.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Task type.")] = None,
    split: Annotated[str | None, typer.Option(help="train, seen or unseen.")] = None,
    task: Annotated[str | None, typer.Option(help="A task's id.")] = None,
    min_reward: Annotated[float | None, typer.Option(help="The least reward.")] = None,
    max_reward: Annotated[float | None, typer.Option(help="The highest reward.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many of these.")] = None,
) -> None:
    """Write a run's episodes as other tools read them; docs/export.md says what goes where."""
    from jobs.episodes import export_episodes
    from jobs.view.folders import run_folders

    chosen = {
        "stage": stage,
        "planner": arm,
        "env": env,
        "type": type_,
        "split": split,
        "task_id": task,
        "min_reward": min_reward,
        "max_reward": max_reward,
    }
    asked = {name: str(value) for name, value in chosen.items() if value is not None}
    [folder] = run_folders([Path(run)])
    n = export_episodes(folder, form, out, asked, limit)
    console.print(f"{out}: {n:,} episodes", soft_wrap=True, highlight=False)
