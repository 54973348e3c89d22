"""What an agent wrote, as the game's own command.

Forgiven: case, spaces, full stops and the like at the end, articles, and how putting is worded:
the engine's `move O to R`, the paper's `put O in/on R`, and `in`, `on`, `into`, `onto`. In
released games whose own command is `put O in/on R`, `move O to R` is understood as well.

A command is taken only for one that the game admits now, and only if it can mean no other.
"""

import re
from collections.abc import Collection
from functools import lru_cache

PUTTINGS = ("put X in/on Y", "move X to Y")
"""How putting is worded: by the paper and released games, and by newer engines."""
ARTICLES = {"a", "an", "the"}
END = " \t\r\n.,;:!?"
PUT = re.compile(r"(?:put|move) (\S.*?) (?:in ?/ ?on|into ?/ ?onto|in|on|into|onto|to) (\S.*)")


THING = r"[a-z]+ \d+"
FORMS = re.compile(
    rf"look|inventory|help|go to {THING}|(?:open|close|examine|use) {THING}"
    rf"|take {THING} from {THING}|move {THING} to {THING}"
    rf"|(?:clean|heat|cool|slice) {THING} with {THING}"
)
"""Every form of command, in plain words."""


def is_command(text: str) -> bool:
    """Whether `text` is a command at all, admissible now or not."""
    return FORMS.fullmatch(plain.__wrapped__(text)) is not None


def resolve(text: str, admissible: Collection[str]) -> str | None:
    """The admissible command that `text` means; None where it means none, or more than one."""
    if text.strip() in admissible:
        return text.strip()
    # What agents write is not kept: it is long and seldom comes again.
    wanted = plain.__wrapped__(text)
    meant = [command for command in admissible if plain(command) == wanted]
    return meant[0] if len(meant) == 1 else None


def reworded(command: str, putting: str) -> str:
    """A command as one of `PUTTINGS` has it; one that does not put is as it was."""
    put = PUT.fullmatch(command)
    return putting.replace("X", put[1]).replace("Y", put[2]) if put else command


@lru_cache(8192)
def plain(text: str) -> str:
    """A command without what is forgiven; the same for all wordings of one command."""
    words = text.lower().strip(END).split()
    command = " ".join(word for word in words if word not in ARTICLES)
    put = PUT.fullmatch(command)
    return f"move {put[1]} to {put[2]}" if put else command
