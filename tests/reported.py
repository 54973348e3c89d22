"""A run's results and summary, made up, for reports."""

from mpo_core.evaluation import compare
from mpo_core.types import TaskResult


def results(env: str, arm: str, rewards: dict[str, float], seed: int = 1) -> list[TaskResult]:
    """A task of each type."""
    return [
        TaskResult(
            env=env,
            split="seen",
            type=task_type,
            arm=arm,
            seed=seed,
            task_id=f"{env}/{task_type}/0",
            reward=reward,
            success=reward == 1,
            steps=5,
            n_episodes=2,
        )
        for task_type, reward in rewards.items()
    ]


RESULTS = [
    *results("scienceworld", "none", {"boil": 0.5}),
    *results("alfworld", "none", {"look": 0.25, "heat": 1.0}),
    *results("scienceworld", "mpo", {"boil": 0.75}),
    *results("alfworld", "mpo", {"look": 0.75, "heat": 1.0}),
]


def summary(found: list[TaskResult] = RESULTS, **changes) -> dict:
    counts = {"plans": 12, "episodes": 36, "pairs": 2}
    return {
        "name": "mine",
        "seed": 1,
        "shuffled": [],
        "tasks": {"train": 3},
        "pair_rules": {"best_worst": {"pairs": 2, "tasks": 2}},
        **counts,
        **compare(found, 100),
        **changes,
    }
