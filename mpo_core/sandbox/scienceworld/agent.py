"""The learned agent: the dialogues that it learns from, its training, and how it plays."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Protocol

from mpo_core.envs.base import Reset, Step
from mpo_core.prompts import Prompts, load_prompts
from mpo_core.sandbox.llama import Llama, Sampler, Shape
from mpo_core.sandbox.rows import Row, corrected, labelled
from mpo_core.sandbox.scienceworld.follower import IDLE, Follower
from mpo_core.sandbox.scienceworld.games import ANIMALS, PLANTS, ROOMS, STEPS, Episode, Game
from mpo_core.sandbox.scienceworld.plans import PlanSpec, drawn, write
from mpo_core.sandbox.scienceworld.vocabulary import tokenizer, words
from mpo_core.sandbox.train import Budget, Standing, batched
from mpo_core.sandbox.vocabulary import ACTION, BOT, END, USER

LONGEST = 7
"""Tokens of an action."""
NOISE = 0.05
DAGGER, POOL = 0.3, 128
"""Share of the training after which it learns from its own episodes; how many at a time."""
SHAPE = Shape(len(words()), context=512)


class Played(Protocol):
    """What is played: the simulator's `Episode`, or a world of the engine."""

    def reset(self) -> Reset: ...
    def step(self, action: str) -> Step: ...


@lru_cache(100_000)
def ids(text: str) -> tuple[int, ...]:
    return tuple(tokenizer().encode(text, add_special_tokens=False).ids)


def spoken(action: str) -> tuple[int, ...]:
    """The tokens of an action, as the agent says it."""
    return ids(f"{ACTION} {action}")


@cache
def prompts() -> Prompts:
    return load_prompts("scienceworld")


@cache
def _id(word: str) -> int:
    return words().index(word)


@dataclass
class Table:
    """An episode under way: its tokens, and the follower that looks on."""

    episode: Played
    plan: PlanSpec | None
    text: str | None
    tokens: list[int] = field(default_factory=list)
    right: list[tuple[int, str]] = field(default_factory=list)
    wrong: list[tuple[int, str]] = field(default_factory=list)
    """Where the tokens of each action begin that was right, or not, and the decision's kind."""
    wanted: list[tuple[int, str, str]] = field(default_factory=list)
    """Of those that were not: what was right instead."""
    actions: list[str] = field(default_factory=list)
    last: Step | None = None

    def __post_init__(self) -> None:
        start = self.episode.reset()
        self.follower = Follower(start.instruction, start.observation, self.plan)
        [told] = prompts().opening(
            start.instruction, start.observation, self.text, "query", thoughts=False
        )
        self.tokens = [_id(USER), *ids(told["content"])]

    def act(self, said: Sequence[int] | None, learned: bool = True) -> bool:
        """Do what was said, by default what the follower says; whether the episode goes on."""
        wanted = self.follower.act() or IDLE
        said = spoken(wanted) if said is None else tuple(said)
        at, kind = len(self.tokens) + 1, self._kind(wanted)
        right = said == spoken(wanted)
        (self.right if right and learned else self.wrong).append((at, kind))
        if not right:
            self.wanted.append((at, wanted, kind))
        action = tokenizer().decode(said).removeprefix(ACTION).strip()
        self.actions.append(action)
        self.last = self.episode.step(action)
        self.tokens += [_id(BOT), *said, _id(END)]
        self.follower.see(action, self.last.observation)
        self.tokens += [
            _id(USER),
            *ids(prompts().observation(self.last.observation, None, "query")),
        ]
        return not self.last.done

    def _kind(self, action: str) -> str:
        """The kind of decision that an action is, for the record."""
        verb, goal = action.split(maxsplit=1)[0], self.follower.goal
        if verb == "focus" and goal.spans:
            return "focus, of the plan's" if self.plan and any(self.plan.names) else "focus, first"
        if verb == "teleport" and goal.sought and not action.endswith(goal.room):
            return "search, by plan" if self.plan and self.plan.rooms else "search"
        return verb

    def row(self) -> Row:
        return labelled(self.tokens, self.right, self.wrong)

    def corrections(self, rng: random.Random) -> list[Row]:
        """Up to a mistake as it was, and then what was right."""
        return [
            corrected(self.tokens[:at], spoken(wanted), kind)
            for at, wanted, kind in rng.sample(self.wanted, min(2, len(self.wanted)))
        ]


def table(rng: random.Random) -> Table:
    """A new game under a plan of any quality, in any wording."""
    game = Game.drawn(rng)
    plan = drawn(game.goal, game.animals, rng)
    text = None if plan is None else write(game.goal, plan, rng if rng.random() < 0.7 else None)
    return Table(Episode(game), plan, text)


def followed(rng: random.Random) -> Row:
    """An episode of the follower's; in half of them, some random actions, which are not learned."""
    new, noise = table(rng), NOISE if rng.random() < 0.5 else 0.0
    for _ in range(STEPS):
        noisy = rng.random() < noise
        if not new.act(spoken(_some_action(rng)) if noisy else None, not noisy):
            break
        if new.follower.act() is None:
            break
    return new.row()


def _some_action(rng: random.Random) -> str:
    thing = rng.choice((*ANIMALS, *PLANTS))
    return rng.choice((f"teleport to {rng.choice(ROOMS)}", IDLE, f"pick up {thing}"))


def play(model: Llama, tables: Sequence[Table], temperature: float = 0.0) -> None:
    """Let the agent play at each table, side by side."""
    live, fed = list(tables), [0] * len(tables)
    sampler = Sampler(model, len(tables))
    for _ in range(STEPS):
        sampler.feed([[*t.tokens[n:], _id(BOT)] for t, n in zip(live, fed, strict=True)])
        before = [len(t.tokens) + 1 for t in live]
        said = sampler.say(_id(END), LONGEST, temperature)
        on = [row for row, t in enumerate(live) if t.act(said[row])]
        if not on:
            return
        fed = [before[row] + len(said[row]) for row in on]
        sampler.rewind([n + len(s) for n, s in zip(before, said, strict=True)])
        sampler.keep(on)
        live = [live[row] for row in on]


class Batches(Iterator[list[Row]]):
    """Rows to learn from; every game is new."""

    def __init__(self, model: Llama, budget: Budget, rank: int, standing: Standing) -> None:
        self._model, self._budget, self._standing = model, budget, standing
        self._random = random.Random(f"{budget.seed} {rank}")
        self._own: list[Row] = []
        self._ready: list[list[Row]] = []

    def __next__(self) -> list[Row]:
        if not self._ready:
            if self._standing.done > DAGGER and not self._own:
                self._own = self._played()
            rows = [followed(self._random) for _ in range(64 if self._own else 128)]
            rows += [self._own.pop() for _ in range(min(64, len(self._own)))]
            self._ready = batched(rows, self._budget.batch, self._random)
        return self._ready.pop()

    def _played(self) -> list[Row]:
        rng, tables = self._random, [table(self._random) for _ in range(POOL)]
        self._model.eval()
        play(self._model, tables, rng.choice((0.0, 0.5)))
        self._model.train()
        self._standing.own_games += POOL
        rows = [row for t in tables for row in (t.row(), *t.corrections(rng))]
        rng.shuffle(rows)
        return rows
