"""What a learned agent must be able to do before anything is measured with it.

It wins held-out games of unseen rooms under the best general plans, and seldom under poor plans or
without: then it is plans that decide. Greedy, a plan in the teacher's words, at most 14 actions.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from mpo_core import aio
from mpo_core.envs.alfworld.host import ALFWorldEnvironment, ALFWorldHost, HostSettings
from mpo_core.errors import InputError
from mpo_core.evaluation import bootstrap_ci
from mpo_core.sandbox.agent import Played, accuracy, play, under
from mpo_core.sandbox.folder import load
from mpo_core.sandbox.games import Game, games
from mpo_core.sandbox.held_out import held_out_games
from mpo_core.sandbox.llama import Llama
from mpo_core.sandbox.measure import PLANNERS, POWER, STEPS
from mpo_core.sandbox.vocabulary import words
from mpo_core.types import Task

PLANS = ("best general", "poor", "none")
LEAST, MOST = 0.8, 0.5
"""Of the share of games won: at least under the best plans, at most under poor ones and none."""
SEED = 77
"""Of the held-out games; trainings draw theirs with seeds from 1000 on, and in other rooms."""
WORKERS = 2
CALL_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Verdict:
    won: Mapping[str, list[bool]]
    """Each game, by kind of plan."""
    accuracy: Mapping[str, tuple[int, int]]
    """Decisions as the scripted agent would make them, and all of them, by kind."""
    engine: bool
    """Whether the real engine played, or only the simulator."""

    def share(self, plans: str) -> float:
        return sum(self.won[plans]) / len(self.won[plans])

    @property
    def passed(self) -> bool:
        return self.share("best general") >= LEAST and max(map(self.share, PLANS[1:])) <= MOST

    @property
    def difference(self) -> tuple[float, float, float]:
        """Best plans minus the better of the others, paired over games: mean, 95 % interval."""
        other = max(PLANS[1:], key=self.share)
        best, rest = (np.array(self.won[name], float) for name in ("best general", other))
        return (float((best - rest).mean()), *bootstrap_ci(best - rest))

    def lines(self) -> list[str]:
        """The verdict in words, a line each."""
        count = len(self.won[PLANS[0]])
        where = "the real engine" if self.engine else "the simulator"
        told = [f"{count} held-out games of unseen rooms, {STEPS} actions, greedy, in {where}"]
        for name in self.won:
            low, high = wilson(sum(self.won[name]), count)
            plans = "no plans" if name == "none" else f"{name} plans"
            told.append(f"{plans}: {self.share(name):.3f} [{low:.3f}, {high:.3f}]")
        mean, low, high = self.difference
        told.append(f"best minus the better of poor and none: {mean:.3f} [{low:.3f}, {high:.3f}]")
        kept = "kept" if self.passed else "NOT KEPT"
        told.append(f"gate (best at least {LEAST}, poor and none at most {MOST}): {kept}")
        return told


def gate(agent: Path | Llama, held_out: Path | Sequence[Game] | int = 200) -> Verdict:
    """Check an agent.

    Args:
        agent: the agent, or its folder.
        held_out: games to play in the simulator, or how many to draw; or a folder of games that
            `mpo tasks alfworld generate` made, whose unseen games the real engine plays.

    Raises:
        InputError: a folder that holds no agent, or no unseen games.
        EnvironmentLost: an engine's process was killed.
    """
    model = load(agent) if isinstance(agent, Path) else agent
    if model.shape.vocabulary != len(words()):
        where = agent if isinstance(agent, Path) else "agent"
        raise InputError(
            f"{where}: not an agent of the sandbox: it knows {model.shape.vocabulary} words, and "
            f"those know {len(words())}; make one with `mpo sandbox build`"
        )
    root: Path | None = None
    tasks: list[Task] = []
    if isinstance(held_out, Path):
        root, tasks, found = held_out_games(held_out)
    elif isinstance(held_out, int):
        found = list(games(SEED, "unseen", held_out, POWER))
    else:
        found = list(held_out)
    won, every = {}, []
    for name in PLANS:
        played = play(model, under(PLANNERS[name], found), STEPS)
        won[name] = [episode.won for episode in played]
        if root is not None:
            won[name] = aio.run(in_engine(root, tasks, played))
        every += played
    return Verdict(won, accuracy(every), root is not None)


async def in_engine(root: Path, tasks: Sequence[Task], played: Sequence[Played]) -> list[bool]:
    """Which games the same episodes win in the real engine; a game may be in several.

    As long as the engine answers as the simulator did, the agent would do the same in it.

    Raises:
        RuntimeError: it answered otherwise.
    """
    host = ALFWorldHost(HostSettings(root, None, WORKERS, 4, 1000, CALL_TIMEOUT_S))
    # Game by game: a process of the engine keeps a few of them.
    left = sorted(
        enumerate(zip(tasks, played, strict=True)), key=lambda one: one[1][0].id, reverse=True
    )
    won = [False] * len(left)

    async def replay(environment: ALFWorldEnvironment) -> None:
        while left:
            number, (task, episode) = left.pop()
            await environment.reset(task)
            success = False
            for action, observation in zip(episode.actions, episode.observations, strict=True):
                step = await environment.step(action)
                if step.observation != observation:
                    raise RuntimeError(
                        f"{task.id}: {action!r} answered {step.observation!r}, in the simulator "
                        f"{observation!r}"
                    )
                success = step.success
            won[number] = success

    try:
        environments = [await host.environment() for _ in range(WORKERS)]
        await asyncio.gather(*map(replay, environments))
    finally:
        await host.close()
    return won


def wilson(wins: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share = wins / count
    middle = share + z * z / (2 * count)
    reach = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (middle - reach) / scale, (middle + reach) / scale
