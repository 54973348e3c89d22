"""Which games a data folder holds: the released ones (json_2.1.1, patched 2.1.2) or generated ones.

A game is a folder `<split>/<type>-<object>-...-<scene>/<trial>` that holds `traj_data.json` and
`game.tw-pddl`; its task's id is `alfworld/<type>-...-<scene>/<trial>`.

- Whatever lies in the folder, `index_games` tells what is wrong by name and goes on: a file that
  no game can be read from is a `Fault`, never an exception.
- Left out without a fault, as the package does: folders named after a movable receptacle or a
  sliced object, and games marked as not solvable.
- The index is a function of the files alone, in the order of the ids: the same on every machine.
"""

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError

from mpo_core.cache import keep, unwritable
from mpo_core.errors import InputError
from mpo_core.types import Split, Task, content_hash

TaskType = Literal[
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
]
TASK_TYPES: tuple[TaskType, ...] = get_args(TaskType)
SPLIT_FOLDERS: dict[Split, str] = {"train": "train", "seen": "valid_seen", "unseen": "valid_unseen"}
RELEASES = ("json_2.1.2", "json_2.1.1")
DEPTH = 2
"""Folders between a split's folder and a game's files."""
GAME, TRAJECTORY = "game.tw-pddl", "traj_data.json"
LEFT_OUT = {"movable": "movable receptacle", "Sliced": "sliced object"}
"""What in a game folder's path leaves it out, and the name that it is counted under."""
UNSOLVABLE = "not solvable"

FORMAT = 3
"""To be raised when the index of the same files would come out differently."""
TASK = "Your task is to:"
NO_TASK = "UNKNOWN GOAL"
"""Stands for the task in the package's grammar, from which games are made."""
TASK_TEXT = re.compile(rf'{TASK}(?:[^"\\]|\\.)*')
ROOM = "You are in the middle of a room. Looking quickly around you, you see"
THING = re.compile(r"\b[a-z]\w*_bar_\w+")
RECEPTACLE = re.compile(rf"\(receptacleatlocation ({THING.pattern}) ")
GRAMMAR_SIGNS = frozenset(';|"<>[]#{}')
"""Signs that the engine's grammar gives a meaning, so that it would not show them as they are."""
ADVICE = (
    "set ALFWORLD_DATA to the folder that holds json_2.1.1 (from `alfworld-download`), or make "
    "games with `mpo tasks alfworld generate --out DIR`"
)


@dataclass(frozen=True)
class Fault:
    path: str
    """Relative to the data folder."""
    reason: str


@dataclass(frozen=True)
class Index:
    tasks: dict[Split, list[Task]]
    """Each split's tasks, by id."""
    faults: list[Fault]
    left_out: list[Fault]
    """Games that are sound but not used, as documented above."""


INDEX = TypeAdapter(Index)


class _Entry(NamedTuple):
    """A game's file; without a name, a folder in which nothing can be looked up."""

    folder: str
    """Relative to the data folder, with slashes."""
    name: str
    size: int = 0
    mtime_ns: int = 0
    fault: str = ""
    """Why it cannot be used at all."""


class _NoGame(Exception):
    """(path, reason): a file from which no game can be read."""


class _Unreadable(_NoGame):
    """The same, but another time it may be readable as it is."""


def data_root(folder: Path) -> Path:
    """The folder that holds the splits: `folder` itself, or the newest release in it.

    Raises:
        InputError: there is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {ADVICE}")
    if _holds_a_split(folder):
        return folder
    for release in (folder / name for name in RELEASES):
        # The patched release may lie there as it is packed: without the trajectories.
        if _holds_a_split(release) and any(release.glob(f"*/*/*/{TRAJECTORY}")):
            return release
    raise InputError(f"{folder}: holds neither {' nor '.join(RELEASES)}; {ADVICE}")


def game_file(root: Path, task: Task) -> Path:
    """Where a task's game lies under a data folder."""
    return root / SPLIT_FOLDERS[task.split] / task.id.removeprefix("alfworld/") / GAME


