"""Paths as people write them: home folders filled in, and what no file can be called refused."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpo_core.errors import InputError

HOME = re.compile(r"(sqlite:///)?(~[\w.-]*(?:/.*)?)", re.ASCII | re.DOTALL)
"""A path that starts in a home folder, alone or as that of a database."""
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""What a path begins with that was written as a URL: it has lost one of its slashes."""
VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


def at_home(path: str | Path) -> Path:
    """A path with `~` and `~user` filled in. Raises InputError for a user without a home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: no home folder is known for this; write it out") from error


def homes_filled_in(value: Any, key: str = "") -> Any:
    """A setting with `~` and `~user` filled in, in whatever texts and paths it holds.

    Some settings are a path or something else, such as a model's source, so the type does not tell.

    Raises:
        InputError: a user without a home; it names the setting below `key`.
    """
    if isinstance(value, dict):
        return {
            name: homes_filled_in(inner, f"{key}.{name}" if key else f"{name}")
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [homes_filled_in(inner, key) for inner in value]
    if not isinstance(value, str | Path):
        return value
    found = HOME.fullmatch(str(value))
    try:
        return type(value)(f"{found[1] or ''}{at_home(found[2])}") if found else value
    except InputError as error:
        raise InputError(f"{key}: {error}" if key else str(error)) from error


def check_paths(value: Any) -> None:
    """Raises InputError for a path in a setting that no file can have here."""
    for path in _paths(value):
        if any(VARIABLE.fullmatch(part) for part in path.parts):
            raise InputError(
                f"{path}: variables are not filled in; write it out, or give it on the command "
                "line unquoted, where the shell does"
            )
        if len(path.parts) > 1 and URL.fullmatch(path.parts[0]):
            scheme, *rest = path.parts
            raise InputError(
                f"{scheme}//{'/'.join(rest)}: a URL, where a file or folder of this machine is "
                "asked for; mount or copy it, and give its path here"
            )
        if not _can_be(path):
            raise InputError(f"{str(path)!a}: no name that a file can have; use another")


def _can_be(path: Path) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _paths(inner)
