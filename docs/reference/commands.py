"""Every command of `mpo`, as Markdown, from the command line itself."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import typer

from jobs.cli import app


def commands() -> Iterator[tuple[str, Any]]:
    """The words that call each command, and the command, in the order of `mpo --help`."""
    yield from _below("mpo", typer.main.get_command(app))


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    within = getattr(command, "commands", None)
    if within is None:
        yield words, command
        return
    for name, one in within.items():
        for inner, leaf in _below(f"{words} {name}", one):
            # A group's commands stand where the group does.
            leaf.rich_help_panel = leaf.rich_help_panel or one.rich_help_panel
            yield inner, leaf


def markdown() -> str:
    """A heading a panel of the help, one a command, with its arguments, options and examples."""
    text = ""
    for panel, found in groupby(commands(), key=lambda one: one[1].rich_help_panel):
        text += f"\n## {panel}\n" + "".join(_command(words, one) for words, one in found)
    return text


def _command(words: str, command: Any) -> str:
    said = " ".join((command.help or "").split())
    with command.make_context(words, [], resilient_parsing=True) as context:
        records = [one.get_help_record(context) for one in command.params if one.name != "help"]
    rows = "".join(f"| `{_cell(name)}` | {_cell(help)} |\n" for name, help in filter(None, records))
    table = f"| | |\n|---|---|\n{rows}" if rows else ""
    return f"\n### {words}\n\n{said}\n\n{table}\n{command.epilog or ''}\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
