"""What plans for these tasks say, in words; the best ones, poor ones, and those one learns from."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mpo_core.sandbox.scienceworld.games import ANIMALS, LONG, MIDDLE, ROOMS, SHORT, Goal

HOMES = {
    "plant": ("greenhouse",),
    "animal": ("outside",),
    "living thing": ("outside", "greenhouse"),
}
BY_SPAN = {"longest": LONG, "shortest": SHORT}
NO_PLAN = 0.15
"""Share of the games that are learned from without a plan."""


@dataclass(frozen=True)
class PlanSpec:
    rooms: tuple[str, ...] = ()
    """Where to look, in this order."""
    focus: bool = True
    pick: bool = True
    """Whether it says to focus on what was found, and to pick it up."""
    names: tuple[tuple[str, ...], ...] = ()
    """Animals to focus on, whichever is there; a tuple for each focus."""


Planner = Callable[[Goal, random.Random], PlanSpec | None]


def best(goal: Goal, rng: random.Random) -> PlanSpec:
    """What is true of every variation."""
    if goal.sought:
        return PlanSpec(HOMES[goal.sought])
    return PlanSpec(names=tuple(BY_SPAN[span] for span in goal.spans))


def poor(goal: Goal, rng: random.Random) -> PlanSpec:
    """Wrong rooms first, and half of the time no word of the focus; animals that live otherwise."""
    if goal.sought:
        wrong = [room for room in ROOMS if room not in ("outside", "greenhouse")]
        return PlanSpec(tuple(rng.sample(wrong, 3)), focus=rng.random() < 0.5)
    otherwise = {"longest": (*MIDDLE, *SHORT), "shortest": (*MIDDLE, *LONG)}
    return PlanSpec(names=tuple(tuple(rng.sample(otherwise[span], 5)) for span in goal.spans))


def none(goal: Goal, rng: random.Random) -> None:
    return None


PLANNERS: Mapping[str, Planner] = {"best": best, "poor": poor, "none": none}


def drawn(goal: Goal, there: Sequence[str], rng: random.Random) -> PlanSpec | None:
    """A plan of any quality to learn from, or none; `there` are the game's animals."""
    if rng.random() < NO_PLAN:
        return None
    if goal.sought:
        rooms = rng.sample(ROOMS, rng.choice((0, 1, 1, 1, 2, 2, 3)))
        if rng.random() < 0.3:
            rooms = list(HOMES[goal.sought])
        return PlanSpec(tuple(rooms), rng.random() < 0.8, rng.random() < 0.8)
    if rng.random() < 0.1:
        return PlanSpec()
    return PlanSpec(names=tuple(_names(there, rng) for _ in goal.spans))


def _names(there: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    """Some animals, of which most often one is there, and not always the first."""
    others = [name for name in ANIMALS if name not in there]
    named = rng.sample(others, rng.randint(0, 4))
    named += rng.sample(there, rng.choice((0, 1, 1, 1, 1, 2)))
    rng.shuffle(named)
    return tuple(named or others[:1])


def write(goal: Goal, plan: PlanSpec, rng: random.Random | None = None) -> str:
    """The plan's words: as the suite's rules write, or with `rng` also otherwise."""

    def say(*ways: str) -> str:
        return ways[0] if rng is None else rng.choice(ways)

    return numbered((_finding if goal.sought else _telling_apart)(goal, plan, say))


def numbered(steps: Sequence[str]) -> str:
    lines = (step[:1].upper() + step[1:] for step in steps)
    return "\n".join(f"Step {n}: {line}." for n, line in enumerate(lines, 1))


def _finding(goal: Goal, plan: PlanSpec, say: Callable[..., str]) -> list[str]:
    thing, steps = goal.sought, []
    for number, room in enumerate(plan.rooms):
        place = room if room == "outside" else f"the {room}"
        search = say(
            f"teleport to {place} and look around for any {thing}",
            f"go to {place} and look for a {thing}",
            f"look around {room}",
            f"search {place} for a suitable {thing}",
            f"teleport to {place}",
        )
        steps.append(say("", "if there is none, ") * bool(number) + search)
    if not plan.rooms:
        steps.append(say(f"look around for any {thing}", f"find a {thing}"))
    if plan.focus and plan.pick:
        steps.append(say("focus on it and pick it up", "focus on it|pick it up"))
    elif plan.focus:
        steps.append(say("focus on it", "focus on the thing first"))
    elif plan.pick:
        steps.append(say("pick it up", "take it with you"))
    steps.append(
        say(
            f"teleport to the {goal.room} and move it to the {goal.box} box",
            f"move it to the {goal.box} box in the {goal.room}",
            "move it to the box",
        )
    )
    return [part for step in steps for part in step.split("|")]


def _telling_apart(goal: Goal, plan: PlanSpec, say: Callable[..., str]) -> list[str]:
    steps = [say("teleport to outside and look around", "look around outside")]
    for number, span in enumerate(goal.spans):
        names = plan.names[number] if number < len(plan.names) else ()
        if not names:
            sought = f"look around for the animal with the {span} life span"
            steps += [sought, "focus on it"] if number else []
            steps[0] = (
                steps[0]
                if number
                else say(
                    f"teleport to outside and {sought}", f"look for the animal with the {span} life"
                )
            )
            steps += [] if number else ["focus on it"]
            continue
        listed = say(" or ", ", ", ", else ").join(f"the {name}" for name in names)
        steps.append(f"focus on {listed}" + say(", whichever is there", "", " if you see it"))
    return steps
