"""Which runs are looked at: by their folders, or by their names in `runs/`."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mpo_core.errors import InputError
from mpo_core.run_folder import RunFolder

RUNS = Path("runs")


def run_folders(given: Sequence[Path]) -> list[Path]:
    """The folders of the named runs; by default all of `runs/`, the newest first.

    Raises:
        InputError: one of them is no run's, or there is none.
    """
    if given:
        return [_folder(one) for one in given]
    found = sorted(_runs_in(RUNS), key=lambda run: RunFolder(run).config.stat().st_mtime)
    if not found:
        raise InputError(
            f"{RUNS}/: no runs there; give the folder of one, or make one by `mpo run demo`"
        )
    return found[::-1]


def by_name(run: Path) -> Path:
    """A run's folder as it is given, or the one of that name in `runs/`."""
    return RUNS / run if not run.exists() and (RUNS / run).is_dir() else run


def _folder(one: Path) -> Path:
    for folder in (one, RUNS / one):
        if _is_run(folder):
            return folder.resolve()
    raise InputError(f"{one}: no run's folder, neither here nor in {RUNS}/: it has no config.yaml")


def _runs_in(folder: Path) -> Iterable[Path]:
    return (run.resolve() for run in folder.glob("*") if _is_run(run)) if folder.is_dir() else ()


def _is_run(folder: Path) -> bool:
    return RunFolder(folder).config.is_file()
