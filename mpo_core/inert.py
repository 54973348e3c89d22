"""Texts that a model or an environment wrote, as they may be shown: whole, and without effect."""

import unicodedata

from jinja2 import Environment, PackageLoader, StrictUndefined

LONGEST = 20_000
"""Characters of one text that are shown; the rest is counted."""


def templates(package: str) -> Environment:
    """A package's templates of web pages: what they are given is escaped and inert; `short` is
    `shortened`."""
    found = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: inert(value) if type(value) is str else value,
    )
    found.filters["short"] = shortened
    return found


def inert(text: str) -> str:
    """The text with its control characters, and those that change its direction, made visible.

    Line breaks and tabs stay.
    """
    return "".join(_shown(c) for c in text)


def shortened(text: str, longest: int = LONGEST) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]} [... {len(text) - longest:,} more characters]"


def _shown(c: str) -> str:
    if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return c
    return f"\N{MATHEMATICAL LEFT ANGLE BRACKET}U+{ord(c):04X}\N{MATHEMATICAL RIGHT ANGLE BRACKET}"
