"""Regular expressions that meet texts of callers: none of them holds up the others' requests.

A backtracking expression can take years over a text that is made for it, and Python's own can
neither be stopped nor lets another thread run meanwhile.
"""

import time

import regex

LIMIT_S = 0.5
"""For all that is looked for in one request."""


class Limit:
    """How long the expressions of one request may still take."""

    def __init__(self, seconds: float = LIMIT_S) -> None:
        self._until = time.monotonic() + seconds

    def left_s(self) -> float:
        """Raises TimeoutError where nothing is left."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def compiled(pattern: str) -> "regex.Pattern[str]":
    """An expression of a config's. Raises ValueError for one that is none."""
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


def found(pattern: "regex.Pattern[str]", text: str, limit: Limit) -> "regex.Match[str] | None":
    """The first match. Raises TimeoutError where the limit is reached."""
    return pattern.search(text, concurrent=True, timeout=limit.left_s())


def left_out(pattern: "regex.Pattern[str]", text: str, limit: Limit, instead: str) -> str:
    """A text with another in its matches' place. Raises TimeoutError where the limit is reached."""
    return pattern.sub(lambda _: instead, text, concurrent=True, timeout=limit.left_s())
