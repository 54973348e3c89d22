"""The sandbox's planner before it learns from a teacher: it knows the words, and not what is good.

It is trained from nothing on plans of every quality, with sensible places in a random order, in the
teacher's words and in others. SFT, DPO and the rest start from it.
"""

import random
from collections.abc import Iterator
from functools import cache

from mpo_core.sandbox.faults import CHANCES, spoiled
from mpo_core.sandbox.games import Game
from mpo_core.sandbox.knowledge import best
from mpo_core.sandbox.llama import Llama, Shape
from mpo_core.sandbox.planner_vocabulary import tokenizer, words
from mpo_core.sandbox.plans import PlanSpec
from mpo_core.sandbox.rows import OTHER, Row, prompts
from mpo_core.sandbox.simulator import Episode
from mpo_core.sandbox.train import Budget, Standing, Watch, batched, train
from mpo_core.sandbox.vocabulary import BOT, END, USER
from mpo_core.sandbox.wording import write

TEACHERS_WORDS = 0.5
CHANCE = CHANCES | {"random_order": 1.0, "wrong_order": 0.0, "unprepared": 0.5, "unopened": 0.5}
CHANCE |= {"two_searches": 0.5, "nonsense": 0.05}
"""How often each fault is in a plan that the planner learns from."""
ROWS = 256


def train_planner(budget: Budget, watch: Watch = lambda _: None) -> Llama:
    """A planner, trained from nothing; `watch` is called after every step."""
    return train(budget, watch, Shape(len(words())), Batches)


class Batches(Iterator[list[Row]]):
    """The planner's batches; every game is new."""

    def __init__(self, model: Llama, budget: Budget, rank: int, standing: Standing) -> None:
        self._budget, self._random = budget, random.Random(f"{budget.seed} {rank}")
        self._seed = 500_000 + 1_000 * budget.seed + rank
        self._number = 0
        self._ready: list[list[Row]] = []

    def __next__(self) -> list[Row]:
        if not self._ready:
            rows = [self._row() for _ in range(ROWS)]
            self._ready = batched(rows, self._budget.batch, self._random)
        return self._ready.pop()

    def _row(self) -> Row:
        self._number += 1
        game = Game.drawn(self._seed, "train", self._number)
        plan = some_plan(game, self._random)
        rng = None if self._random.random() < TEACHERS_WORDS else self._random
        return row(game, write(plan, rng))


def some_plan(game: Game, rng: random.Random) -> PlanSpec:
    """A plan as the untrained planner writes them."""
    faults = [name for name, chance in CHANCE.items() if rng.random() < chance]
    return spoiled(best(game, most=rng.choice((1, 2, 3, 3, 3, 4))), game, faults, rng.random())


def asked(game: Game) -> list[int]:
    """The tokens of a game's planner prompt, up to where the plan begins."""
    start = Episode(game).reset()
    *_, last = prompts().planner_messages(f"{start.observation}\n{start.instruction}")
    return [*_example(), _id(USER), *_ids(last["content"]), _id(BOT)]


def row(game: Game, plan: str) -> Row:
    """A prompt and its plan, to learn the plan from."""
    before, after = asked(game), [*_ids(plan), _id(END)]
    return Row([*before, *after], [OTHER] * len(before) + [1.0] * len(after))


@cache
def _example() -> tuple[int, ...]:
    """What the prompt shows before the task, of which the tokenizer keeps next to nothing."""
    shown = prompts().planner_messages("")[:-1]
    tokens = []
    for message in shown:
        answer = message["role"] == "assistant"
        tokens += [_id(BOT if answer else USER), *_ids(message["content"])]
        tokens += [_id(END)] if answer else []
    return tuple(tokens)


def _ids(text: str) -> list[int]:
    return tokenizer().encode(text, add_special_tokens=False).ids


@cache
def _id(word: str) -> int:
    return words().index(word)
