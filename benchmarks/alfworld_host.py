"""ALFWorld: this suite's host against the stock `AlfredTWEnv`, on the same actions.

    python benchmarks/alfworld_host.py [--games N] [--sessions N] [--out FILE]

Both sides play the same generated games of all six types: half the expert's actions, then random
admissible ones. The stock side plays them one after another in one environment; the host side
plays all of them at once, interleaved, through the same asyncio interface that episodes use. Both
first play unmeasured.

Steps per second are per core: steps over the processor seconds that the process with the games and
this process spent on them, which other work on the machine does not change. A reset is the load
and the start of a game that was played on this machine before, but of which this process keeps
nothing: its sessions go through more games than it keeps. Memory is the proportional set size
(PSS) of the process with the games, after play.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from measure import Script, Spent, figures, pss_gb, write_report

# The suite is imported where it is used: the process of the stock side is to hold none of it.
if TYPE_CHECKING:
    from mpo_core.envs.base import Environment
    from mpo_core.types import Task

ACTIONS = 20
STOCK_GAMES = 6
GOAL = {"steps_per_s": 4, "reset": 10}
ROWS = (
    ("steps/s per core", "steps_per_s", "steps_per_s"),
    ("steps/s by the clock", "steps_per_wall_s", None),
    ("s to load and reset a known game", "reset_s", "reset"),
    ("sessions per GB", "sessions_per_gb", "sessions_per_gb"),
)


def main() -> None:
    from mpo_core.envs.alfworld.engine import IDLE_GAMES
    from mpo_core.envs.alfworld.games import game_file, index_games
    from mpo_core.envs.alfworld.generation import generate

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=18, help="games of the host side")
    parser.add_argument("--passes", type=int, default=2, help="measured rounds of the stock side")
    parser.add_argument("--sessions", type=int, default=108, help="sessions of the host side")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/alfworld_host.json"))
    options = parser.parse_args()
    if options.games <= IDLE_GAMES:
        parser.error(f"--games: more than {IDLE_GAMES}, or no game is ever loaded anew")

    with tempfile.TemporaryDirectory() as folder:
        root, translations = Path(folder) / "data", Path(folder) / "translations"
        generate(root, {"train": options.games}, seed=1)
        scripts = [write_script(root, task) for task in index_games(root).tasks["train"]]
        # As many of each type as can be: types come in turn.
        chosen = {
            str(game_file(root, script.task)): script.actions
            for script in scripts[:: max(1, len(scripts) // STOCK_GAMES)][:STOCK_GAMES]
        }
        # In a process of its own, as it would be used, and whose memory is all its.
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            baseline = alone.submit(measure_stock, root, chosen, options.passes).result()
        ours = asyncio.run(measure_host(root, translations, scripts, options.sessions))
    faster = {
        "steps_per_s": ours["steps_per_s"] / baseline["steps_per_s"],
        "reset": baseline["reset_s"] / ours["reset_s"],
        "sessions_per_gb": ours["sessions_per_gb"] / baseline["sessions_per_gb"],
    }
    report = {
        "ratios": {key: round(ratio, 1) for key, ratio in faster.items()},
        "goals": GOAL,
        "ours": ours,
        "baseline": baseline,
        "memory": "PSS of the process with the games after play",
        "steps": "steps per processor second of that process and its client",
        "reset": "processor seconds to load and start a game known on this machine, not loaded",
    }
    write_report(options.out, report, ROWS)


def write_script(root: Path, task: Task) -> Script:
    """The first half of the expert's actions, then random ones that are admissible."""
    from mpo_core.envs.alfworld.engine import Session
    from mpo_core.envs.alfworld.expert import expert_actions
    from mpo_core.envs.alfworld.games import game_file

    chance, session, game = random.Random(task.id), Session(), game_file(root, task)
    actions = expert_actions(game, session)
    actions = actions[: len(actions) // 2]
    state = session.load(game)
    for action in actions:
        state = session.step(action)
    while len(actions) < ACTIONS:
        actions.append(chance.choice(state.admissible_commands))
        state = session.step(actions[-1])
    session.close()
    return Script(task, actions)


def measure_stock(root: Path, scripts: dict[str, list[str]], passes: int) -> dict[str, float]:
    """The stock environment: one session, in this process; the actions are by game file."""
    with contextlib.redirect_stdout(sys.stderr):
        from alfworld.agents.environment.alfred_tw_env import TASK_TYPES, AlfredTWEnv

        stock = AlfredTWEnv(
            {
                "env": {
                    "goal_desc_human_anns_prob": 0,
                    "task_types": list(TASK_TYPES),
                    "domain_randomization": False,
                    "expert_type": "handcoded",
                },
                "dataset": {"data_path": str(root / "train"), "num_train_games": -1},
                "general": {"training_method": "dqn"},
                "rl": {"training": {"max_nb_steps_per_episode": 10**6}},
            }
        )
    stock.game_files = list(scripts)
    env = stock.init_env(batch_size=1)
    resets = steps = Spent()

    def play() -> None:
        nonlocal resets, steps
        before = Spent.now()
        _, infos = env.reset()
        started = Spent.now()
        for action in scripts[infos["extra.gamefile"][0]]:
            env.step([action])
        resets += started - before
        steps += Spent.now() - started

    play()
    resets = steps = Spent()
    for _ in range(passes * len(scripts)):
        play()
    gb = pss_gb(psutil.Process())
    env.close()
    taken = passes * sum(map(len, scripts.values()))
    return figures(taken, steps, 1, gb) | {
        "reset_s": round(resets.cpu_s / (passes * len(scripts)), 5)
    }


async def measure_host(
    root: Path, translations: Path, scripts: list[Script], sessions: int
) -> dict[str, float]:
    """The host: many sessions in one process, each playing one of the scripts."""
    from mpo_core.envs.alfworld.host import ALFWorldHost, HostSettings

    started = time.perf_counter()
    host = ALFWorldHost(HostSettings(root, translations, 1, sessions, 10**9, 60))
    envs = [await host.environment() for _ in range(sessions)]
    ready_s = time.perf_counter() - started
    [pid] = host.pids()
    process = psutil.Process(pid)
    plays = [(env, scripts[i % len(scripts)]) for i, env in enumerate(envs)]

    # One session alone goes through all games, so each has to be loaded.
    for script in scripts:
        await envs[0].reset(script.task)
    before = Spent.now(process)
    for script in scripts:
        await envs[0].reset(script.task)
    resets = Spent.now(process) - before

    async def reset_all() -> Spent:
        before = Spent.now(process)
        await asyncio.gather(*(env.reset(script.task) for env, script in plays))
        return Spent.now(process) - before

    async def play(env: Environment, script: Script) -> None:
        for action in script.actions:
            await env.step(action)

    async def play_all() -> Spent:
        before = Spent.now(process)
        await asyncio.gather(*(play(env, script) for env, script in plays))
        return Spent.now(process) - before

    await reset_all()
    await play_all()
    resets_again = await reset_all()
    spent = await play_all()
    gb = pss_gb(process)
    await host.close()
    steps = sum(len(script.actions) for _, script in plays)
    return figures(steps, spent, sessions, gb) | {
        "reset_s": round(resets.cpu_s / len(scripts), 5),
        "reset_again_s": round(resets_again.cpu_s / sessions, 5),
        "games": len(scripts),
        "ready_s": round(ready_s, 2),
    }


if __name__ == "__main__":
    main()
