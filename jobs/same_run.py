"""A run's folder is one run: what goes on in it was begun with the same deciding settings. A run of
other settings has a folder of its own, which may begin with a copy of what is there."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.configs import runs_beside
from jobs.origins import note_beginning
from mpo_core.config import Config, deciding, load_config
from mpo_core.errors import InputError
from mpo_core.files import whole_folder
from mpo_core.likeness import meant
from mpo_core.run_folder import RunFolder

SHOWN = 8
"""Of the settings that differ, those that a refusal names."""


def refuse_other_settings(config: Config) -> None:
    """See that the work in a run's folder was done with the config's deciding settings.

    Stages take up what they find, and with other settings would go on with each other's leavings.
    What selects results or says how the work is done may be another each time.

    Raises:
        InputError: it was done with others, or nobody can tell with which.
    """
    folder, files = config.run_dir, RunFolder(config.run_dir)
    if not files.config.is_file() or not files.holds_work():
        return
    try:
        there = deciding(load_config(files.config))
    except InputError as error:
        raise InputError(f"{error}; restore it, or choose another name (name=NAME)") from error
    differ = differences(there, deciding(config))
    if differ:
        named = differ[:SHOWN]
        if len(differ) > SHOWN:
            named.append(f"and {len(differ) - SHOWN} more")
        raise InputError(
            f"{folder}: made with other settings: {', '.join(named)}; give {folder} in the "
            f"config's place to go on with its own settings, such as `mpo run {folder}`; or choose "
            f"another name (name=NAME, and `mpo run --from {folder}` to keep what still holds)"
        )


def has_other_arms(config: Config) -> bool:
    """Whether the run in the config's folder has worked for other arms than the config's."""
    files = RunFolder(config.run_dir)
    if not files.config.is_file() or not files.holds_work():
        return False
    there, here = load_config(files.config).evaluation, config.evaluation
    return (there.arms, there.plan_files) != (here.arms, here.plan_files)


def check_beginning(folder: Path, *new: Path) -> None:
    """See that new runs' folders can begin with a copy of a run's.

    Raises:
        InputError: it is no run's, or is that of one of the new ones.
    """
    if not RunFolder(folder).config.is_file():
        hint = meant(str(folder), runs_beside(folder))
        raise InputError(f"--from {folder}: not a run's folder{hint}: it has no config.yaml")
    if folder.resolve() in [one.resolve() for one in new]:
        raise InputError(
            f"--from {folder}: this very run, which goes on without --from; another one needs "
            "another name (name=NAME)"
        )


def begin_with_copy(run_dir: Path, new: Path) -> None:
    """Give a run that has no folder the files of another, but for what tells of that run alone.

    Raises:
        InputError: they cannot be copied; nothing is left of the copy then.
    """
    if new.exists():
        return
    left_out = shutil.ignore_patterns(*RunFolder(run_dir).of_this_run_alone())
    try:
        with whole_folder(new) as partial:
            shutil.copytree(run_dir, partial, ignore=left_out, dirs_exist_ok=True)
            note_beginning(RunFolder(partial), run_dir)
    except OSError as error:
        # shutil's own error lists every file with its reason.
        reason = error.args[0][0][-1] if isinstance(error, shutil.Error) else error
        raise InputError(f"--from {run_dir}: cannot be copied to {new}: {reason}") from error


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Each setting that differs, with both values; a section that only one has, as one."""
    named = dict.fromkeys(
        key if key in there and key in here else _lacking(key, here if key in there else there)
        for key in [*there, *here]
        if key not in there or key not in here or there[key] != here[key]
    )
    sections = tuple(f"{key}." for key in named)
    return [
        f"{key} is {_in_words(there, key)} there and {_in_words(here, key)} here"
        for key in named
        if not key.startswith(sections)
    ]


def _lacking(key: str, settings: Mapping[str, Any]) -> str:
    """What settings without a key lack: the section that it stands in, or the key alone."""
    section = key.rpartition(".")[0]
    return section if section and not _holds(settings, section) else key


def _holds(settings: Mapping[str, Any], section: str) -> bool:
    return any(key.startswith(f"{section}.") for key in settings)


def _in_words(settings: Mapping[str, Any], key: str) -> str:
    if key in settings:
        return json.dumps(settings[key], ensure_ascii=False)
    return "given" if _holds(settings, key) else "not set"
