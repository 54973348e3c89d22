"""Configs by name: a preset of this package, or a YAML file of one's own."""

import re
from collections.abc import Sequence
from pathlib import Path

from jobs.view.folders import RUNS
from mpo_core.config import Config, load_config, models_of_file
from mpo_core.errors import InputError
from mpo_core.likeness import meant
from mpo_core.overrides import quoted
from mpo_core.run_folder import RunFolder

PRESETS = Path(__file__).parent / "presets"


def named_config(
    source: str, overrides: Sequence[str] = (), *, unused_models: bool = False
) -> Config:
    """The config of a preset's name, a YAML file, or a run's folder, wherever that has moved to;
    `unused_models` as of `load_config`."""
    path = _find(source)
    if path.parent == Path(source):
        run = path.parent.resolve()
        overrides = [f"name={quoted(run.name)}", f"runs_dir={quoted(str(run.parent))}", *overrides]
    return load_config(path, overrides, unused_models=unused_models)


def models_of(source: str) -> set[str]:
    """The names of the models that a config has before any overrides."""
    return models_of_file(_find(source))


def preset_names() -> list[str]:
    """The presets that this package holds, by name."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def run_name(file: Path) -> str:
    """A run's name after the file that it works on."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._")
    return name or "given"


def runs_beside(path: Path) -> list[str]:
    """The runs in the folder in which one was looked for, as they are given."""
    return [str(run) for run in path.parent.glob("*") if RunFolder(run).config.is_file()]


def _find(source: str) -> Path:
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise InputError(f"{path}: no such config file")
        return path
    if RunFolder(path).config.is_file():
        return RunFolder(path).config
    preset = PRESETS / f"{source}.yaml"
    if not preset.is_file():
        names = preset_names()
        if RunFolder(RUNS / path).config.is_file():
            raise InputError(
                f"{source}: no preset; the run of this name is given by its folder: {RUNS / path}"
            )
        known = meant(source, [*names, *runs_beside(path)]) or f" ({', '.join(names)})"
        raise InputError(f"{source}: neither a .yaml file, nor a run's folder, nor a preset{known}")
    return preset
