"""A drawn room as the engine's game file, and the names that the engine gives to what is in it."""

from collections import Counter, defaultdict

from mpo_core.envs.alfworld.generation.rooms import Room, Thing
from mpo_core.envs.alfworld.generation.tables import Receptacle, Spot, tables

AGENT = "agent1"
GOAL_TEXT = "UNKNOWN GOAL"
"""What the package's grammar has in the place of the task's text."""
ESCAPES = {"-": "_minus_", "|": "_bar_", "+": "_plus_", ".": "_dot_", ",": "_comma_"}


def problem(room: Room) -> str:
    """The room and its goal as a PDDL problem of the package's domain."""
    objects = [(AGENT, "agent")]
    objects += [(mangled(thing.id), "object") for thing in room.things]
    objects += [(mangled(receptacle.id), "receptacle") for receptacle in room.receptacles]
    spots = {room.start, *(receptacle.spot for receptacle in room.receptacles)}
    objects += [(_spot(spot), "location") for spot in sorted(spots)]
    objects += [(f"{kind}Type", "otype") for kind in sorted({t.kind for t in room.things})]
    objects += [(f"{kind}Type", "rtype") for kind in sorted({r.kind for r in room.receptacles})]
    lines = [
        "(define (problem game)",
        "(:domain alfred)",
        "(:objects",
        *(f"    {key} - {type_}" for key, type_ in objects),
        ")",
        "(:init",
        "    (= (total-cost) 0)",
        f"    (atLocation {AGENT} {_spot(room.start)})",
        *(f"    ({' '.join(fact)})" for fact in _facts(room)),
        ")",
    ]
    goal = tables().goals[room.goal.type].replace("#", "-")
    # Not str.format: the package's goals are PDDL, in which a brace could have a meaning.
    for field, kind in (
        ("obj", room.goal.object),
        ("recep", room.goal.place),
        ("toggle", room.goal.lamp),
    ):
        goal = goal.replace("{" + field + "}", kind)
    return "\n".join(lines) + goal


def grammar(room: Room) -> str:
    return tables().grammar.replace(GOAL_TEXT, room.text)


def names(room: Room) -> dict[str, str]:
    """What the engine calls each thing and receptacle, by id: `apple 2`.

    It numbers the ids of a kind from the last to the first in the order of their escaped text.
    """
    items: list[Thing | Receptacle] = [*room.things, *room.receptacles]
    kinds = {mangled(item.id).lower(): item for item in items}
    left = Counter(item.kind for item in kinds.values())
    named = {}
    for key in sorted(kinds):
        item = kinds[key]
        named[item.id] = f"{item.kind.lower()} {left[item.kind]}"
        left[item.kind] -= 1
    return named


def mangled(key: str) -> str:
    for mark, word in ESCAPES.items():
        key = key.replace(mark, word)
    return key


def _spot(spot: Spot) -> str:
    return mangled(f"loc|{spot.x}|{spot.z}|{spot.rotation}|{spot.horizon}")


def _facts(room: Room) -> list[tuple[str, ...]]:
    facts: list[tuple[str, ...]] = []
    held: defaultdict[str, set[str]] = defaultdict(set)
    for receptacle in room.receptacles:
        key = mangled(receptacle.id)
        facts.append(("receptacleType", key, f"{receptacle.kind}Type"))
        facts.append(("receptacleAtLocation", key, _spot(receptacle.spot)))
        if receptacle.kind in tables().openable:
            facts.append(("openable", key))
        held[receptacle.kind] |= tables().holds.get(receptacle.kind, frozenset())
    takeable = frozenset().union(*tables().holds.values())
    for thing in room.things:
        key = mangled(thing.id)
        facts.append(("objectType", key, f"{thing.kind}Type"))
        facts.append(("inReceptacle", key, mangled(thing.where.id)))
        facts.append(("objectAtLocation", key, _spot(thing.where.spot)))
        if thing.kind in takeable:
            facts.append(("pickupable", key))
        if thing.kind in tables().vessels:
            facts.append(("isReceptacleObject", key))
        facts += [(name, key) for name, kinds in tables().affords.items() if thing.kind in kinds]
    present = {thing.kind for thing in room.things}
    facts += [
        ("canContain", f"{kind}Type", f"{thing}Type")
        for kind, things in held.items()
        for thing in things & present
    ]
    return sorted(facts)
