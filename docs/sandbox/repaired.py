"""What is still wrong with each planner's plans: one fault repaired at a time.

    python docs/sandbox/repaired.py runs/sandbox-seed0 runs/sandbox-seed1 ...

The sandbox's agent plays a sampled plan for each unseen game as it stands, and with one of its
faults mended; the real engine plays along and must answer alike. What is gained is what that fault
costs. A column a fault, a row a planner, over the seeds of the runs.
"""

import argparse
import asyncio
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from jobs.run import Run
from jobs.tasks import load_tasks
from mpo_core.builtin_models import resolve_source
from mpo_core.config import load_config
from mpo_core.envs.alfworld.games import game_file
from mpo_core.evaluation import bootstrap_ci
from mpo_core.ledger import read_records
from mpo_core.progress import Bar
from mpo_core.sandbox.agent import Played, play, under
from mpo_core.sandbox.folder import load
from mpo_core.sandbox.games import Game
from mpo_core.sandbox.gate import in_engine
from mpo_core.sandbox.measure import POWER, STEPS
from mpo_core.sandbox.plans import PlanSpec
from mpo_core.sandbox.reading import read
from mpo_core.sandbox.repairs import REPAIRS
from mpo_core.types import Plan

PLANNERS = ("sft", "rft", "mpo", "pg")
HEADINGS = {
    "wrong_order": "order of places",
    "unprepared": "step that prepares",
    "unopened": "opening said",
    "two_searches": "one sweep for two",
}


def of_run(
    folder: Path, planners: Sequence[str], n_games: int | None
) -> dict[tuple[str, str], list[bool]]:
    """(planner, repair) -> the games won, "" being no repair."""
    run = Run(load_config(folder / "config.yaml", [f"runs_dir={folder.parent}"]))
    agent = load(Path(resolve_source(run.config.models_with_source[run.config.agent.model].source)))
    root, tasks = run.suites["alfworld"].root(), load_tasks(run, "unseen")[:n_games]
    games = [Game.load(game_file(root, task).parent) for task in tasks]

    def play_under(specs: Sequence[PlanSpec]) -> list[Played]:
        """Each game under its plan."""
        return play(agent, under(lambda _, number: specs[number], games), STEPS)

    played: dict[tuple[str, str], list[Played]] = {}
    shown = Bar(folder.name, len(planners), 0, "planners")
    for version in planners:
        plans = read_records(run.dir / "plans" / "sampled" / f"{version}-unseen.jsonl", Plan)
        text = {plan.task_id: plan.text for plan in reversed(plans) if plan.sample == 0}
        specs = [read(text[task.id]) for task in tasks]
        played[version, ""] = play_under(specs)
        for fault, repair in REPAIRS.items():
            mended = [repair(spec, game, POWER) for spec, game in zip(specs, games, strict=True)]
            played[version, fault] = play_under(mended)
        shown.update()
    shown.close()
    # All at once: the engine starts once, and each game is loaded once.
    episodes = [episode for of_plans in played.values() for episode in of_plans]
    won = iter(asyncio.run(in_engine(root, tasks * len(played), episodes)))
    return {of_plans: list(islice(won, len(tasks))) for of_plans in played}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--planners", nargs="+", default=PLANNERS, choices=PLANNERS)
    parser.add_argument("--games", type=int, help="the first so many; all by default")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    of_seeds = [of_run(folder, asked.planners, asked.games) for folder in asked.runs]
    print("| planner | as it is |", " | ".join(HEADINGS[fault] for fault in REPAIRS), "|")
    print("|---" * (len(REPAIRS) + 2) + "|")
    for version in asked.planners:
        grids = {
            fault: np.array([results[version, fault] for results in of_seeds], float)
            for fault in ("", *REPAIRS)
        }
        cells = [f"{grids[''].mean():.3f}"]
        for fault in REPAIRS:
            gain = grids[fault] - grids[""]
            low, high = bootstrap_ci(gain)
            cells.append(f"{gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
        print(f"| {version} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