def index_games(root: Path, cache: Path | None = None) -> Index:
    """The games under a data folder.

    With a `cache` folder, the index is kept there under a hash of the names, sizes and times of
    the files, so that they are read once, by the first of all processes.

    Raises:
        InputError: no such folder, no split in it, or no game that can be played.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; {ADVICE}")
    if not _holds_a_split(root):
        wanted = ", ".join(SPLIT_FOLDERS.values())
        raise InputError(f"{root}: holds none of the folders {wanted}; {ADVICE}")
    entries = sorted(entry for name in SPLIT_FOLDERS.values() for entry in _walk(root, name))
    kept = cache / f"{content_hash(FORMAT, entries)}.json" if cache else None
    index = _kept(kept) if kept else None
    if index is None:
        index, final = _read_games(root, entries)
        if kept and final:
            _keep(index, kept)
    if not any(index.tasks.values()):
        raise InputError(f"{root}: holds no game to play ({_what_instead(index)}); {ADVICE}")
    return index


def _holds_a_split(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in SPLIT_FOLDERS.values())


def _walk(root: Path, folder: str) -> Iterator[_Entry]:
    """The games' files in a split's folder: two folders below it or, by mistake, higher up."""
    try:
        with os.scandir(root / folder) as listing:
            found = list(listing)
    except FileNotFoundError:
        return
    except OSError as error:
        yield _Entry(folder, "", fault=f"{error.strerror}")
        return
    for entry in found:
        if not entry.name.isprintable():
            # Not UTF-8, or a control sign: an id made of it would not travel.
            shown = f"{folder}/{ascii(entry.name)[1:-1]}"
            yield _Entry(shown, "", fault="a name that cannot be printed; rename it")
        elif entry.name in (GAME, TRAJECTORY):
            yield _file(folder, entry)
        elif folder.count("/") < DEPTH and os.path.isdir(entry):
            yield from _walk(root, f"{folder}/{entry.name}")


def _file(folder: str, entry: os.DirEntry) -> _Entry:
    try:
        status = entry.stat()
    except OSError as error:
        return _Entry(folder, entry.name, fault=f"{error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        return _Entry(folder, entry.name, fault="not a file")
    return _Entry(folder, entry.name, status.st_size, status.st_mtime_ns)


def _read_games(root: Path, entries: Sequence[_Entry]) -> tuple[Index, bool]:
    """The index, and whether it may be kept: every file that is there could be read."""
    tasks: dict[Split, list[Task]] = {split: [] for split in SPLIT_FOLDERS}
    splits = {name: split for split, name in SPLIT_FOLDERS.items()}
    faults: list[Fault] = []
    left_out: list[Fault] = []
    places: dict[str, str] = {}
    final = True
    for folder, files in groupby(entries, lambda entry: entry.folder):
        split, _, place = folder.partition("/")
        reason = next((LEFT_OUT[sign] for sign in LEFT_OUT if sign in place), None)
        try:
            task = None if reason else _task(root, splits[split], folder, list(files))
            if task and task.id in places:
                raise _NoGame(folder, f"has the name of {places[task.id]}; rename one of them")
        except _NoGame as wrong:
            faults.append(Fault(*wrong.args))
            final = final and not isinstance(wrong, _Unreadable)
        else:
            if task:
                tasks[task.split].append(task)
                places[task.id] = folder
            else:
                left_out.append(Fault(folder, reason or UNSOLVABLE))
    for found in tasks.values():
        found.sort(key=lambda task: task.id)
    return Index(tasks, faults, left_out), final


def _task(root: Path, split: Split, folder: str, files: Sequence[_Entry]) -> Task | None:
    """A game's task; None when the game is marked as not solvable.

    Raises:
        _NoGame: one of its files is missing or damaged.
    """
    for entry in files:
        if entry.fault:
            raise _NoGame(f"{folder}/{entry.name}".rstrip("/"), entry.fault)
    if folder.count("/") != DEPTH:
        raise _NoGame(folder, "a game's files must lie in SPLIT/TYPE-.../TRIAL")
    names = {entry.name for entry in files}
    for name in (TRAJECTORY, GAME):
        if name not in names:
            raise _NoGame(f"{folder}/{name}", "missing")

    path = f"{folder}/{GAME}"
    game = _object(root, path)
    solvable = game.get("solvable")
    if not isinstance(solvable, bool):
        raise _NoGame(path, "does not say whether it is solvable; make it again")
    if not solvable:
        return None
    for key in ("pddl_domain", "grammar", "pddl_problem"):
        if not isinstance(game.get(key), str):
            raise _NoGame(path, f"has no text {key!r}")
    description = f"{room_text(game['pddl_problem'])}\n{_task_text(path, game['grammar'])}"

    path = f"{folder}/{TRAJECTORY}"
    task_type = _object(root, path).get("task_type")
    if task_type not in TASK_TYPES:
        raise _NoGame(path, f"unknown task_type {task_type!r:.60}; known: {', '.join(TASK_TYPES)}")
    return Task(
        id=f"alfworld/{folder.partition('/')[2]}",
        env="alfworld",
        type=task_type,
        split=split,
        description=description,
    )


def _object(root: Path, path: str) -> dict:
    try:
        content = json.loads((root / path).read_bytes().decode("utf-8"))
    except OSError as error:
        raise _Unreadable(path, f"{error.strerror}") from error
    except ValueError as error:
        raise _NoGame(path, f"not JSON ({error})") from error
    except RecursionError as error:
        raise _NoGame(path, "not JSON (nested too deeply)") from error
    if not isinstance(content, dict):
        raise _NoGame(path, "not a JSON object")
    return content


def room_text(problem: str) -> str:
    """What the engine shows of the room at the start of a game, from its PDDL problem.

    The planner reads it with the task, as in the paper's data.
    """
    things = sorted(set(THING.findall(problem.lower())))
    numbers: dict[str, list[str]] = {}
    for thing in things:
        numbers.setdefault(_kind(thing), []).append(thing)
    # The engine lists things by their ids, and numbers those of a kind from the last id on.
    receptacles = sorted(set(RECEPTACLE.findall(problem.lower())))
    named = [
        f"a {_kind(thing)} {len(numbers[_kind(thing)]) - numbers[_kind(thing)].index(thing)}"
        for thing in receptacles
    ]
    listed = ", and ".join(filter(None, [", ".join(named[:-1]), *named[-1:]])) or "nothing"
    return f"{ROOM} {listed}."


def _kind(thing: str) -> str:
    """The word for a thing in the engine's text: `sinkbasin` for `sink_bar_..._bar_sinkbasin`."""
    return thing.partition("_bar_")[0] + ("basin" if "basin" in thing else "")


