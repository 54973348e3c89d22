"""What a run stands on: `mpo tasks`, `sandbox`, `config`, `doctor`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from jobs.commands.options import ConfigArgument, Overrides
from jobs.configs import named_config
from jobs.rendering import console
from mpo_core.config import settings
from mpo_core.errors import InputError
from mpo_core.types import Split

LEFT_OUT_SHOWN = 10
app = typer.Typer()


@app.command(
    epilog="Examples:\n\n`mpo tasks scienceworld`\n\n`mpo tasks scienceworld --split unseen --list`"
    "\n\n`mpo tasks alfworld --data /data/alfworld` (also says what is wrong with the folder)\n\n"
    "`mpo tasks alfworld generate --seed 1 --train 600 --seen 60 --unseen 60 --out games`"
)
def tasks(
    env: Annotated[str, typer.Argument(help="Environment: scienceworld, alfworld, or your own.")],
    action: Annotated[
        Literal["show", "generate"],
        typer.Argument(help="`show` counts or lists tasks; `generate` writes new ones."),
    ] = "show",
    *,
    split: Annotated[Split | None, typer.Option(help="Only this split.")] = None,
    types: Annotated[list[str] | None, typer.Option("--type", help="Only this task type.")] = None,
    list_ids: Annotated[bool, typer.Option("--list", help="Print the task ids.")] = False,
    data: Annotated[Path | None, typer.Option(help="Data folder to look at.")] = None,
    split_file: Annotated[
        Path | None, typer.Option(help="A published index file to read the split from.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="generate: the folder to write.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="generate: same seed, same tasks.")] = 0,
    train: Annotated[int, typer.Option(min=0, help="generate: training tasks.")] = 24,
    seen: Annotated[int, typer.Option(min=0, help="generate: tasks in rooms of training.")] = 12,
    unseen: Annotated[int, typer.Option(min=0, help="generate: tasks in other rooms.")] = 12,
    prior_power: Annotated[
        float | None,
        typer.Option(
            min=0, help="generate, alfworld: 0 puts things anywhere, above 1 where they belong."
        ),
    ] = None,
) -> None:
    """Count, list or generate an environment's tasks."""
    from jobs.tasks import count_tasks, environment, generate_tasks, list_tasks

    if action == "generate":
        if out is None:
            raise InputError("--out: say which folder to write the tasks into")
        counts: dict[Split, int] = {"train": train, "seen": seen, "unseen": unseen}
        options = {} if prior_power is None else {"prior_power": prior_power}
        console.print(f"{generate_tasks(env, out, counts, seed, options)}", soft_wrap=True)
        return
    suite = environment(env, data, split, split_file)
    found = list_tasks(suite, split, types)
    if list_ids:
        for task in found:
            print(task.id)
    else:
        header, rows = count_tasks(found, split)
        table = Table(*header)
        for row in rows:
            table.add_row(*map(str, row))
        console.print(table)
    for fault in suite.faults():
        print(f"unusable: {fault}", file=sys.stderr)
    left_out = suite.left_out()
    for name in left_out if list_ids else left_out[:LEFT_OUT_SHOWN]:
        print(f"left out: {name}", file=sys.stderr)
    if not list_ids and len(left_out) > LEFT_OUT_SHOWN:
        print(f"left out: {len(left_out)} in all; --list names them", file=sys.stderr)


@app.command(
    epilog="Examples:\n\n`mpo sandbox build --out sandbox`\n\n"
    "`mpo tasks alfworld generate --train 0 --seen 0 --unseen 200 --prior-power 2 --out games`, "
    "then `mpo sandbox check --out sandbox --games games` (in the real engine)"
)
def sandbox(
    action: Annotated[
        Literal["build", "check"],
        typer.Argument(
            help="`build` trains agent and planner and checks the agent; `check` only checks it."
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The models' folder; for `build` new or empty. `check` takes the shipped models "
            "without it."
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="build: how long to train the agent, on two quiet cores.")
    ] = 14,
    planner_minutes: Annotated[
        float, typer.Option(min=0.05, help="build: how long to train the planner.")
    ] = 3,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="build: of weights and games.")
    ] = 0,
    games: Annotated[
        Path | None,
        typer.Option(
            help="Generated games, whose unseen ones the real engine plays; without it the "
            "simulator plays 200."
        ),
    ] = None,
) -> None:
    """Make the sandbox's models from nothing (a tiny agent that follows plans, and its planner), or
    check an agent: games won under good plans, poor ones and none."""
    from jobs.sandbox import build, check
    from mpo_core.builtin_models import resolve_source

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    if action == "build":
        if out is None:
            raise InputError("sandbox build: --out is missing; name a new or empty folder")
        passed = build(
            out,
            minutes=minutes,
            planner_minutes=planner_minutes,
            seed=seed,
            held_out=games or 200,
            say=say,
        )
    else:
        passed = check(out or Path(resolve_source("builtin:sandbox-agent")), games or 200, say)
    if not passed:
        raise typer.Exit(1)


@app.command(epilog="Examples:\n\n`mpo config demo`\n\n`mpo config demo | grep training`")
def config(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Print every setting of a config, its value, what it means and what it bears on: whether it
    decides results, adds to them, selects among them, or is operational."""
    for one in settings(named_config(config, overrides or [])):
        meaning = f"{one.meaning} " if one.meaning else ""
        print(f"{one.key} = {one.value}  # {meaning}({one.bearing})")


@app.command(
    epilog="Examples:\n\n`mpo doctor`\n\n`mpo doctor demo` (also plays in its environments)"
)
def doctor(
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="Also check what this config needs.")
    ] = None,
    overrides: Overrides = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Check this machine, from environments to models; each fault comes with its remedy. With a
    config, the expert's actions are played in each of its environments."""
    from jobs.doctor import examine

    # An endpoint may be asked that the loop does not use.
    read = named_config(config, overrides or [], unused_models=True) if config else None
    checks = examine(read)
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
    for check in [] if as_json else checks:
        word, color = {
            "ok": ("ok  ", "green"),
            "warn": ("warn", "yellow"),
            "fault": ("no  ", "red"),
        }[check.status]
        line = Text.assemble((word, color), f" {check.name}: {check.found}")
        if check.remedy:
            line.append(f"\n     {check.remedy}", style="bold")
        console.print(line, soft_wrap=True, highlight=False)
    if any(check.status == "fault" for check in checks):
        raise typer.Exit(2)
