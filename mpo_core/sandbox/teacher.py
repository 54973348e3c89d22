"""The sandbox's teacher: a chat model by rules, who knows how tasks are done, but not well.

It names sensible places to look in, in any order, and forgets half of the time each step that is
easily forgotten. So a planner that learns from it has all the words and much to gain.
"""

import random
import re
from collections.abc import Iterable, Sequence

from mpo_core.errors import InputError
from mpo_core.sandbox.follower import NAMED, task_plan
from mpo_core.sandbox.games import kind
from mpo_core.sandbox.knowledge import holders
from mpo_core.sandbox.plans import PlanSpec, compose
from mpo_core.sandbox.simulator import ROOM
from mpo_core.sandbox.wording import write
from mpo_core.types import Message

FORGETS = 0.5
"""How often it forgets to heat, cool or clean, to open the place where the object goes, and to look
for the second object on the way."""
MOST = 3
"""Kinds of places that it names."""
LISTED = re.compile(re.escape(ROOM) + r"([^.]*)\.")
TASK = re.compile(r"Your task is to: [^\n]*")


def teach(messages: Sequence[Message], seed: int) -> str:
    """A plan for the task that the messages hold, with its room; a `models.X.scripted` model.

    Raises:
        InputError: they hold no room and task of ALFWorld, or one of things that it does not know.
    """
    asked = messages[-1]["content"]
    room, task = LISTED.search(asked), TASK.search(asked)
    if not room or not task:
        raise InputError(
            f"the sandbox's teacher plans for tasks of ALFWorld, not for {asked[-60:]!r}; leave "
            "other environments out of envs, or choose another seeds.teacher"
        )
    kinds = list(dict.fromkeys(map(kind, NAMED.findall(room[1]))))
    return write(plan_for(task[0], kinds, random.Random(f"{seed} {asked}")))


def plan_for(instruction: str, kinds: Sequence[str], rng: random.Random) -> PlanSpec:
    """A plan for a task, in a room with these kinds of places. Raises InputError for a task of
    things that it does not know."""
    plan = task_plan(instruction)
    told = plan.steps
    if not told[0].thing:
        raise InputError(
            f"the sandbox's teacher does not know what {instruction[-60:]!r} is about; leave that "
            "task out, or choose another seeds.teacher"
        )
    thing, place = told[0].thing, next((step.place for step in told if step.verb == "put"), "")
    lamp = next((step.thing for step in told if step.verb == "use"), "")
    search, lamp_search = (
        rng.sample(able, min(MOST, len(able)))
        for able in (sensible(kinds, thing, place), sensible(kinds, lamp) if lamp else [])
    )
    return compose(
        thing,
        search,
        prepare=plan.prepares if rng.random() >= FORGETS else "",
        place=place,
        lamp=lamp,
        lamp_search=lamp_search,
        two=any(step.again for step in told),
        opens=rng.random() >= FORGETS,
        sweep=rng.random() >= FORGETS,
    )


def sensible(kinds: Iterable[str], thing: str, goal: str = "") -> list[str]:
    """The kinds of places that can hold a thing, but for the one that it is to be brought to."""
    return [what for what in kinds if what != goal and what in holders(thing)]