def _task_text(path: str, grammar: str) -> str:
    """The line that says what is asked, as the engine shows it at the start of the game."""
    found = TASK_TEXT.search(grammar)
    if not found:
        raise _NoGame(path, f"its grammar has no text {TASK!r}")
    try:
        text = json.loads(f'"{found[0]}"', strict=False)
    except ValueError as error:
        raise _NoGame(path, f"its task text is not JSON ({error})") from error
    text = text.partition("\n")[0].strip()
    if text.removeprefix(TASK).strip(" .") in ("", NO_TASK):
        raise _NoGame(path, "its grammar holds no task")
    if not text.isprintable() or GRAMMAR_SIGNS.intersection(text):
        raise _NoGame(path, f"its task text has a sign that cannot be shown: {text!a:.60}")
    return text


def _kept(path: Path) -> Index | None:
    """An index kept before; None where one must be made: there is none, or it is damaged."""
    try:
        return INDEX.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _keep(index: Index, path: Path) -> None:
    try:
        keep(path, INDEX.dump_json(index))
    except OSError as error:
        raise unwritable(path.parent, error) from error


def _what_instead(index: Index) -> str:
    """What a folder without a game holds, in words."""
    counts = Counter(fault.reason for fault in index.left_out)
    parts = [f"{count} left out as {reason}" for reason, count in sorted(counts.items())]
    if index.faults:
        first = index.faults[0]
        parts.append(f"{len(index.faults)} faulty, the first {first.path}: {first.reason}")
    return "; ".join(parts) or "nothing there"
