"""What the agent must be able to do, on held-out variations in the real engine.

It succeeds under the best general plans, and seldom under poor plans or without: then it is plans
that decide. Greedy, a plan in the suite's words, `STEPS` actions.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mpo_core.envs.base import Reset, Step
from mpo_core.envs.scienceworld.host import FIRST_LOOK, ROUNDING
from mpo_core.envs.scienceworld.jvm import Jvm
from mpo_core.envs.scienceworld.rules import science_steps
from mpo_core.envs.scienceworld.simulator import Simulator
from mpo_core.envs.scienceworld.tasks import BY_NAME, fold
from mpo_core.evaluation import bootstrap_ci
from mpo_core.sandbox.gate import LEAST, MOST, wilson
from mpo_core.sandbox.llama import Llama
from mpo_core.sandbox.scienceworld.agent import Table, play
from mpo_core.sandbox.scienceworld.games import TYPES, Goal
from mpo_core.sandbox.scienceworld.plans import PLANNERS, numbered, write
from mpo_core.types import Split

EXPERT = "expert's"
"""Plans that the suite's rules make of the engine's own solution of the very variation."""
TOGETHER = 32
HEAP_GB, CALL_TIMEOUT_S = 1.5, 120.0
SIMPLIFICATION = "easy"


class World:
    """A variation in the real engine, to be played once."""

    def __init__(
        self, simulator: Simulator, type_: str, variation: int, solved: bool = False
    ) -> None:
        self._simulator = simulator
        self._world = simulator.load(type_, variation, SIMPLIFICATION, gold_path=solved)
        self.solution = simulator.gold_path() if solved else []
        self._view = simulator.step(self._world, FIRST_LOOK).observation
        self.best = 0.0

    def reset(self) -> Reset:
        return Reset(self._world.description, self._view)

    def step(self, action: str) -> Step:
        reply = self._simulator.step(self._world, action)
        solved, failed = reply.score >= 1 - ROUNDING, reply.score < -ROUNDING
        self.best = max(self.best, 1.0 if solved else reply.score)
        return Step(reply.observation, self.best, failed or reply.completed, self.best == 1.0)

    def close(self) -> None:
        self._simulator.discard(self._world)


@dataclass
class Verdict:
    """How each episode ended: (type, plans) -> reward, 1.0 for success; in one order by plans."""

    rewards: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    right: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    """Decisions as the scripted agent would make them, and all of them, by kind."""

    def add(self, type_: str, plans: str, table: Table, reward: float) -> None:
        self.rewards.setdefault((type_, plans), []).append(reward)
        if plans != EXPERT:
            self.right.update(kind for _, kind in table.right)
            self.decisions.update(kind for _, kind in (*table.right, *table.wrong))

    def of(self, plans: str, type_: str | None = None) -> np.ndarray:
        """The rewards under a kind of plans, (episodes,)."""
        types = [type_] if type_ else TYPES
        return np.array([r for t in types for r in self.rewards.get((t, plans), [])])

    def success(self, plans: str, type_: str | None = None) -> float:
        return float((self.of(plans, type_) == 1).mean())

    def keeps(self, type_: str | None = None) -> bool:
        """Whether the gate is kept, on all types together or on one alone."""
        others = max(self.success("poor", type_), self.success("none", type_))
        return self.success("best", type_) >= LEAST and others <= MOST

    @property
    def passed(self) -> bool:
        return self.keeps()

    def lines(self) -> list[str]:
        """The verdict in words: success and mean reward, with 95 % intervals."""
        told = []
        types = [t for t in TYPES if (t, "best") in self.rewards]
        for type_ in (*types, None):
            for plans in (*PLANNERS, EXPERT):
                rewards = self.of(plans, type_)
                wins, count = int((rewards == 1).sum()), len(rewards)
                low, high = wilson(wins, count)
                least, most = bootstrap_ci(rewards)
                told.append(
                    f"{type_ or 'all'}, {plans}: success {wins / count:.3f} [{low:.3f}, {high:.3f}]"
                    f", reward {rewards.mean():.3f} [{least:.3f}, {most:.3f}], {count} variations"
                )
        for other in ("poor", "none"):
            differences = (self.of("best") == 1).astype(float) - (self.of(other) == 1)
            low, high = bootstrap_ci(differences)
            told.append(f"best minus {other}: {differences.mean():.3f} [{low:.3f}, {high:.3f}]")
        shares = {kind: self.right[kind] / n for kind, n in sorted(self.decisions.items())}
        told.append("decisions: " + ", ".join(f"{k} {share:.3f}" for k, share in shares.items()))
        kept = "kept" if self.passed else "NOT KEPT"
        told.append(f"gate (best at least {LEAST}, poor and none at most {MOST}): {kept}")
        told.append(f"kept on these types alone: {', '.join(filter(self.keeps, types)) or 'none'}")
        return told


def variations(type_: str, split: Split, most: int) -> list[int]:
    """Up to `most` variations of a split's fold, evenly spread over it."""
    every = fold(BY_NAME[type_].variations, split)
    count = min(most, len(every))
    return [every[n * len(every) // count] for n in range(count)]


def gate(
    model: Llama, split: Split = "unseen", most: int = 40, types: Sequence[str] = TYPES
) -> Verdict:
    """Let the agent play held-out variations, under each kind of plans.

    Raises:
        InputError: Java cannot start.
        EnvironmentLost: it was killed.
    """
    simulator, verdict = Simulator(Jvm(HEAP_GB, CALL_TIMEOUT_S)), Verdict()
    try:
        for type_ in types:
            chosen = variations(type_, split, most)
            for first in range(0, len(chosen), TOGETHER):
                _play(model, simulator, type_, chosen[first : first + TOGETHER], verdict)
    finally:
        simulator.stop()
    return verdict


def _play(model: Llama, simulator: Simulator, type_: str, chosen: list[int], to: Verdict) -> None:
    for plans in (*PLANNERS, EXPERT):
        worlds = [World(simulator, type_, variation, plans == EXPERT) for variation in chosen]
        tables = [_table(world, plans) for world in worlds]
        play(model, tables)
        for world, table in zip(worlds, tables, strict=True):
            to.add(type_, plans, table, world.best)
            world.close()


def _table(world: World, plans: str) -> Table:
    start = world.reset()
    if plans == EXPERT:
        steps = science_steps(start.instruction, world.solution, start.observation)
        return Table(world, None, numbered(steps))
    goal = Goal.read(start.instruction)
    plan = PLANNERS[plans](goal, random.Random(start.instruction + start.observation))
    return Table(world, plan, None if plan is None else write(goal, plan))
