"""What is shown of texts that a model or an environment wrote: whole, and inert."""

import re
import unicodedata
from collections.abc import Sequence

LONGEST = 20_000
"""Characters of one text that are shown; the rest is counted."""
GOING = frozenset({"go", "walk", "look", "search", "find", "locate", "check", "explore", "open"})
"""Verbs of steps that any action of going or looking may begin."""
ALIKE = {"put": "move", "place": "move", "pick": "take", "turn": "use"}
"""Verb of a step -> verb of the action that does it."""
FUNCTION_WORDS = frozenset(
    """a an and any are as at be by do first for from go in into is it its next of on once one or
    other second step that the then there these this those to until up use when where with you
    your""".split()  # noqa: SIM905
)


def inert(text: str) -> str:
    """The text with its control characters, and those that change its direction, made visible.

    Line breaks and tabs stay.
    """
    return "".join(_shown(c) for c in text)


def shortened(text: str, longest: int = LONGEST) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]} [... {len(text) - longest:,} more characters]"


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


def _shown(c: str) -> str:
    if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return c
    return f"\N{MATHEMATICAL LEFT ANGLE BRACKET}U+{ord(c):04X}\N{MATHEMATICAL RIGHT ANGLE BRACKET}"


def _verb(text: str) -> str:
    words = re.findall(r"[a-z]+", re.sub(r"^\s*(step\s*)?\d+\s*[.:)]", "", text.lower()))
    return words[0] if words else ""


def _things(text: str) -> set[str]:
    """The words that name something: without verb, numbers and function words, in singular."""
    words = set(re.findall(r"[a-z]{3,}", text.lower())) - FUNCTION_WORDS - GOING
    return {word.removesuffix("s") for word in words} - {_verb(text)}
