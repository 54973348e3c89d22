"""The shortest way to do a drawn room's task, in the engine's words.

Written from where everything is, not searched for: the engine's own planner may run into any time
limit on a busy machine, and then the bytes of a generated game would depend on the machine. That
a walkthrough wins is shown by playing it (`proof.py`), not assumed.
"""

from collections.abc import Mapping
from itertools import permutations

from mpo_core.envs.alfworld.generation.pddl import names
from mpo_core.envs.alfworld.generation.rooms import DEVICES, Room, Thing
from mpo_core.envs.alfworld.generation.tables import Receptacle, tables


def walkthrough(room: Room) -> list[str]:
    """The commands that win, the fewest that there are to fetch, change and put what is wanted."""
    goal = room.goal
    called = names(room)
    objects = [thing for thing in room.things if thing.kind == goal.object]
    ends: list[Receptacle | Thing] = [r for r in room.receptacles if r.kind == goal.place]
    if goal.lamp:
        ends = [thing for thing in room.things if thing.kind == goal.lamp]
    _, kind = DEVICES.get(goal.type, ("", ""))
    devices: list[Receptacle | None] = [r for r in room.receptacles if r.kind == kind]
    ways = (
        _way(room, called, chosen, device, end)
        for chosen in permutations(objects, goal.objects)
        for device in devices or [None]
        for end in ends
    )
    return min(ways, key=lambda way: (len(way), way))


def _way(
    room: Room,
    called: Mapping[str, str],
    objects: tuple[Thing, ...],
    device: Receptacle | None,
    end: Receptacle | Thing,
) -> list[str]:
    spot = room.start
    opened: set[str] = set()
    commands: list[str] = []

    def go(receptacle: Receptacle) -> None:
        # Receptacles may share a spot, and nobody can go where they are.
        nonlocal spot
        if receptacle.spot != spot:
            commands.append(f"go to {called[receptacle.id]}")
            spot = receptacle.spot

    def reach_into(receptacle: Receptacle) -> None:
        go(receptacle)
        if receptacle.kind in tables().openable and receptacle.id not in opened:
            commands.append(f"open {called[receptacle.id]}")
            opened.add(receptacle.id)

    for thing in objects:
        reach_into(thing.where)
        commands.append(f"take {called[thing.id]} from {called[thing.where.id]}")
        if device is not None:
            go(device)
            change = DEVICES[room.goal.type][0].removesuffix("able")
            commands.append(f"{change} {called[thing.id]} with {called[device.id]}")
        if isinstance(end, Thing):
            go(end.where)
            commands.append(f"use {called[end.id]}")
        else:
            reach_into(end)
            commands.append(f"move {called[thing.id]} to {called[end.id]}")
    return commands
