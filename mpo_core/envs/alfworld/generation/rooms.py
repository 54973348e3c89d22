"""Draws a room with things in it and a task to do there.

Invariants, for every drawn room:
- It follows from the seed, the split, the game's number, the attempt and the prior's power alone.
- No object of the task's kind starts in a receptacle of the kind where the task wants it.
- The agent starts at a spot from which no receptacle is used: there it sees the whole room.
- What the task needs is there: two objects for a task of two, a lamp that stands in or on
  something, a sink, microwave or fridge.
- A task (its type, object, place and scene) belongs to *train* or to *seen*, never to both,
  whatever else is drawn: *seen* means other tasks in the same rooms.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from mpo_core.envs.alfworld.games import TASK_TYPES
from mpo_core.envs.alfworld.generation.prior import prior
from mpo_core.envs.alfworld.generation.tables import (
    GRID,
    Receptacle,
    Scene,
    Spot,
    tables,
)
from mpo_core.types import Split

DEVICES = {
    "pick_clean_then_place_in_recep": ("cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("heatable", "Microwave"),
    "pick_cool_then_place_in_recep": ("coolable", "Fridge"),
}
"""What an object must allow, and the kind of receptacle that does it."""
LOOK, TWO = "look_at_obj_in_light", "pick_two_obj_and_place"

SEEN_SHARE = 6
"""One in so many tasks of the train scenes is kept for *seen*."""

FEWEST, MOST = 15, 30
"""Things in a room, as far as it has room for them."""
FILL = 0.6
"""Most of a room's whole space that is taken at the start."""
MOST_OF_A_KIND = 3
REACH = 0.4
"""Metres from where an agent stands to a fixture."""
PRESENT = 0.85
"""Chance that a kind of object that the room has is there at all."""


@dataclass(frozen=True)
class Goal:
    type: str
    object: str
    place: str
    """The kind of receptacle to put it in; empty for a task of looking."""
    lamp: str
    """The kind of lamp to use; empty otherwise."""
    scene: int

    @property
    def name(self) -> str:
        """Its folder's name in a data root."""
        return f"{self.type}-{self.object}-None-{self.place or self.lamp}-{self.scene}"

    @property
    def objects(self) -> int:
        """How many objects it takes."""
        return 2 if self.type == TWO else 1


@dataclass(frozen=True, order=True)
class Thing:
    id: str
    kind: str
    where: Receptacle


@dataclass(frozen=True)
class Room:
    goal: Goal
    text: str
    """The task in words."""
    kind: str
    receptacles: tuple[Receptacle, ...]
    things: tuple[Thing, ...]
    start: Spot

    @property
    def arrangement(self) -> tuple:
        """What makes it another game than the next: two games never share it."""
        return self.goal.name, tuple(sorted((t.kind, t.where.id) for t in self.things))


def draw(seed: int, split: Split, number: int, attempt: int, power: float) -> Room:
    """The `attempt`-th candidate for a split's game `number`.

    Types of task take turns, and so do the kinds of room in which a type is found; the splits
    begin with different ones.
    """
    rng = random.Random(f"{seed}/{split}/{number}/{attempt}")
    task_type = TASK_TYPES[number % len(TASK_TYPES)]
    rooms = tables().rooms_of[task_type]
    turn = sum(divmod(number, len(TASK_TYPES))) + list(tables().scenes).index(split)
    room = rooms[turn % len(rooms)]
    scene = rng.choice(
        [s for s in tables().scenes[split] if s.room == room and _goals(s, task_type, split)]
    )
    goals = _goals(scene, task_type, split)
    goal = rng.choice(goals[rng.choice(sorted(goals))])
    words = rng.choice(tables().wordings[task_type])
    receptacles = furnished(scene)
    return Room(
        goal,
        words.format(obj=goal.object.lower(), recep=goal.place.lower(), toggle=goal.lamp.lower()),
        room,
        receptacles,
        tuple(sorted(_scatter(rng, scene, goal, power))),
        _start(rng, scene, receptacles),
    )


@cache
def furnished(scene: Scene) -> tuple[Receptacle, ...]:
    """The scene's receptacles: those that the layout places, and fixtures that it only names."""
    rng = random.Random(f"fixtures of {scene.number}")
    placed = list(scene.receptacles)
    for kind, count in sorted(prior().fixtures.items()):
        if kind not in scene.kinds or any(r.kind == kind for r in placed):
            continue
        corner = rng.choice(scene.floor)
        for _ in range(count):
            taken = {(r.spot.x, r.spot.z) for r in placed}
            x, z = min(
                (point for point in scene.floor if point not in taken),
                key=lambda p: (abs(p[0] - corner[0]) + abs(p[1] - corner[1]), p),
            )
            key = _place_id(kind, x * GRID + REACH, 0.9, z * GRID)
            spot = Spot(x, z, rng.choice((0, 90, 180, 270)), 30)
            placed.append(Receptacle(key, kind, spot))
    return tuple(sorted(placed))


@cache
def homes(scene: Scene, thing: str) -> list[str]:
    """The kinds of the scene's receptacles that may hold the thing at the start."""
    kinds = sorted({receptacle.kind for receptacle in furnished(scene)})
    if thing in prior().standing:
        return [kind for kind in kinds if kind in prior().standing[thing]]
    return [kind for kind in kinds if thing in tables().holds.get(kind, ())]


