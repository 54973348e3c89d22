"""A config read from YAML and `dotted.key=value`, and written with its run.

A file may begin with others: `extends: base.yaml`, or a list of which each goes over those before
it, by paths relative to its own folder. Sections are merged key by key, and the file's own keys go
over all; a list or a value is replaced whole.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from mpo_core import strict_yaml
from mpo_core.config.faults import advice, in_words
from mpo_core.config.tree import Config
from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.likeness import meant
from mpo_core.overrides import apply_override
from mpo_core.paths import at_home

S = TypeVar("S", bound=BaseModel)
EXTENDS = "extends"
COMMAND_LINE = "command line"
"""Where the faults of overrides are, in a file without any."""


def load_config(
    path: Path, overrides: Sequence[str] = (), *, unused_models: bool = False
) -> Config:
    """Read a YAML file and apply `dotted.key=value` overrides.

    Args:
        unused_models: whether overrides may bring models that have no role; a file's own may.

    Raises:
        InputError: naming the key at fault, for an unreadable file, an unknown key, a wrong type,
            a model of the overrides that nothing uses.
    """
    tree = _read(path)
    if not overrides:
        return parse_config(tree, where=str(path))
    own = deepcopy(tree)
    for override in overrides:
        apply_override(tree, override, Config)
    config = parse_config(tree, where=COMMAND_LINE if _is_whole(own) else str(path))
    if not unused_models:
        require_used(config.models.keys() - _models_of(own), [config])
    return config


def models_of_file(path: Path) -> set[str]:
    """The names of the models in a file, whether or not it is whole. Raises InputError."""
    return _models_of(_read(path))


def require_used(brought: Iterable[str], configs: Sequence[Config]) -> None:
    """Raises InputError for a model that the command line brings and none of the configs gives a
    role: mostly a misspelt name, whose settings would be without effect."""
    used = {name for config in configs for name in config.models_by_role.values()}
    for name in sorted(set(brought) - used):
        raise InputError(
            f"{COMMAND_LINE}: models.{name}: used by nothing{meant(name, sorted(used))}; the "
            f"roles are planner.model, agent.model and seeds.teacher, and they name "
            f"{', '.join(sorted(used))}"
        )


def parse_config(tree: dict[str, Any], where: str = "config") -> Config:
    """A whole config from its tree."""
    return validated(Config, tree, where)


@overload
def validated(section: type[S], tree: dict[str, Any], where: str) -> S: ...
@overload
def validated(section: Any, tree: dict[str, Any], where: str) -> Any: ...
def validated(section: Any, tree: dict[str, Any], where: str) -> Any:
    """A section of the config, or one of several kinds of it, from its tree.

    Raises:
        InputError: in one line for all faults.
    """
    try:
        return TypeAdapter(section).validate_python(tree)
    except ValidationError as error:
        faults = [in_words(e) + advice(e, section) for e in error.errors()]
        raise InputError(f"{where}: " + "; ".join(faults)) from error


def save_config(config: Config, path: Path) -> None:
    """Write the resolved config, from which the run can be started again, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(path, strict_yaml.dump(config.model_dump(mode="json")))


def _models_of(tree: dict[str, Any]) -> set[str]:
    return set(tree.get("models") or ())


def _is_whole(tree: dict[str, Any]) -> bool:
    """Whether a tree is a config without a fault."""
    try:
        Config.model_validate(tree)
    except ValidationError:
        return False
    return True


def _read(path: Path, extending: Sequence[Path] = ()) -> dict[str, Any]:
    """A file's tree over those that it extends; `extending`: the files it is itself read for."""
    try:
        tree = strict_yaml.load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        asked = f"{extending[-1]}: extends: " if extending else ""
        raise InputError(f"{asked}{path}: not readable as YAML: {_one_line(error)}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected a mapping of settings at the top level")
    names = tree.pop(EXTENDS, [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: extends: expected a file's name, or a list of such")
    whole: dict[str, Any] = {}
    for name in names:
        base = path.parent / at_home(name)
        if base.resolve() in [file.resolve() for file in (*extending, path)]:
            raise InputError(f"{path}: extends: {name} itself extends this file")
        whole = _over(whole, _read(base, (*extending, path)))
    return _over(whole, tree)


def _over(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A tree with another's settings over its own."""
    both = {
        key: _over(base[key], own[key])
        for key in base.keys() & own.keys()
        if isinstance(base[key], dict) and isinstance(own[key], dict)
    }
    return base | own | both


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
