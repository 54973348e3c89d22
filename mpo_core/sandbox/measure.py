"""What plans are worth to the scripted follower, in the simulator: successes by kind of plan.

python -m mpo_core.sandbox.measure --games 100 --steps 14
"""

import argparse
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from mpo_core.envs.alfworld.games import TASK_TYPES
from mpo_core.sandbox.faults import POOR, spoiled
from mpo_core.sandbox.follower import Follower
from mpo_core.sandbox.games import Game, games
from mpo_core.sandbox.knowledge import best, oracle
from mpo_core.sandbox.plans import PlanSpec
from mpo_core.sandbox.simulator import Episode

STEPS = 14
POWER = 2.0
Planner = Callable[[Game, int], PlanSpec | None]
"""The plan for a game, and what to draw from."""


def play(game: Game, plan: PlanSpec | None, steps: int = STEPS) -> tuple[bool, int]:
    """Whether the follower wins, and after how many actions it did or gave up."""
    episode = Episode(game)
    start = episode.reset()
    follower = Follower(start.instruction, start.observation, plan)
    for taken in range(steps):
        action = follower.act()
        if action is None:
            return False, taken
        step = episode.step(action)
        follower.see(action, step.observation)
        if step.done:
            return True, taken + 1
    return False, steps


def with_faults(*faults: str) -> Planner:
    """Best general plans with these faults."""
    return lambda game, seed: spoiled(best(game, POWER), game, faults, seed)


def poor(game: Game, seed: int) -> PlanSpec:
    """Wrong in every way, but for the step that prepares, which is there half of the time."""
    kept = random.Random(f"{seed} kept").random() < 0.5
    return spoiled(
        best(game, POWER), game, [f for f in POOR if f != "unprepared" or not kept], seed
    )


PLANNERS: Mapping[str, Planner] = {
    "oracle": lambda game, _: oracle(game, POWER),
    "best general": with_faults(),
    "random order": with_faults("random_order"),
    "wrong order": with_faults("wrong_order"),
    "vague": with_faults("vague"),
    "shuffled steps": with_faults("shuffled"),
    "unprepared": with_faults("unprepared"),
    "unopened": with_faults("unopened"),
    "two searches": with_faults("two_searches"),
    "poor": poor,
    **{
        f"all of poor's faults but {name}": with_faults(*(f for f in POOR if f != name))
        for name in POOR
    },
    "all of poor's faults": with_faults(*POOR),
    "none": lambda game, _: None,
}


def successes(played: Sequence[Game], planner: Planner, steps: int = STEPS) -> Counter[str]:
    """The number of games won, by type of task."""
    won = (g.goal.type for n, g in enumerate(played) if play(g, planner(g, n), steps)[0])
    return Counter(won)


def main() -> None:
    parser = argparse.ArgumentParser(description="Success of the scripted follower by plan.")
    parser.add_argument("--games", type=int, default=100, help="games of each type of task")
    parser.add_argument("--steps", type=int, default=STEPS, help="most actions in an episode")
    parser.add_argument("--seed", type=int, default=77, help="seed of the games")
    given = parser.parse_args()
    played = list(games(given.seed, "unseen", given.games * len(TASK_TYPES), POWER))
    print("| plans | all |", " | ".join(TASK_TYPES), "|")
    print("|---" * (len(TASK_TYPES) + 2) + "|")
    for name, planner in PLANNERS.items():
        won = successes(played, planner, given.steps)
        shares = [won.total() / len(played), *(won[t] / given.games for t in TASK_TYPES)]
        print(f"| {name} |", " | ".join(f"{share:.3f}".lstrip("0") for share in shares), "|")


if __name__ == "__main__":
    main()