@cache
def inhabitants(scene: Scene) -> list[str]:
    """The kinds of objects that can be taken and that have a place in the scene."""
    return [thing for thing in tables().pickupable(scene) if homes(scene, thing)]


@cache
def _goals(scene: Scene, task_type: str, split: Split) -> Mapping[str, list[Goal]]:
    """The scene's tasks of a type that belong to the split, by object."""
    found: dict[str, list[Goal]] = {}
    for goal in _possible(scene, task_type):
        if split == "unseen" or _kept_for_seen(goal) == (split == "seen"):
            found.setdefault(goal.object, []).append(goal)
    return found


def _possible(scene: Scene, task_type: str) -> Iterator[Goal]:
    room_for = prior().room_for
    space: Counter[str] = Counter()
    for receptacle in furnished(scene):
        space[receptacle.kind] += room_for[receptacle.kind]
    affordance, device = DEVICES.get(task_type, ("", ""))
    if device and device not in space:
        return
    for thing in inhabitants(scene):
        if affordance and thing not in tables().affords[affordance]:
            continue
        kinds = homes(scene, thing)
        if task_type == LOOK:
            for lamp in sorted(tables().affords["toggleable"] & scene.kinds):
                if homes(scene, lamp):
                    yield Goal(task_type, thing, "", lamp, scene.number)
            continue
        objects = 2 if task_type == TWO else 1
        for place in kinds:
            elsewhere = sum(space[kind] for kind in kinds if kind != place)
            # Nobody is asked to put two things where one fits, or to carry a thing back into the
            # device that it had to be brought to.
            if elsewhere >= objects and room_for[place] >= objects and place != device:
                yield Goal(task_type, thing, place, "", scene.number)


def _kept_for_seen(goal: Goal) -> bool:
    return int(hashlib.sha256(goal.name.encode()).hexdigest(), 16) % SEEN_SHARE == 0


def _scatter(rng: random.Random, scene: Scene, goal: Goal, power: float) -> list[Thing]:
    """Put the goal's things into the room, then the others, each where the prior has it."""
    free = {receptacle: prior().room_for[receptacle.kind] for receptacle in furnished(scene)}
    limit = int(FILL * sum(free.values()))
    wanted = [goal.lamp] if goal.lamp else []
    wanted += [goal.object] * _targets(rng, goal)
    wanted += _others(rng, scene, goal, min(MOST, limit) - len(wanted))
    things: list[Thing] = []
    ids: set[str] = set()
    for thing in wanted:
        shunned = goal.place if thing == goal.object else ""
        open_to = sorted(r for r in free if free[r] and r.kind != shunned)
        kinds = [k for k in homes(scene, thing) if any(r.kind == k for r in open_to)]
        if not kinds:
            continue
        (kind,) = rng.choices(kinds, prior().weights(scene.room, thing, kinds, power))
        where = rng.choice([r for r in open_to if r.kind == kind])
        free[where] -= 1
        things.append(Thing(_thing_id(rng, thing, where, ids), thing, where))
    return things


def _targets(rng: random.Random, goal: Goal) -> int:
    """How many objects of the task's kind there are: often one more than needed."""
    spare = (0.3, 0.7, 0.0) if goal.type == TWO else (0.6, 0.3, 0.1)
    (more,) = rng.choices(range(3), spare)
    return goal.objects + more


def _others(rng: random.Random, scene: Scene, goal: Goal, most: int) -> list[str]:
    """The kinds of the other things in the room, some of them more than once, shuffled."""
    decor = [
        thing
        for thing in sorted(prior().standing)
        if thing in scene.kinds and thing != goal.lamp and homes(scene, thing)
    ]
    kinds = [thing for thing in inhabitants(scene) if thing != goal.object]
    there = [thing for thing in kinds if rng.random() < PRESENT]
    counts = {thing: rng.choices((1, 2, 3), (0.65, 0.25, 0.1))[0] for thing in there}
    while sum(counts.values()) < FEWEST and any(n < MOST_OF_A_KIND for n in counts.values()):
        more = rng.choice([thing for thing, n in counts.items() if n < MOST_OF_A_KIND])
        counts[more] += 1
    others = decor + [thing for thing, n in counts.items() for _ in range(n)]
    rng.shuffle(others)
    return others[: max(0, most)]


def _start(rng: random.Random, scene: Scene, receptacles: tuple[Receptacle, ...]) -> Spot:
    used = {(receptacle.spot.x, receptacle.spot.z) for receptacle in receptacles}
    x, z = rng.choice([point for point in scene.floor if point not in used])
    return Spot(x, z, rng.choice((0, 90, 180, 270)), 30)


def _thing_id(rng: random.Random, kind: str, where: Receptacle, ids: set[str]) -> str:
    """A new id with coordinates near the receptacle, as the engine's ids carry them."""
    x, y, z = (float(part) for part in where.id.split("|")[1:4])
    while True:
        key = _place_id(
            kind, x + rng.uniform(-0.4, 0.4), y + rng.uniform(0.02, 0.2), z + rng.uniform(-0.4, 0.4)
        )
        if key not in ids:
            ids.add(key)
            return key


def _place_id(kind: str, x: float, y: float, z: float) -> str:
    return "|".join((kind, *(f"{value:+06.2f}" for value in (x, y, z))))
