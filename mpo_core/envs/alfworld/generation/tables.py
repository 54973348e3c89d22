"""What the installed alfworld package says about rooms: layouts, what goes where, goals.

Read from the package's files as they are. The package itself is not imported: importing any part
of it makes a folder in the user's home.

Invariants:
- Nothing here depends on the order in which a set or a folder is iterated.
- The scenes of *train* and *seen* are the package's train scenes, those of *unseen* its test
  scenes.
"""

import importlib.util
import json
import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from mpo_core.envs.alfworld.games import TASK_TYPES
from mpo_core.errors import InputError
from mpo_core.types import Split

GRID = 0.25
"""Metres between two points where an agent can stand."""


@dataclass(frozen=True, order=True)
class Spot:
    """Where an agent stands and looks."""

    x: int
    """In steps of the grid, as `z`."""
    z: int
    rotation: int
    horizon: int


@dataclass(frozen=True, order=True)
class Receptacle:
    id: str
    """The layout's name, such as `Cabinet|+00.68|+00.50|-02.20`."""
    kind: str
    spot: Spot
    """Where an agent stands to use it; several receptacles may share one."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A room's layout. There is one object for each, so it is told apart by identity."""

    number: int
    room: str
    receptacles: tuple[Receptacle, ...]
    """Those that the layout places, by id."""
    kinds: frozenset[str]
    """All kinds of things that the room has, receptacles too."""
    floor: tuple[tuple[int, int], ...]
    """Where an agent can stand: x and z in steps of the grid."""


@dataclass(frozen=True)
class Tables:
    holds: Mapping[str, frozenset[str]]
    """What may lie in or on a kind of receptacle."""
    vessels: frozenset[str]
    """Objects that can hold others, such as bowls."""
    openable: frozenset[str]
    affords: Mapping[str, frozenset[str]]
    """Which kinds are `cleanable`, `heatable`, `coolable`, `toggleable`, `sliceable`."""
    rooms_of: Mapping[str, tuple[str, ...]]
    """The kinds of room in which a type of task is found."""
    goals: Mapping[str, str]
    """A type's goal in PDDL, with {obj}, {recep} and {toggle} to fill in."""
    wordings: Mapping[str, tuple[str, ...]]
    """A type's task texts, to fill in likewise."""
    domain: str
    grammar: str
    scenes: Mapping[Split, tuple[Scene, ...]]

    def pickupable(self, scene: Scene) -> list[str]:
        """The kinds of the scene's objects that lie in or on something and can be taken."""
        return sorted(scene.kinds & frozenset().union(*self.holds.values()))


@cache
def tables() -> Tables:
    """The package's tables.

    Raises:
        InputError: the package is not installed, or lacks a file or a table.
    """
    spec = importlib.util.find_spec("alfworld")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("alfworld is not installed; run `pip install alfworld==0.4.2`")
    package = Path(spec.submodule_search_locations[0])
    try:
        return _read(package)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{package}: not the tables of alfworld 0.4.2 ({error!r}); install that version"
        ) from error


def _read(package: Path) -> Tables:
    constants = runpy.run_path(str(package / "gen/constants.py"))
    goals = runpy.run_path(str(package / "gen/goal_library.py"))["gdict"]
    vessels = frozenset(constants["MOVABLE_RECEPTACLES_SET"])
    train, test = constants["TRAIN_SCENE_NUMBERS"], constants["TEST_SCENE_NUMBERS"]
    room_of = {n: room for room, numbers in constants["SCENE_TYPE"].items() for n in numbers}
    layouts = package / "gen/layouts"

    def scenes(numbers: list[int]) -> tuple[Scene, ...]:
        return tuple(_read_scene(layouts, n, room_of[n]) for n in sorted(numbers))

    train_scenes = scenes(train)
    return Tables(
        holds={
            kind: frozenset(held)
            for kind, held in sorted(constants["VAL_RECEPTACLE_OBJECTS"].items())
            if kind not in vessels
        },
        vessels=vessels,
        openable=frozenset(constants["OPENABLE_CLASS_SET"]),
        affords={
            name.lower(): frozenset(kinds)
            for name, kinds in constants["VAL_ACTION_OBJECTS"].items()
        },
        rooms_of={
            task_type: tuple(sorted(constants["GOALS_VALID"][task_type]))
            for task_type in TASK_TYPES
        },
        goals={task_type: goals[task_type]["pddl"] for task_type in TASK_TYPES},
        wordings={task_type: tuple(goals[task_type]["templates"]) for task_type in TASK_TYPES},
        domain=(package / "data/alfred.pddl").read_text(encoding="utf-8"),
        grammar=(package / "data/alfred.twl2").read_text(encoding="utf-8"),
        scenes={"train": train_scenes, "seen": train_scenes, "unseen": scenes(test)},
    )


def _read_scene(layouts: Path, number: int, room: str) -> Scene:
    name = f"FloorPlan{number}"
    placed = json.loads((layouts / f"{name}-openable.json").read_text(encoding="utf-8"))
    kinds = json.loads((layouts / f"{name}-objects.json").read_text(encoding="utf-8"))
    floor = np.load(layouts / f"{name}-layout.npy")
    return Scene(
        number,
        room,
        tuple(
            Receptacle(key, _kind(key), Spot(_steps(x), _steps(z), int(rotation), int(horizon)))
            for key, (x, z, rotation, horizon) in sorted(placed.items())
        ),
        frozenset(kinds),
        tuple(sorted({(_steps(x), _steps(z)) for x, z in floor.tolist()})),
    )


def _kind(key: str) -> str:
    """A sink is known by its basin: `Sink|...|SinkBasin` is a SinkBasin."""
    parts = key.split("|")
    return parts[4] if len(parts) > 4 else parts[0]


def _steps(metres: float) -> int:
    return round(metres / GRID)
