"""The scripted agent (`follower.py`) as a chat model: what it does follows from the dialogue."""

from collections.abc import Sequence

from mpo_core.errors import InputError
from mpo_core.prompts import PLAN_INTRODUCTION
from mpo_core.reading import read_action
from mpo_core.sandbox.follower import Follower
from mpo_core.sandbox.reading import read
from mpo_core.sandbox.teacher import LISTED, TASK
from mpo_core.types import Message

OBSERVED = "Observation: "
IDLE = "look"
"""What it does where its plan has nothing more that can be done."""


def follow(messages: Sequence[Message], seed: int) -> str:
    """The next action of an ALFWorld game, by the plan that it was told with its task
    (`plan_mode: query`), or by the task alone; a `models.X.scripted` model for an agent.

    Raises:
        InputError: the messages hold no room and task of ALFWorld.
    """
    begun = messages[-1]["role"] == "assistant"
    told = list(messages[:-1] if begun else messages)
    start = next((k for k in reversed(range(len(told))) if LISTED.search(told[k]["content"])), 0)
    opening = told[start]["content"]
    room, task = LISTED.search(opening), TASK.search(opening)
    if not room or not task:
        raise InputError(
            f"the sandbox's scripted agent plays ALFWorld, not {opening[-60:]!r}; leave other "
            "environments out, or choose another agent"
        )
    _, given, rest = opening.partition(PLAN_INTRODUCTION)
    plan = read(rest.strip().partition("\n\n")[0]) if given else None
    follower = Follower(task[0], room[0], plan)
    turns = told[start + 1 :]
    for said, heard in zip(turns[::2], turns[1::2], strict=True):
        follower.act()  # What it found not to be there, it does not look for again.
        action = read_action(said["content"]).action or IDLE
        follower.see(action, heard["content"].removeprefix(OBSERVED))
    action = follower.act() or IDLE
    return f" {action}" if begun else f"Action: {action}"
