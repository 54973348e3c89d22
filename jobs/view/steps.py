"""A plan's steps, and where an episode reaches them."""

import re
from collections.abc import Sequence

GOING = frozenset({"go", "walk", "look", "search", "find", "locate", "check", "explore", "open"})
"""Verbs of steps that any action of going or looking may begin."""
ALIKE = {"put": "move", "place": "move", "pick": "take", "turn": "use"}
"""Verb of a step -> verb of the action that does it."""
FUNCTION_WORDS = frozenset(
    """a an and any are as at be by do first for from go in into is it its next of on once one or
    other second step that the then there these this those to until up use when where with you
    your""".split()  # noqa: SIM905
)


def steps_of(plan: str) -> list[str]:
    """A plan's lines that say something."""
    return [line.strip() for line in plan.splitlines() if line.strip()]


def reached(steps: Sequence[str], actions: Sequence[str | None]) -> list[int | None]:
    """For each step of a plan the first turn, after those of the steps before it, whose action has
    the step's verb and names one of its things. None where there is no such turn: it is a guess by
    words, and shown as such.
    """
    found: list[int | None] = []
    after = 0
    for step in steps:
        turns = (
            number
            for number, action in enumerate(actions[after:], start=after)
            if action and _does(action, step)
        )
        found.append(next(turns, None))
        if found[-1] is not None:
            after = found[-1] + 1
    return found


def _does(action: str, step: str) -> bool:
    done, asked = _verb(action), _verb(step)
    if not (done in GOING if asked in GOING else done in (asked, ALIKE.get(asked))):
        return False
    return bool(_things(action) & _things(step))


def _verb(text: str) -> str:
    words = re.findall(r"[a-z]+", re.sub(r"^\s*(step\s*)?\d+\s*[.:)]", "", text.lower()))
    return words[0] if words else ""


def _things(text: str) -> set[str]:
    """The words that name something: without verb, numbers and function words, in singular."""
    words = set(re.findall(r"[a-z]{3,}", text.lower())) - FUNCTION_WORDS - GOING
    return {re.sub(r"ves$", "f", word).removesuffix("s") for word in words} - {_verb(text)}
