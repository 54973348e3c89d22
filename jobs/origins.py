"""Whose plans a run works with, where its files hold others too.

A run that began with a copy of another one's folder has that one's plans beside its own, by
planners of the same names. Which are its own is decided where its stages ask for plans, by their
origin (`Sampling.origin`), and noted in `plans/origins.json`.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mpo_core.files import write_text
from mpo_core.run_folder import RunFolder
from mpo_core.teacher import RULES
from mpo_core.textfile import read_notes


@dataclass(frozen=True)
class Origins:
    """What is noted of a run."""

    begun_with: str | None = None
    """The folder that it began with a copy of."""
    asked: dict[str, dict[str, str]] = field(default_factory=dict)
    """File of plans, relative to the run's folder -> planner -> the origin last asked for."""

    def is_own(self, file: str, origin: str) -> bool:
        """Whether plans of an origin are the run's own. Where it has not asked for any yet, those
        of a copy are not."""
        asked = self.asked.get(file, {}).get(planner_of(file, origin))
        return self.begun_with is None if asked is None else asked == origin


def planner_of(file: str, origin: str) -> str:
    """Whose plans a file holds, by its name: `plans/sampled/sft-unseen.jsonl` -> `sft sampled`."""
    path = Path(file)
    version = path.stem.rpartition("-")[0]
    if version == "seeds":
        return "oracle" if origin.startswith(RULES) else "teacher"
    return f"{version} sampled" if path.parent.name == "sampled" else version


def origins_of(files: RunFolder) -> Origins:
    """What is noted; nothing of a run that asked for no plans yet. Raises InputError where the file
    is damaged."""
    notes = read_notes(files.origins)
    begun_with, asked = notes.get("begun_with"), notes.get("asked")
    if not isinstance(asked, dict) or not all(isinstance(of, dict) for of in asked.values()):
        asked = {}
    return Origins(begun_with if isinstance(begun_with, str) else None, asked)


def note_origin(files: RunFolder, path: Path, origin: str) -> None:
    """Note that the run works with the plans of an origin in one of its files."""
    found, file = origins_of(files), path.relative_to(files.path).as_posix()
    planner = planner_of(file, origin)
    if found.asked.get(file, {}).get(planner) != origin:
        found.asked.setdefault(file, {})[planner] = origin
        _write(files, found)


def note_beginning(files: RunFolder, begun_with: Path) -> None:
    """Note that a folder is the copy of another run's."""
    _write(files, Origins(str(begun_with)))


def _write(files: RunFolder, origins: Origins) -> None:
    write_text(files.origins, json.dumps(asdict(origins), indent=1) + "\n")
