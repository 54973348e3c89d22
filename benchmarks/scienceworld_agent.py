"""ScienceWorld as a place to learn from gold paths: what bounds an imitating agent, by task type.

    python benchmarks/scienceworld_agent.py [--variations N] [--types NAME ...] [--out FILE]

Of each type, `--variations` of the train fold and as many of the test fold are loaded with the
engine's own solution (the gold path; there is one from a task's start only). A path's *deeds* are
its actions with walks through doors as one teleport, without looks and examinations. A deed is

- *told* where the task's words name all its things,
- *fixed* where it is a deed in every train variation: one learns it by heart,
- *left* otherwise: it depends on what is seen or known, and a plan could say it.

*By heart* plays, in a test variation, the deeds of the train variation whose task reads most like
its own, with the words replaced that differ; what an agent reaches so needs no plan.
"""

import argparse
import json
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mpo_core.envs.scienceworld.host import ROUNDING
from mpo_core.envs.scienceworld.jvm import Jvm
from mpo_core.envs.scienceworld.simulator import Simulator
from mpo_core.envs.scienceworld.tasks import BY_NAME, TaskType, fold
from mpo_core.sandbox.scienceworld.gate import variations

WORD = re.compile(r"[a-z]+")
LOOKS = re.compile(r"open door to |look around|examine ")
STOCK = re.compile(r"You (?:move|focus on|pour|decide)|The .* is now|.* is now connected")
"""Answers that say again what was done: one word for an agent."""
SMALL = {"a", "an", "the", "in", "on", "to", "of", "into", "and", "substance", "containing"}


