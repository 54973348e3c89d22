"""A ledger of 150,000 episodes of an 8B model's length: how it opens, and the commands on it.

    python benchmarks/ledger.py [--episodes N] [--baseline N] [--folder DIR] [--out FILE]

A run of ScienceWorld is made up, 8 plans a task and 5 episodes a plan, 35 KB an episode: 5 GB in
`--folder`, deleted at the end. Then each in a process of its own: the ledger is opened with its
index, without it, and by the baseline, which parses every line into a whole record and holds them
all, on fewer episodes; and `mpo rollout` (the scores, nothing being owed), `mpo pairs`, `mpo
evaluate` (the report, and MLflow) and `mpo report` are run.

Seconds are of the clock and of the processor; other work on the machine changes the first. Memory
is resident: the peak of a process, and for the ratios what opening has added. The ratios are per
episode. The file was just written, and lies in the machine's memory as far as there is room.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from measure import options_of_a_ledger, write_report

if TYPE_CHECKING:
    from jobs.run import Run
    from mpo_core.episode import EpisodeRequest
    from mpo_core.types import Episode

PLANS, REPETITIONS, HELD_OUT = 8, 5, 40
AT_ONCE = 500
TURNS, REPLY, OBSERVATION = 15, 450, 650
"""Of an episode: 35 KB of JSON, in which every text stands twice."""
COMMANDS = ("rollout", "pairs", "evaluate", "report")
GOAL = {"open_s": 10, "open_mb": 500, "report_and_pairs_s": 40, "peak_mb": 1024}
"""Of 150,000 episodes, at most."""
ROWS = (
    ("ms to open, an episode", "ms_per_episode", "time"),
    ("processor ms to open, an episode", "cpu_ms_per_episode", "cpu"),
    ("KB held, an episode", "kb_per_episode", "memory"),
)


def main() -> None:
    options = options_of_a_ledger(__doc__, "ledger", episodes=150_000, baseline=10_000)
    try:
        report = measure(options.folder.absolute(), options.episodes, options.baseline)
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)
    write_report(options.out, report, ROWS, ("baseline", "ours"))
    for name, amount in report["totals"].items():
        limit = report["limits"].get(name)
        print(f"{name:<36}{amount:>10.4g}{f'at most {limit}' if limit else '':>26}")


def measure(folder: Path, episodes: int, baseline: int) -> dict[str, Any]:
    """The report on a run that is made up in a folder."""
    # In a process of its own: a process's peak is never less than its parent's memory.
    run, path = map(
        Path, json.loads(command("ledger", str(folder), "make", str(episodes))["output"])
    )
    few = path.with_name("few.jsonl")
    with path.open("rb") as whole, few.open("wb") as part:
        part.writelines(islice(whole, baseline))
    sides = {
        "ours": opened(path, "index"),
        "without_index": opened(path, "parse"),
        "baseline": opened(few, "whole"),
    }
    commands = {name: command("jobs.cli", name, str(run)) for name in COMMANDS}
    ours, naive = sides["ours"], sides["baseline"]
    keys = {"time": "ms_per_episode", "cpu": "cpu_ms_per_episode", "memory": "kb_per_episode"}
    return {
        "ratios": {name: round(naive[key] / ours[key], 1) for name, key in keys.items()},
        "goals": {},
        **sides,
        "commands": commands,
        "totals": {
            "open_s": ours["wall_s"],
            "open_cpu_s": ours["cpu_s"],
            "open_mb": ours["peak_mb"],
            "report_and_pairs_s": commands["report"]["wall_s"] + commands["pairs"]["wall_s"],
            "report_and_pairs_cpu_s": commands["report"]["cpu_s"] + commands["pairs"]["cpu_s"],
            "peak_mb": max(side["peak_mb"] for side in commands.values()),
        },
        "limits": GOAL,
        "ledger_gb": round(path.stat().st_size / 2**30, 2),
        "index_mb": round(path.with_suffix(".index").stat().st_size / 2**20, 1),
        "load": os.getloadavg()[1],
    }


def opened(path: Path, how: str) -> dict[str, float]:
    """Figures of opening a ledger in a process of its own."""
    if how == "parse":
        path.with_suffix(".index").unlink()
    found = command("ledger", str(path), how)
    inside = json.loads(found.pop("output"))
    episodes = inside["episodes"]
    return {
        **inside,
        "peak_mb": found["peak_mb"],
        "ms_per_episode": round(1000 * inside["wall_s"] / episodes, 4),
        "cpu_ms_per_episode": round(1000 * inside["cpu_s"] / episodes, 4),
        "kb_per_episode": round(1024 * inside["held_mb"] / episodes, 3),
    }


def command(module: str, *arguments: str) -> dict[str, Any]:
    """Run a module in a process of its own: what it took, and what it printed."""
    here = Path(__file__).parent
    paths = [str(here.parent), str(here), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        env=environment,
        encoding="utf-8",
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{module} {arguments}: exit code {process.returncode}")
    found = {
        "wall_s": round(time.perf_counter() - started, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
    }
    return found | ({"output": output} if module == "ledger" else {})


def open_ledger(path: Path, how: str) -> dict[str, float]:
    """Open a ledger in this process, as the suite does or whole."""
    from jobs.rollout import Episodes
    from mpo_core.ledger import Ledger, read_records
    from mpo_core.types import Episode, EpisodeFigures

    process = psutil.Process()
    before, started, worked = process.memory_info().rss, time.perf_counter(), time.process_time()
    if how == "whole":
        held: Any = read_records(path, Episode)
    else:
        ledger: Episodes = Ledger(path, Episode, key=lambda e: e.key, figures=EpisodeFigures)
        held = ledger.read()
    return {
        "episodes": len(held),
        "wall_s": round(time.perf_counter() - started, 2),
        "cpu_s": round(time.process_time() - worked, 2),
        "held_mb": round((process.memory_info().rss - before) / 2**20, 1),
    }


def make_run(folder: Path, episodes: int) -> tuple[str, str]:
    """Make up a finished run; returns its folder and the ledger of its scoring."""
    from jobs.arms import asked_of
    from jobs.plans import collect_plans
    from jobs.rollout import EVALUATION, SCORING, scoring_requests
    from jobs.run import Run
    from mpo_core.config import parse_config
    from mpo_core.files import write_records

    with Run(parse_config(settings(folder, episodes // (PLANS * REPETITIONS)))) as run:
        tasks = {}
        for split in run.splits:
            told = tasks[split] = [
                task.model_copy(update={"description": f"Your task is {task.id}."})
                for task in run.tasks(split)
            ]
            write_records(run.dir / "tasks" / f"{split}.jsonl", told)
        plans = collect_plans(run, "base", "train", tasks["train"])
        play_made_up(run, SCORING, scoring_requests(run, tasks["train"], plans))
        arms = run.config.evaluation.arms
        asked = [
            one.request for arm in arms for one in asked_of(run, arm, "unseen", tasks["unseen"])
        ]
        play_made_up(run, EVALUATION, asked)
        return str(run.dir), str(run.dir / "episodes" / f"{SCORING}.jsonl")


def settings(folder: Path, tasks: int) -> dict[str, Any]:
    """A config with so many training tasks."""
    from mpo_core.envs.base import suite_class
    from mpo_core.envs.scienceworld.tasks import TASK_TYPES

    suite = suite_class("scienceworld")
    held_out = {(task.type, task.variation) for task in suite(suite.Config()).tasks("unseen")}
    index = [
        [kind.name, number]
        for kind in TASK_TYPES
        for number in range(kind.variations)
        if (kind.name, number) not in held_out
    ][:tasks]
    if len(index) < tasks:
        raise SystemExit(f"--episodes: at most {len(index) * PLANS * REPETITIONS}")
    folder.mkdir(parents=True)
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return {
        "name": "made-up",
        "runs_dir": str(folder),
        "envs": {
            "scienceworld": {
                "split_files": {"train": str(folder / "index.json")},
                "tasks": {"train": tasks, "seen": 0, "unseen": HELD_OUT},
            }
        },
        "models": {name: {"scripted": f"ledger:{name}"} for name in ("planner", "agent")},
        "planner": {"model": "planner", "per_task": PLANS},
        "agent": {"model": "agent"},
        "scoring": {"repetitions": REPETITIONS},
        "evaluation": {"splits": ["unseen"], "arms": ["none", "base"], "bootstrap": 1000},
        "cluster": {"enabled": False},
    }


def planner(messages: list[dict], seed: int) -> str:
    return f"Step 1: Go to place {seed % 97}.\nStep 2: {'Look at all that is there. ' * 6}"


def agent(messages: list[dict], seed: int) -> str:
    raise AssertionError("nothing is left to play")


def play_made_up(run: Run, name: str, requests: list[EpisodeRequest]) -> None:
    from jobs.rollout import episode_ledger

    with episode_ledger(run, name) as ledger:
        for start in range(0, len(requests), AT_ONCE):
            ledger.append(*map(made_up, requests[start : start + AT_ONCE]))


def made_up(request: EpisodeRequest) -> Episode:
    """An episode as long as an 8B model's, with a reward that its key decides."""
    from mpo_core.types import Episode, Turn

    chance, plan = int(request.key, 16), request.plan
    reply = f"Thought: {'I look for what I need. ' * 40}"[:REPLY] + "\nAction: look around"
    observation = ("This room is called the hallway. In it, you see: " * 20)[:OBSERVATION]
    turns = [
        Turn(reply=reply, action="look around", observation=observation, score=0.25)
        for _ in range(TURNS)
    ]
    said = [("assistant", reply), ("user", observation)] * TURNS
    return Episode(
        key=request.key,
        task_id=request.task.id,
        plan_id=plan.id if plan else None,
        plan=plan.text if plan else None,
        plan_mode=request.protocol.plan_mode,
        model=request.model,
        repetition=request.repetition,
        messages=[{"role": role, "content": text} for role, text in said],
        turns=turns,
        reward=chance % 5 / 4,
        success=chance % 5 == 4,
        end="done" if chance % 5 == 4 else "step_limit",
        prompt_tokens=chance % 100_000,
        completion_tokens=chance % 7_000,
        seconds=chance % 1000 / 8,
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case [folder, "make", episodes]:
            print(json.dumps(make_run(Path(folder), int(episodes))))
        case [path, ("index" | "parse" | "whole") as how]:
            print(json.dumps(open_ledger(Path(path), how)))
        case _:
            main()
