"""The tokenizer that reads the suite's ScienceWorld dialogues in few tokens, a word each.

As the sandbox's other tokenizers, it reads by its normalizer: what is the same in every episode is
left out, of a room's list only animals, plants and boxes stay, and words that are not known are
skipped.
"""

import re
from functools import cache
from typing import Any

from mpo_core.prompts import PLAN_INTRODUCTION
from mpo_core.sandbox.scienceworld.games import ANIMALS, COLOURS, PLANTS, ROOMS
from mpo_core.sandbox.vocabulary import (
    ACTION,
    SPECIAL,
    chat_template,
    in_transformers,
    reading,
)

VERBS = ("teleport to", "look around", "focus on", "pick up")
NAMES = (*ROOMS, *ANIMALS, *PLANTS, "living thing")
TOGETHER = tuple(name for name in (*VERBS, *NAMES) if " " in name)
"""Of two words, and yet one token."""
OTHERS = "move to box plant animal longest shortest _task_ _plan_ _step_ _room_ _done_"
OTHERS += " _failed_"


def _mark(name: str) -> str:
    return f"_{name.replace(' ', '_')}_"


SYNONYMS = (
    (r"teleport to|go to|go", _mark("teleport to")),
    (r"look around|look|search|find|explore|check", _mark("look around")),
    (r"focus on|focus", _mark("focus on")),
    (r"pick up|pick it up|pick|take|collect|grab", _mark("pick up")),
    (r"move|put|place|bring", "move"),
    (r"animals", "animal"),
    (r"plants", "plant"),
)


@cache
def words() -> list[str]:
    """The vocabulary; a word's position is its id."""
    return list(dict.fromkeys([*SPECIAL, ACTION, *VERBS, *OTHERS.split(), *NAMES, *COLOURS]))


@cache
def tokenizer() -> Any:
    """The tokenizer, as `tokenizers` has it."""
    return reading(words(), _rules(), TOGETHER)


def _rules() -> list[tuple[str, str]]:
    """Patterns of lower-case text and what each becomes, in their order (Oniguruma's)."""
    colours = "|".join(COLOURS)
    introduction = re.sub(r"\W+", " ", PLAN_INTRODUCTION.lower()).strip()
    kept = [w for w in words() if w not in {*SPECIAL, ACTION, *TOGETHER}]
    kept += ["_action_", *map(_mark, TOGETHER)]
    return [
        ("_", " "),
        (r"you play scienceworld(?m:.)*?\naction: one action", " "),
        (r"^\s*(?:observation|thought):", " "),
        (r"^\s*action:", " _action_ "),
        (r"^[ \t]*a door to [^\n]*", " "),
        # What is not to be taken for a colour, or a tree.
        (r"\(containing a red apple[^)]*\)", " "),
        (rf"\b(?:{colours})\b(?! box| tree| jay)", " "),
        (r"^[ \t]*(?:step\s*)?[0-9]+\s*[.:)]+", " _step_ "),
        (r"[^\w\s]+|\s+", " "),
        (" {2,}", " "),
        ("your task is to", " _task_ "),
        ("first focus on the thing then move it to the", " "),
        ("the animals are in the outside location|focus on the animal with the", " "),
        (introduction, " _plan_ "),
        ("this (?:room|outside location) is called the", " _room_ "),
        (r"you (?:teleport|move) to the [a-z ]+", " "),
        (r"you (?:focus on|move) the [a-z0-9 ]+", " _done_ "),
        ("no known action matches that input|unknown action [a-z ]+", " _failed_ "),
        (r"your answer holds no action [a-z ]+", " _failed_ "),
        *((rf"\b(?:{said})\b", f" {word} ") for said, word in SYNONYMS),
        *((rf"\b{name}\b", _mark(name)) for name in TOGETHER if name not in VERBS),
        (rf"(?<!\S)(?!(?:{'|'.join(kept)})(?!\S))\S+", " "),
        ("_action_", ACTION),
        *((_mark(name), name) for name in TOGETHER),
    ]


def pretrained() -> Any:
    """The tokenizer with its chat template, as transformers has it."""
    return in_transformers(tokenizer(), chat_template())
