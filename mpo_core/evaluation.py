"""Evaluation: the arms compared on held-out tasks, with intervals that say how sure one can be."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from mpo_core.types import Episode


class ArmResult(BaseModel):
    """One arm on one set of tasks."""

    mean_reward: float
    ci95: tuple[float, float]
    """95% bootstrap interval of the mean reward, over tasks."""
    success_rate: float
    mean_steps: float
    n_episodes: int
    n_tasks: int


def arm_result(episodes: Sequence[Episode], resamples: int = 10_000, seed: int = 0) -> ArmResult:
    """Summarise an arm's episodes.

    Tasks are the unit that is resampled: repetitions of one task are not independent evidence
    about other tasks. A task's reward is the mean over its repetitions.
    """
    if not episodes:
        raise ValueError("no episodes to summarise")
    by_task: dict[str, list[float]] = {}
    for episode in episodes:
        by_task.setdefault(episode.task_id, []).append(episode.reward)
    # Sorted, so that the resampling does not depend on the order in which episodes ended.
    rewards = np.array([np.mean(by_task[task]) for task in sorted(by_task)])
    low, high = bootstrap_ci(rewards, resamples, seed)
    return ArmResult(
        mean_reward=round(float(rewards.mean()), 6),
        ci95=(round(low, 6), round(high, 6)),
        success_rate=float(np.mean([episode.success for episode in episodes])),
        mean_steps=float(np.mean([episode.steps for episode in episodes])),
        n_episodes=len(episodes),
        n_tasks=len(by_task),
    )


def bootstrap_ci(
    values: np.ndarray, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values` (n,)."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, size=(resamples, len(values))).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
