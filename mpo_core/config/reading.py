"""A config read from YAML and `dotted.key=value`, and written with its run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mpo_core import strict_yaml
from mpo_core.config.faults import advice, in_words
from mpo_core.config.tree import Config
from mpo_core.errors import InputError
from mpo_core.ledger import write_text
from mpo_core.overrides import apply_override

S = TypeVar("S", bound=BaseModel)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `dotted.key=value` overrides.

    Raises:
        InputError: naming the key at fault, for an unreadable file, an unknown key, a wrong type.
    """
    try:
        tree = strict_yaml.load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable as YAML: {_one_line(error)}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected a mapping of settings at the top level")
    for override in overrides:
        apply_override(tree, override, Config)
    return parse_config(tree, where=str(path))


def parse_config(tree: dict[str, Any], where: str = "config") -> Config:
    """A whole config from its tree."""
    return validated(Config, tree, where)


def validated(section: type[S], tree: dict[str, Any], where: str) -> S:
    """A section of the config from its tree. Raises InputError, in one line for all faults."""
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        faults = [in_words(e) + advice(e, section) for e in error.errors()]
        raise InputError(f"{where}: " + "; ".join(faults)) from error


def save_config(config: Config, path: Path) -> None:
    """Write the resolved config, from which the run can be started again, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(path, strict_yaml.dump(config.model_dump(mode="json")))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
