"""JSON edited where it stands: what is put in changes nothing else of the text.

A request's numbers, unknown fields, order and spacing reach the upstream as the caller wrote them.
"""

import json
import re
from typing import Any, NamedTuple

from mpo_core.patterns import matched

_SPACE = re.compile(r"[ \t\n\r]*")
_SPACES = frozenset(" \t\n\r")
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


def whole_object(text: str) -> tuple[Place, dict[str, Place]]:
    """The object that a text is, and its members. Raises ValueError where it is none, or more."""
    # Some writers begin with a byte order mark, and most readers pass over it.
    start = _past_space(text, int(text.startswith("\ufeff")))
    found, end = _members(text, start)
    if _past_space(text, end) != len(text):
        raise ValueError("more than one value")
    return Place({name: place.value for name, place in found.items()}, start, end), found


def members(text: str, start: int) -> dict[str, Place]:
    """The members of the object that begins at a place; of a name that repeats, the last.

    Raises:
        ValueError: no object begins there.
    """
    return _members(text, start)[0]


def elements(text: str, start: int) -> list[Place]:
    """The elements of the array that begins at a place. Raises ValueError where none begins."""
    found: list[Place] = []
    at = _first(text, start, "[]")
    while at is not None:
        found.append(value_at(text, at))
        at, _ = _next(text, found[-1].end, "]")
    return found


def text_in(text: str, start: int, name: str, *inner: str) -> str | None:
    """The text that the object at a place has by a name, or by one in the object of that name, of a
    JSON that may break off; None where none is there yet."""
    try:
        at = _first(text, start, "{}")
        while at is not None:
            member = value_at(text, at)
            begin = _past_space(text, _past_space(text, member.end) + 1)
            if member.value == name and inner:
                return text_in(text, begin, *inner)
            found = value_at(text, begin)
            at, _ = _next(text, found.end, "}")
            if member.value == name:
                return found.value if isinstance(found.value, str) else None
    except (ValueError, RecursionError):
        pass
    return None


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


def _members(text: str, start: int) -> tuple[dict[str, Place], int]:
    """The members of an object, and where it ends."""
    found: dict[str, Place] = {}
    at, end = _first(text, start, "{}"), _past_space(text, start + 1) + 1
    while at is not None:
        name = value_at(text, at)
        colon = _past_space(text, name.end)
        if not isinstance(name.value, str) or text[colon : colon + 1] != ":":
            raise ValueError("no member")
        found[name.value] = value = value_at(text, colon + 1)
        at, end = _next(text, value.end, "}")
    return found, end


def _first(text: str, start: int, signs: str) -> int | None:
    """Where the first entry begins of what the two signs enclose; None where there is none."""
    if text[start : start + 1] != signs[0]:
        raise ValueError(f"no {signs[0]}")
    at = _past_space(text, start + 1)
    return None if text[at : at + 1] == signs[1] else at


def _next(text: str, end: int, close: str) -> tuple[int | None, int]:
    """Where the entry begins after one that has ended, None after the last; and what is past the
    sign between."""
    at = _past_space(text, end)
    sign = text[at : at + 1]
    if sign not in (",", close):
        raise ValueError("neither another entry nor the end")
    return (at + 1 if sign == "," else None), at + 1


def _past_space(text: str, at: int) -> int:
    # Mostly there is one space, or none.
    if text[at : at + 1] == " ":
        at += 1
    return matched(_SPACE, text, at).end() if text[at : at + 1] in _SPACES else at


def _inside(text: str) -> str:
    """A text as it stands between a JSON string's quotes."""
    return json.dumps(text)[1:-1]
