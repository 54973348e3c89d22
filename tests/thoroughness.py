"""How thoroughly tests try what they promise: wholly in `make test`, in part in `make unit`, which
loads the profile `quick` (`--hypothesis-profile quick`)."""

import hypothesis

QUICK = 3
"""Examples of a property in `make unit`, of the hundred that it is otherwise tried on."""


def share() -> float:
    """The part of its examples that a property is tried on."""
    return min(hypothesis.settings().max_examples / 100, 1)


def examples(count: int) -> hypothesis.settings:
    """Hypothesis's settings for a property that wants more examples than others, or fewer."""
    return hypothesis.settings(max_examples=max(round(count * share()), 1))


def long_text() -> int:
    """Signs of a text that would take long to read if the time grew faster than the text."""
    return round(50_000 * share())


def part(count: int, *, least: int) -> int:
    """How many of a fixed sequence of cases are tried."""
    return max(round(count * share()), least)
