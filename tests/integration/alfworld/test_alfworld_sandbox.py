"""The sandbox's simulator against the real engine, as the suite's ALFWorld host shows it.

Every game is played by its walkthrough with other actions in between, and at random several times;
each answer must be the same in all its fields, and so must the list of what can be done.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mpo_core.envs.alfworld.games import TASK_TYPES, game_file, index_games
from mpo_core.envs.alfworld.generation import generate
from mpo_core.envs.alfworld.host import ALFWorldEnvironment, ALFWorldHost, HostSettings
from mpo_core.envs.base import Step
from mpo_core.sandbox.games import Game, kind
from mpo_core.sandbox.simulator import Episode
from mpo_core.types import Task

STEPS = 50
SEED = 11
Chooser = Callable[[Episode], str]


def test_the_simulator_answers_as_the_engine_does(tmp_path: Path):
    tasks = made(tmp_path / "games", {"train": 6, "seen": 2, "unseen": 6})
    steps, verbs, wins = asyncio.run(compared(tmp_path / "games", tasks, at_random=2))
    assert steps > 1000
    assert set(verbs) >= {"go", "open", "close", "take", "move", "examine", "look", "inventory"}
    assert wins >= len(tasks)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_simulator_answers_as_the_engine_does_in_hundreds_of_games(tmp_path: Path):
    tasks = made(tmp_path / "games", {"train": 120, "seen": 60, "unseen": 120})
    steps, verbs, wins = asyncio.run(compared(tmp_path / "games", tasks, at_random=3))
    print(f"{steps} steps compared in {len(tasks)} games, {wins} episodes won; {dict(verbs)}")
    assert set(verbs) >= {"heat", "cool", "clean", "slice", "use"}
    assert wins >= len(tasks)


def test_a_game_that_is_drawn_is_the_game_that_is_written(tmp_path: Path):
    made(tmp_path / "games", {"train": 6})
    read = [Game.load(file.parent) for file in (tmp_path / "games").glob("*/*/*/game.tw-pddl")]
    drawn = [Game.drawn(SEED, "train", number) for number in range(6)]
    assert sorted(map(repr, read)) == sorted(map(repr, drawn))


def made(root: Path, counts: dict) -> list[Task]:
    generate(root, counts, seed=SEED, workers=1)
    tasks = [task for split in index_games(root).tasks.values() for task in split]
    assert {task.type for task in tasks} == set(TASK_TYPES)
    return tasks


async def compared(root: Path, tasks: list[Task], at_random: int) -> tuple[int, Counter[str], int]:
    """Play every task; the number of steps, those that did something by verb, and the wins."""
    host = ALFWorldHost(
        HostSettings(root, None, workers=1, sessions_per_worker=4, recycle_after=10**6,
                     call_timeout_s=120)
    )  # fmt: skip
    steps, verbs, wins, rooms = 0, Counter(), 0, set()
    try:
        environment = await host.environment()
        for task in tasks:
            game = Game.load(game_file(root, task).parent)
            rooms.add(game.room)
            for number in range(at_random + 1):
                rng = random.Random(f"{task.id} {number}")
                choose = at_random_from(rng)
                if not number:
                    choose = by_walkthrough(rng, await environment.expert_actions(task))
                played = await side_by_side(environment, task, game, choose)
                steps += len(played)
                verbs.update(verb for verb, _ in played if verb)
                wins += played[-1][1].success
    finally:
        await host.close()
    assert rooms == {"Kitchen", "LivingRoom", "Bedroom", "Bathroom"}
    return steps, verbs, wins


async def side_by_side(
    environment: ALFWorldEnvironment, task: Task, game: Game, choose: Chooser
) -> list[tuple[str, Step]]:
    """The verbs (empty where nothing happened) and the answers of an episode, a while past its
    end."""
    episode = Episode(game)
    assert await environment.reset(task) == episode.reset()
    played, said = [], []
    for _ in range(STEPS):
        assert await environment.valid_actions() == episode.commands(), (task.id, said)
        able = set(episode.commands())
        said.append(choose(episode))
        if not said[-1]:
            break
        theirs, ours = await environment.step(said[-1]), episode.step(said[-1])
        assert theirs == ours, (task.id, said)
        played.append((kind(said[-1]) if said[-1] in able else "", ours))
    return played


def at_random_from(rng: random.Random) -> Chooser:
    """A verb at a time, those preferred that change something; one in eight is worded freely."""

    def choose(episode: Episode) -> str:
        offered = episode.commands()
        verbs = sorted({kind(command) for command in offered})
        weights = [1 if verb in ("help", "inventory", "look", "close") else 4 for verb in verbs]
        [verb] = rng.choices(verbs, weights)
        command = rng.choice([command for command in offered if kind(command) == verb])
        return freely(rng, episode, command) if rng.random() < 0.125 else command

    return choose


def by_walkthrough(rng: random.Random, commands: list[str]) -> Chooser:
    """What wins, with actions in between that change nothing; an empty action ends it."""
    left = list(commands)

    def choose(episode: Episode) -> str:
        if rng.random() < 0.3:
            idle = [c for c in episode.commands() if kind(c) in ("examine", "look", "inventory")]
            return rng.choice([*idle, "fly to the moon", "open the window 1"])
        return left.pop(0) if left else ""

    return choose


def freely(rng: random.Random, episode: Episode, command: str) -> str:
    thing, place = rng.choice([*episode.game.things]), rng.choice([*episode.game.places])
    return rng.choice(
        [
            f" {command.upper()}.",
            command.replace("move", "put").replace(" to ", " in/on the "),
            f"go to {place}",
            f"open {place}",
            f"take {thing} from {place}",
            f"put the {thing} on {place}",
            f"heat {thing} with {place}",
            f"slice {thing} with knife 1",
            f"examine {thing}",
            f"use {thing}",
            f"open {place} and take {thing}",
            "Look around",
            "take mug ２ from desk 1",
        ]
    )
