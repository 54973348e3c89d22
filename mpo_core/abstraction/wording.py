"""What the rules of all environments read and write with: actions, names and lists."""

import re
from collections.abc import Iterable, Mapping


def read(table: Mapping[str, re.Pattern], action: str) -> tuple[str, dict[str, str]]:
    """The verb of the table that the action is, and what it says; "" where it is none."""
    for verb, pattern in table.items():
        if said := pattern.fullmatch(action.strip()):
            return verb, said.groupdict()
    return "", {}


def kind(name: str) -> str:
    """A thing's name without its number."""
    return " ".join(re.sub(r"\d+", " ", name).split())


def article(noun: str) -> str:
    return f"{'an' if noun[:1] in set('aeiou') else 'a'} {noun}"


def listed(nouns: Iterable[str]) -> str:
    *most, last = dict.fromkeys(nouns)
    return f"{', '.join(most)} and {last}" if most else last
