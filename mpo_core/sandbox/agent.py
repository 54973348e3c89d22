"""The learned agent at play in the simulator: for its training, and to see what it is worth.

Many games are played side by side; whatever the agent says is an action, sensible or not.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mpo_core.sandbox.follower import Follower
from mpo_core.sandbox.games import Game
from mpo_core.sandbox.llama import Llama, Sampler
from mpo_core.sandbox.measure import PLANNERS, Planner
from mpo_core.sandbox.rows import (
    IDLE,
    STEPS,
    Dialogue,
    Row,
    Setting,
    corrected,
    decision,
    labelled,
    spoken,
)
from mpo_core.sandbox.simulator import Episode
from mpo_core.sandbox.vocabulary import ACTION, END, tokenizer, words
from mpo_core.sandbox.wording import write
from mpo_core.types import PlanMode

LONGEST = 9
"""Tokens of an action: `Action: take mug 1 from desk 1`, and the end."""
TOGETHER = 128
"""Games at a time."""
PATIENCE = 3
"""Mistakes in a row after which an episode teaches no more."""


@dataclass(frozen=True)
class Decision:
    before: int
    """Tokens of the dialogue before the reply."""
    at: int
    """Where the action's tokens begin."""
    right: bool
    wanted: str
    kind: str


@dataclass
class Played:
    """An episode of the agent's."""

    given: Setting
    dialogue: Dialogue
    won: bool = False
    actions: list[str] = field(default_factory=list)
    observations: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)


class _Table:
    """One game being played, with the follower looking on."""

    def __init__(self, given: Setting) -> None:
        self.episode = Episode(given.game)
        start = self.episode.reset()
        self.follower = Follower(start.instruction, start.observation, given.plan)
        self.played = Played(given, Dialogue(given, start))
        self.astray = self.idle = 0

    def act(self, tokens: Sequence[int]) -> bool:
        """Do what the agent said; whether the episode goes on."""
        played, dialogue = self.played, self.played.dialogue
        said = tokenizer().decode(tokens)
        action = said.removeprefix(ACTION).strip()
        wanted = self.follower.act()
        self.idle = self.idle + 1 if wanted is None else 0
        wanted = wanted or IDLE
        kind = decision(self.follower, played.given, wanted)
        right = tuple(tokens) == spoken(wanted)
        before = len(dialogue.tokens)
        at = dialogue.said(tokens)
        played.decisions.append(Decision(before, at, right, wanted, kind))
        played.actions.append(action)
        self.astray = 0 if right else self.astray + 1
        step = self.episode.step(action)
        played.won = step.done
        self.follower.see(action, step.observation)
        played.observations.append(step.observation)
        dialogue.heard(step.observation)
        return not step.done


def play(
    model: Llama,
    settings: Sequence[Setting],
    steps: int = STEPS,
    *,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    patience: int | None = None,
) -> list[Played]:
    """Play each game once.

    Args:
        patience: end an episode after as many mistakes in a row, or where the plan is at its end;
            None: play on.
    """
    end = words().index(END)

    def say(sampler: Sampler) -> list[list[int]]:
        return sampler.say(end, LONGEST, temperature, generator)

    played: list[Played] = []
    for first in range(0, len(settings), TOGETHER):
        part = settings[first : first + TOGETHER]
        played += _played(model, part, steps, say, patience)
    return played


def _played(
    model: Llama,
    settings: Sequence[Setting],
    steps: int,
    say: Callable[[Sampler], list[list[int]]],
    patience: int | None,
) -> list[Played]:
    tables = [_Table(given) for given in settings]
    live, fed = list(range(len(tables))), [0] * len(tables)
    sampler = Sampler(model, len(tables))
    for _ in range(steps):
        dialogues = [tables[n].played.dialogue for n in live]
        before = [len(dialogue.tokens) for dialogue in dialogues]
        sampler.feed(
            [[*d.tokens[fed[n] :], *d.prefix] for n, d in zip(live, dialogues, strict=True)]
        )
        said = say(sampler)
        going, known = [], []
        for row, n in enumerate(live):
            # A plan that the reply began with is not told again: the turn is fed anew.
            told_twice = len(dialogues[row].prefix) > 1
            known.append(before[row] if told_twice else before[row] + 1 + len(said[row]))
            fed[n] = known[row]
            goes_on = tables[n].act(said[row])
            lost = patience is not None and (tables[n].astray >= patience or tables[n].idle >= 2)
            full = len(tables[n].played.dialogue.tokens) + 150 > model.shape.context
            if goes_on and not lost and not full:
                going.append(row)
        if not going:
            break
        sampler.rewind(known)
        if len(going) < len(live):
            sampler.keep(going)
            live = [live[row] for row in going]
    return [table.played for table in tables]


def lessons(played: Iterable[Played], rng: random.Random, branches: int = 2) -> list[Row]:
    """Rows of the agent's own episodes (DAgger): its right actions, and what it should have done.

    Source: Ross, Gordon and Bagnell, A Reduction of Imitation Learning and Structured Prediction
    to No-Regret Online Learning, AISTATS 2011.
    """
    rows = []
    for episode in played:
        right = [(d.at, d.kind) for d in episode.decisions if d.right]
        wrong = [d for d in episode.decisions if not d.right]
        tokens = episode.dialogue.tokens
        rows.append(labelled(tokens, right, [(d.at, d.kind) for d in wrong]))
        for d in rng.sample(wrong, min(branches, len(wrong))):
            before = [*tokens[: d.before], *episode.dialogue.prefix]
            rows.append(corrected(before, spoken(d.wanted), d.kind))
    return rows


def under(
    planner: Planner, games: Sequence[Game], seed: int | None = None, mode: PlanMode = "query"
) -> list[Setting]:
    """Games under a planner's plans, in the teacher's words or, with a seed, in others."""
    settings = []
    for number, game in enumerate(games):
        plan = planner(game, number)
        rng = None if seed is None else random.Random(f"{seed} {number}")
        text = None if plan is None else write(plan, rng)
        settings.append(Setting(game, plan, text, mode))
    return settings


def wins(
    model: Llama, games: Sequence[Game], planners: Mapping[str, Planner] = PLANNERS, **how: Any
) -> dict[str, list[bool]]:
    """Which games the agent wins, under each kind of plan; `how` is `play`'s."""
    return {
        name: [episode.won for episode in play(model, under(planner, games), **how)]
        for name, planner in planners.items()
    }


def accuracy(played: Iterable[Played]) -> dict[str, tuple[int, int]]:
    """Decisions that were the follower's, and all of them, by their kind."""
    right: Counter[str] = Counter()
    every: Counter[str] = Counter()
    for episode in played:
        for made in episode.decisions:
            right[made.kind] += made.right
            every[made.kind] += 1
    return {kind: (right[kind], count) for kind, count in sorted(every.items())}
