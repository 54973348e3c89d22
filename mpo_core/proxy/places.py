"""JSON edited where it stands: what is put in changes nothing else of the text.

A request's numbers, unknown fields, order and spacing reach the upstream as the caller wrote them.
"""

import json
import re
from typing import Any, NamedTuple

from mpo_core.patterns import matched

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class Place(NamedTuple):
    """A value and where it stands in the text: `text[start:end]`."""

    value: Any
    start: int
    end: int


def value_at(text: str, start: int) -> Place:
    """The value that begins at a place, or after space there.

    Raises:
        ValueError: there is none.
    """
    begin = _past_space(text, start)
    value, end = _DECODER.raw_decode(text, begin)
    return Place(value, begin, end)


def whole(text: str) -> Place:
    """The value that a text is. Raises ValueError where it is none, or more."""
    found = value_at(text, 0)
    if _past_space(text, found.end) != len(text):
        raise ValueError("more than one value")
    return found


def members(text: str, start: int) -> dict[str, Place]:
    """The members of the object that begins at a place; of a name that repeats, the last."""
    found: dict[str, Place] = {}
    at = _past_space(text, start + 1)
    while text[at] != "}":
        name = value_at(text, at)
        found[name.value] = value = value_at(text, _past_space(text, name.end) + 1)
        at = _past_comma(text, value.end)
    return found


def elements(text: str, start: int) -> list[Place]:
    """The elements of the array that begins at a place."""
    found: list[Place] = []
    at = _past_space(text, start + 1)
    while text[at] != "]":
        found.append(value_at(text, at))
        at = _past_comma(text, found[-1].end)
    return found


class Edits:
    """Changes to a text, each of a part that no other one touches."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._changes: list[tuple[int, int, str]] = []

    def append_text(self, string: Place, text: str) -> None:
        """Put text at the end of a string."""
        self._changes.append((string.end - 1, string.end - 1, _inside(text)))

    def prepend_text(self, string: Place, text: str) -> None:
        """Put text at the beginning of a string."""
        self._changes.append((string.start + 1, string.start + 1, _inside(text)))

    def append(self, array: Place, value: Any) -> None:
        """Put an element at the end of an array."""
        comma = ", " if array.value else ""
        self._changes.append((array.end - 1, array.end - 1, comma + json.dumps(value)))

    def prepend(self, array: Place, value: Any) -> None:
        """Put an element at the beginning of an array."""
        comma = ", " if array.value else ""
        self._changes.append((array.start + 1, array.start + 1, json.dumps(value) + comma))

    def replace(self, place: Place, value: Any) -> None:
        """Put another value into a value's place."""
        self._changes.append((place.start, place.end, json.dumps(value)))

    def add_member(self, parent: Place, name: str, value: Any) -> None:
        """Put a member at the end of an object that has none of that name."""
        comma = ", " if parent.value else ""
        added = f"{comma}{json.dumps(name)}: {json.dumps(value)}"
        self._changes.append((parent.end - 1, parent.end - 1, added))

    def applied(self) -> str:
        """The text with its changes; those at one place in the order in which they were made."""
        parts, at = [], 0
        for start, end, new in sorted(self._changes, key=lambda change: change[:2]):
            parts += [self._text[at:start], new]
            at = end
        return "".join([*parts, self._text[at:]])


def _past_comma(text: str, at: int) -> int:
    """Where the next entry begins, or its array or object ends."""
    at = _past_space(text, at)
    return _past_space(text, at + 1) if text[at] == "," else at


def _past_space(text: str, at: int) -> int:
    return matched(_SPACE, text, at).end()


def _inside(text: str) -> str:
    """A text as it stands between a JSON string's quotes."""
    return json.dumps(text)[1:-1]
