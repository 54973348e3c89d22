"""Arguments and options that several commands take, and the run that they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.configs import named_config, preset_names

if TYPE_CHECKING:
    from jobs.run import Run

ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help=f"A preset ({', '.join(preset_names())}), a .yaml file, or a run's folder.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, as dotted.key=value."),
]
BeginWith = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="Begin a run here, or each point of a sweep, with a copy of this run's folder, and "
        "redo only what its settings change.",
    ),
]
RoundOption = Annotated[int, typer.Option("--round", min=1, help="Round of a run of several.")]


def opened_run(
    config: str, overrides: list[str] | None, *, make: bool = True, aside: bool = False
) -> "Run":
    """The run of a config's name, checked; `make` and `aside` as of `Run`.

    Raises:
        InputError: for whatever it would stumble over.
    """
    from jobs.run import Run

    return Run(named_config(config, overrides or []), config, make=make, aside=aside)