@dataclass
class Path_:
    """A variation and the engine's solution of it."""

    variation: int
    task: str
    actions: list[str]
    load_s: float
    replay_s: float = 0.0
    won: bool = False
    observations: list[str] = field(default_factory=list)

    @property
    def deeds(self) -> list[str]:
        kept: list[str] = []
        for action in self.actions:
            if room := re.fullmatch(r"go to (.+)", action):
                if kept and kept[-1].startswith("teleport to "):
                    kept.pop()
                kept.append(f"teleport to {room[1]}")
            elif not LOOKS.match(action):
                kept.append(action)
        return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variations", type=int, default=8)
    parser.add_argument("--types", nargs="*", default=list(BY_NAME))
    parser.add_argument("--out", type=Path, default=Path("runs/bench/scienceworld_agent.json"))
    options = parser.parse_args()
    simulator, rows = Simulator(Jvm(heap_gb=1.5, call_timeout_s=120)), []
    simulator.load("boil", 0, "easy")  # Java compiles as it goes.
    for name in options.types:
        rows.append(study(simulator, BY_NAME[name], options.variations))
        print(" | ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    simulator.stop()


def study(simulator: Simulator, of: TaskType, count: int) -> dict[str, object]:
    """One type's row of the table."""
    train, test = (variations(of.name, split, count) for split in ("train", "unseen"))
    learned = [solved(simulator, of.name, variation) for variation in train]
    loads = []
    for variation in test:
        started = time.perf_counter()
        simulator.discard(simulator.load(of.name, variation, "easy"))
        loads.append(time.perf_counter() - started)
    told, fixed, left = sorts(learned)
    every = told + fixed + left
    rewards = [by_heart(simulator, of, variation, learned) for variation in test]
    steps = sum(len(path.actions) for path in learned)
    return {
        "type": of.name,
        "train": len(fold(of.variations, "train")),
        "limit": of.step_limit,
        "load_s": round(statistics.median(loads), 2),
        "gold_load_s": round(statistics.median(path.load_s for path in learned), 2),
        "gold_steps": statistics.median(len(path.actions) for path in learned),
        "deeds": statistics.median(len(path.deeds) for path in learned),
        "steps_per_s": round(steps / sum(path.replay_s for path in learned)),
        "replay_s": round(statistics.median(path.replay_s for path in learned), 2),
        "gold_wins": round(statistics.mean(path.won for path in learned), 2),
        "within_limit": round(statistics.mean(len(p.actions) <= of.step_limit for p in learned), 2),
        "words": len({word for path in learned for word in words(path)}),
        "tokens": round(statistics.mean(tokens(learned))),
        "told": round(told / every, 2),
        "fixed": round(fixed / every, 2),
        "left": round(left / every, 2),
        "by_heart_wins": round(statistics.mean(reward == 1 for reward in rewards), 2),
        "by_heart_reward": round(statistics.mean(rewards), 2),
    }


def solved(simulator: Simulator, name: str, variation: int) -> Path_:
    """The variation's gold path, and its replay."""
    started = time.perf_counter()
    world = simulator.load(name, variation, "easy", gold_path=True)
    found = simulator.gold_path()
    path = Path_(variation, world.description, found, time.perf_counter() - started)
    path.observations.append(simulator.step(world, "look around").observation)
    started = time.perf_counter()
    for action in path.actions:
        reply = simulator.step(world, action)
        path.observations.append(reply.observation)
        path.won = path.won or reply.score >= 1 - ROUNDING
    path.replay_s = time.perf_counter() - started
    simulator.discard(world)
    return path


def things(text: str) -> set[str]:
    return set(WORD.findall(text.lower())) - SMALL


def sorts(paths: list[Path_]) -> tuple[int, int, int]:
    """Deeds that the task tells, that are in every variation, and that are left."""
    common = set.intersection(*(set(path.deeds) for path in paths))
    told = fixed = left = 0
    for path in paths:
        named = things(path.task)
        for deed in path.deeds:
            if deed.startswith("wait") or deed in common:
                fixed += 1
            elif things(deed.partition(" ")[2]) - named:
                left += 1
            else:
                told += 1
    return told, fixed, left


def by_heart(simulator: Simulator, of: TaskType, variation: int, learned: list[Path_]) -> float:
    """The reward of the likest train variation's deeds, with this task's words."""
    world = simulator.load(of.name, variation, "easy")
    own = world.description.split()
    likest = max(learned, key=lambda path: likeness(path.task.split(), own))
    other, best = likest.task.split(), 0.0
    instead = dict(zip(other, own, strict=True)) if len(other) == len(own) else {}
    for deed in likest.deeds[: of.step_limit]:
        said = " ".join(instead.get(w, strip(instead.get(f"{w}.", w))) for w in deed.split())
        reply = simulator.step(world, said)
        best = max(best, reply.score)
        if reply.completed or reply.score < -ROUNDING:
            break
    simulator.discard(world)
    return 1.0 if best >= 1 - ROUNDING else best


def strip(word: str) -> str:
    return word.rstrip(".,")


def likeness(one: list[str], other: list[str]) -> float:
    same = sum(a == b for a, b in zip(one, other, strict=False))
    return same / max(len(one), len(other))


def words(path: Path_) -> Iterable[str]:
    return WORD.findall(" ".join([path.task, *path.actions, *path.observations]).lower())


def tokens(paths: list[Path_]) -> list[int]:
    """Words of each episode, but for what all variations have in common.

    Of the task, the words that differ; of an answer, the lines that differ; one for an answer that
    says again what was done.
    """
    tasks = set.intersection(*(set(path.task.split()) for path in paths))
    common: dict[str, int] = defaultdict(int)
    for path in paths:
        for line in {line.strip() for seen in path.observations for line in seen.split("\n")}:
            common[line] += 1
    counts = []
    for path in paths:
        count = sum(word not in tasks for word in path.task.split())
        count += sum(2 + len(action.split()) for action in path.actions)
        for seen in path.observations:
            lines = [line for line in map(str.strip, seen.split("\n")) if common[line] < len(paths)]
            count += 1 if STOCK.match(seen) else 1 + sum(len(WORD.findall(x)) for x in lines)
        counts.append(count)
    return counts


if __name__ == "__main__":
    main()
