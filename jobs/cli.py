"""The `mpo` command: what all its commands share, from reading the line to the exit code."""

import contextlib
import io
import logging
import os
import re
import sys
from difflib import get_close_matches
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jobs.commands import agents, look, preparation, results, run, stages, sweep
from jobs.exits import one_line_exits
from jobs.interruptions import interruptions
from mpo_core.cache import settle_libraries
from mpo_core.config.faults import plainly
from mpo_core.likeness import meant
from mpo_core.paths import homes_filled_in

LIKE = 0.75
"""How alike an option must be to be offered: `--help` is not for `--html`."""
OTHER_CHOICE = re.compile(r"'(.*)' is not one of (.*)\.", re.DOTALL)
"""What Typer says of a word that is none of a few."""


class Commands(TyperGroup):
    """The commands, whose faults of use are said in plain words, with what was probably meant."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = plainly(error.message)
            if found := OTHER_CHOICE.fullmatch(error.message):
                hint = meant(found[1], re.findall(r"'(.*?)'", found[2]))
                error.message = error.message.removesuffix(".") + hint
            raise
        except Exception as error:
            # An option that there is not; Typer does not hand out that error's class.
            if (options := getattr(error, "possibilities", None)) and hasattr(error, "option_name"):
                like = get_close_matches(error.option_name, options, cutoff=LIKE)
                error.possibilities = like  # type: ignore[attr-defined]
            raise


app = typer.Typer(
    cls=Commands,
    help="Meta Plan Optimization: train a planner whose plans make LLM agents succeed more often.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog="Start with `mpo doctor`, then `mpo run demo`. Every command has --help with examples.",
)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"mpo {version('mpo-suite')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which this is."),
    ] = False,
) -> None: ...


PANELS = {
    "Before": preparation,
    "The whole loop": run,
    "Its stages, one by one": stages,
    "Many runs": sweep,
    "Looking at runs": look,
    "What comes out": results,
    "Your own agent": agents,
}
for title, commands in PANELS.items():
    for command in (*commands.app.registered_commands, *commands.app.registered_groups):
        command.rich_help_panel = title
    app.add_typer(commands.app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input ends in one line and exit code 2 (`jobs.exits`).

    SIGTERM, and SIGUSR1, a scheduler's warning, interrupt as Ctrl-C does; after SIGUSR1 a training
    leaves a last checkpoint.
    """
    _in_utf8()
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    for stream in (sys.stdout, sys.stderr):
        # What cannot be shown, such as half a character, is shown as a code and stops nothing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with interruptions(), one_line_exits():
        settle_libraries()
        given = sys.argv[1:] if arguments is None else arguments
        app([_at_home(argument) for argument in given], standalone_mode=True)


def _in_utf8() -> None:
    """Start this process again in Python's UTF-8 mode where the locale has another encoding.

    Names of files would be one thing to Python and another to libraries that take all for UTF-8.
    The processes that this one starts inherit it.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _at_home(argument: str) -> str:
    """An argument with `~` filled in where the shell leaves it: quoted, and in `--option=~/x`."""
    option, equals, value = argument.partition("=")
    if equals and option.startswith("--"):
        return f"{option}={homes_filled_in(value)}"
    return homes_filled_in(argument)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
