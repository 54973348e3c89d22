"""The generated ALFWorld games, drawn or read, in the engine's words; `simulator.py` plays them.

A `Game` never changes, so any number of episodes may share it.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mpo_core.envs.alfworld.games import GAME, TRAJECTORY
from mpo_core.envs.alfworld.generation import pddl
from mpo_core.envs.alfworld.generation.rooms import DEVICES, Goal, Room, draw
from mpo_core.envs.alfworld.generation.tables import tables
from mpo_core.errors import InputError
from mpo_core.types import Split

CHANGES = {
    affordance.removesuffix("able"): device.lower() for affordance, device in DEVICES.values()
}
"""The device that heats, cools or cleans."""
FACT = re.compile(r"\(([a-z]\w*) ([^()]+)\)", re.IGNORECASE)


@dataclass(frozen=True)
class Game:
    """A room and a task, in the engine's words: `mug 2`, `countertop 1`."""

    goal: Goal
    instruction: str
    room: str
    """`Kitchen`, `LivingRoom`, `Bedroom` or `Bathroom`."""
    places: dict[str, int]
    """The spot of each place, in the order in which the room is listed; places may share one."""
    types: dict[str, str]
    """What each place is by the rules: one bathtub's `bathtubbasin 1` is a `sinkbasin`."""
    things: dict[str, str]
    """Where each thing is at the start, in the order in which things are listed."""

    @classmethod
    def of(cls, room: Room) -> "Game":
        """A drawn room, as a game."""
        places = [(pddl.mangled(r.id), r.kind, str(r.spot)) for r in room.receptacles]
        things = [(pddl.mangled(t.id), t.kind, pddl.mangled(t.where.id)) for t in room.things]
        return cls._named(room.goal, room.text, room.kind, places, things)

    @classmethod
    def drawn(
        cls, seed: int, split: Split, number: int, power: float = 1.0, attempt: int = 0
    ) -> "Game":
        """The game that `mpo tasks alfworld generate` makes of these, unless it could not prove
        that attempt; see `rooms.draw`."""
        return cls.of(draw(seed, split, number, attempt, power))

    @classmethod
    def load(cls, folder: Path) -> "Game":
        """The game in a generated game's folder.

        Raises:
            InputError: it holds no generated game.
        """
        try:
            game = json.loads((folder / GAME).read_bytes())
            trajectory = json.loads((folder / TRAJECTORY).read_bytes())
            wanted = trajectory["pddl_params"]
            number = trajectory["scene"]["scene_num"]
            goal = Goal(
                trajectory["task_type"],
                wanted["object_target"],
                wanted["parent_target"],
                wanted["toggle_target"],
                number,
            )
            text = trajectory["turk_annotations"]["anns"][0]["task_desc"]
            kind = _room_kinds()[number]
            return cls._named(goal, text, kind, *_listed_in(game["pddl_problem"]))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"{folder}: not a generated game ({error!r}); make games with "
                "`mpo tasks alfworld generate --out DIR`"
            ) from error

    @classmethod
    def _named(
        cls,
        goal: Goal,
        text: str,
        room: str,
        places: Iterable[tuple[str, str, str]],
        things: Iterable[tuple[str, str, str]],
    ) -> "Game":
        """From (id, kind, spot) of places and (id, kind, id of its place) of things."""
        places = sorted(places, key=lambda place: place[0].lower())
        things = sorted(things, key=lambda thing: thing[0].lower())
        name = dict(_names(places)) | dict(_names(things))
        spots: dict[str, int] = {}
        return cls(
            goal,
            f"Your task is to: {text}.",
            room,
            {name[key]: spots.setdefault(spot, len(spots)) for key, _, spot in places},
            {name[key]: what.lower() for key, what, _ in places},
            {name[key]: name[where] for key, _, where in things},
        )

    @property
    def kinds(self) -> list[str]:
        """The kinds of places, in the order in which the room is listed."""
        return list(dict.fromkeys(map(kind, self.places)))


def games(
    seed: int, split: Split, count: int, power: float = 1.0, first: int = 0
) -> Iterator[Game]:
    """`count` drawn games, as the generator numbers them: types of task take turns."""
    return (Game.drawn(seed, split, number, power) for number in range(first, first + count))


def kind(name: str) -> str:
    """`mug` for `mug 2`."""
    return name.partition(" ")[0]


def _names(items: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    """What the engine calls the items, sorted by id: it numbers a kind's from the last on."""
    words = [(key, _word(key)) for key, _, _ in items]
    left = Counter(word for _, word in words)
    for key, word in words:
        yield key, f"{word} {left[word]}"
        left[word] -= 1


def _word(key: str) -> str:
    """`sinkbasin` for `Sink_bar_..._bar_SinkBasin`: read from the id, whatever the kind."""
    word = key.lower().partition("_bar_")[0]
    return f"{word}basin" if key.lower().endswith("basin") else word


def _listed_in(problem: str) -> tuple[list, list]:
    """A PDDL problem's places (id, kind, spot) and things (id, kind, id of its place)."""
    facts: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for predicate, words in FACT.findall(problem.partition("(:goal")[0]):
        thing, *rest = words.split()
        facts[predicate.lower()][thing] = rest[0] if rest else ""
    spots, where = facts["receptacleatlocation"], facts["inreceptacle"]
    if not spots or not where:
        raise ValueError("its problem has no places, or nothing in them")
    kinds = {**facts["receptacletype"], **facts["objecttype"]}
    places = [(key, kinds[key].removesuffix("Type"), spot) for key, spot in spots.items()]
    return places, [(key, kinds[key].removesuffix("Type"), at) for key, at in where.items()]


@cache
def _room_kinds() -> dict[int, str]:
    return {scene.number: scene.room for scenes in tables().scenes.values() for scene in scenes}
