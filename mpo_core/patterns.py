"""Regular expressions that match at every place of a text, if only nothing."""

import re


def matched(pattern: re.Pattern[str], text: str, start: int = 0) -> re.Match[str]:
    """The match at `start` of a pattern that matches anywhere.

    Raises:
        ValueError: the pattern is none of that kind.
    """
    found = pattern.match(text, start)
    if found is None:
        raise ValueError(f"{pattern.pattern!r} does not match everywhere")
    return found
