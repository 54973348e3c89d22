"""The planner's words: a tokenizer that reads ALFWorld's planner prompt and writes English plans.

Unlike the agent's, it must give back every letter of a plan, so its tokens are words with the space
before them, and whole line beginnings (`Step 2:`). Of the prompt, what is the same for every task
is one word, and of the room's list only the highest number of each kind of place is kept; as with
the agent's, this is done by the normalizer inside tokenizer.json.
"""

import random
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from mpo_core.abstraction.wording import article
from mpo_core.envs.alfworld.rules import places as all_of
from mpo_core.prompts import load_prompts
from mpo_core.sandbox.faults import drawn
from mpo_core.sandbox.games import Game
from mpo_core.sandbox.plans import places, things
from mpo_core.sandbox.simulator import ROOM
from mpo_core.sandbox.vocabulary import (
    BOT,
    END,
    HIGHEST,
    SPECIAL,
    UNKNOWN,
    USER,
    in_transformers,
)
from mpo_core.sandbox.wording import write

ASKED = "_plan_"
"""Stands for the prompt up to the room's list."""
PIECE = rf"{ASKED}|\n?Step [0-9]+:| ?[A-Za-z]+| ?[0-9]+|[.,;:]|\n"
MOST_STEPS = 12
TEXTS = 4000
"""Plans drawn to collect the words that plans are written in."""
TEMPLATE = """
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}{{- 'BOT' + message['content'] + 'END' -}}
{%- else -%}{{- 'USER' + message['content'] -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'BOT' -}}{%- endif -%}
"""


@cache
def words() -> list[str]:
    """The vocabulary; a word's position is its id."""
    kinds = sorted(places() | things())
    named = [form for kind in kinds for form in (kind, all_of(kind), article(kind))]
    beginnings = [f"{line}Step {n}:" for n in range(1, MOST_STEPS + 1) for line in ("", "\n")]
    numbers = [f" {n}" for n in range(1, HIGHEST + 1)]
    every = [*SPECIAL, ASKED, *beginnings, *numbers, *".,;:\n", *_pieces(named), *_written()]
    return list(dict.fromkeys(every))


@cache
def tokenizer() -> Any:
    """The tokenizer, as `tokenizers` has it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers

    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words())}, unk_token=UNKNOWN))
    made.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(pattern), text) for pattern, text in _rules()]
    )
    made.pre_tokenizer = _splitter()
    made.decoder = decoders.Fuse()
    made.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIAL])
    return made


def pretrained() -> Any:
    """The tokenizer with its chat template, as transformers has it."""
    template = TEMPLATE.strip().replace("USER", USER).replace("BOT", BOT).replace("END", END)
    return in_transformers(tokenizer(), template)


def _rules() -> Iterator[tuple[str, str]]:
    """Patterns and what each becomes, in their order."""
    for message in load_prompts("alfworld").planner_messages("")[:-1]:
        # The example, which is the same for every task.
        yield rf"\A{re.escape(message['content'])}\z", ""
    yield r"(?:You write plans for a player(?m:.)*?\n)?Task: ", ASKED
    yield rf"{ROOM}", ""
    kinds = "|".join(sorted(places(), key=lambda word: (-len(word), word)))
    yield rf"\ba ({kinds}) [0-9]+\K(?:,? (?:and )?a \1 [0-9]+)+", ""
    yield rf",? (?:and )?a (?=(?:{kinds}) [0-9])", " "
    yield r"\nYour task is to:", " task:"


def _splitter() -> Any:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(PIECE), behavior="removed", invert=True)


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """The words of texts, as they stand within a line."""
    split = _splitter()
    for text in texts:
        yield from (piece for piece, _ in split.pre_tokenize_str(f" {text}"))


@cache
def _written() -> tuple[str, ...]:
    """Every word that plans and tasks are written in."""
    split = _splitter()
    found: set[str] = set()
    for number in range(TEXTS):
        rng = random.Random(number)
        game = Game.drawn(0, "train", number)
        texts = [write(drawn(game, rng), rng), " " + game.instruction]
        for text in texts:
            found.update(piece for piece, _ in split.pre_tokenize_str(text))
    return tuple(sorted(found))
