"""Texts that a model or an environment wrote, as they may be shown: whole, and without effect."""

import unicodedata

LONGEST = 20_000
"""Characters of one text that are shown; the rest is counted."""


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
    if unicodedata.category(c) == "Cs":
        return f"\\u{ord(c):04x}"  # Half a character, as Python writes it.
    if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Co", "Zl", "Zp"):
        return c
    return f"\N{MATHEMATICAL LEFT ANGLE BRACKET}U+{ord(c):04X}\N{MATHEMATICAL RIGHT ANGLE BRACKET}"
