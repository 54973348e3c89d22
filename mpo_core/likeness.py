"""What somebody probably meant who wrote a name that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def meant(name: str, known: Iterable[str]) -> str:
    """` (did you mean X?)`, to be put after what is said of the name; nothing where none is like
    it."""
    found = get_close_matches(name, list(known), 1)
    return f" (did you mean {found[0]}?)" if found else ""
