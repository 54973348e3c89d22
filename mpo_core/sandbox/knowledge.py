"""The best plans that can be written: from what houses are like in general, and from this room."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from mpo_core.envs.alfworld.generation.prior import prior
from mpo_core.envs.alfworld.generation.rooms import DEVICES, TWO
from mpo_core.envs.alfworld.generation.tables import tables
from mpo_core.sandbox.games import Game, kind
from mpo_core.sandbox.plans import PREPARING, PlanSpec, compose, openable

MOST = 3
"""Kinds of places that a plan names, unless told otherwise."""


@dataclass(frozen=True)
class Names:
    """The engine's lower-case kinds as the tables spell them."""

    place: dict[str, str]
    thing: dict[str, str]


def homes(game: Game, thing: str, power: float = 1.0) -> list[str]:
    """The room's kinds of places that may hold a kind of thing, in the best order to search them.

    First comes the kind with the most chance of a find per action that searching it takes. The
    chance is the prior's, with the exponent that the games were drawn with. What a task's object
    is brought to is never where it starts.
    """
    spelled = _names().thing[thing]
    by_kind = {kind(place): _names().place[what] for place, what in game.types.items()}
    goal = game.goal
    possible = [
        what
        for what in game.kinds
        if by_kind[what].lower() in holders(thing)
        and (spelled, by_kind[what]) != (goal.object, goal.place)
    ]
    if not possible:
        return []
    weights = prior().weights(game.room, spelled, [by_kind[what] for what in possible], power)
    gain = {
        what: weight / _cost(game, what) for what, weight in zip(possible, weights, strict=True)
    }
    return sorted(possible, key=lambda what: -gain[what])


def holders(thing: str) -> frozenset[str]:
    """The kinds of places that a kind of thing may be in or on."""
    return _holders().get(thing, frozenset())


def best(game: Game, power: float = 1.0, most: int = MOST) -> PlanSpec:
    """The best plan without a look at where this room's things are."""
    wanted, lamp = game.goal.object.lower(), game.goal.lamp.lower()
    lamps = homes(game, lamp, power) if lamp else []
    return plan_of(game, homes(game, wanted, power)[:most], lamps[:most])


def oracle(game: Game, power: float = 1.0, most: int = MOST) -> PlanSpec:
    """The best plan of all: kinds where the things really are come first, the nearest first."""
    wanted, lamp = game.goal.object.lower(), game.goal.lamp.lower()
    search = [*_true_homes(game, wanted), *homes(game, wanted, power)]
    lamps = [*_true_homes(game, lamp), *homes(game, lamp, power)] if lamp else []
    return plan_of(game, _first(search, most), _first(lamps, most))


def plan_of(game: Game, search: Iterable[str], lamp_search: Iterable[str] = ()) -> PlanSpec:
    """A plan with every step that the game's task needs, and these places to look in."""
    goal = game.goal
    affordance, _ = DEVICES.get(goal.type, ("", ""))
    return compose(
        goal.object.lower(),
        search,
        prepare=next((verb for verb in PREPARING if affordance == f"{verb}able"), ""),
        place=goal.place.lower(),
        lamp=goal.lamp.lower(),
        lamp_search=lamp_search,
        two=goal.type == TWO,
        opens=True,
        sweep=True,
    )


def _true_homes(game: Game, thing: str) -> list[str]:
    """The kinds of places where such things are, by the actions until the first is found."""
    found: dict[str, int] = {}
    for place, position in _positions(game).items():
        if any(kind(name) == thing and at == place for name, at in game.things.items()):
            found[kind(place)] = min(position, found.get(kind(place), position))
    return sorted(found, key=lambda what: found[what])


def _positions(game: Game) -> dict[str, int]:
    """The number of places of the same kind up to each, as they are searched."""
    seen: dict[str, int] = {}
    positions = {}
    for place in game.places:
        what = kind(place)
        seen[what] = seen.get(what, 0) + (2 if what in openable() else 1)
        positions[place] = seen[what]
    return positions


def _cost(game: Game, what: str) -> int:
    """Actions that it takes to look into all places of a kind."""
    return sum(kind(place) == what for place in game.places) * (2 if what in openable() else 1)


def _first(kinds: Iterable[str], most: int) -> list[str]:
    return list(dict.fromkeys(kinds))[:most]


@cache
def _names() -> Names:
    places = {name.lower(): name for name in tables().holds}
    things = {name.lower(): name for room in prior().places.values() for name in room}
    return Names(places, things | {name.lower(): name for name in prior().standing})


@cache
def _holders() -> dict[str, frozenset[str]]:
    holders = {thing.lower(): set(map(str.lower, on)) for thing, on in prior().standing.items()}
    for place, things in tables().holds.items():
        for thing in things - prior().standing.keys():
            holders.setdefault(thing.lower(), set()).add(place.lower())
    return {thing: frozenset(places) for thing, places in holders.items()}
