"""Evaluation: the arms compared on held-out tasks, with intervals that say how sure one can be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from mpo_core.types import Episode, Task


class ArmResult(BaseModel):
    """One arm on one set of tasks."""

    mean_reward: float
    ci95: tuple[float, float]
    """95% bootstrap interval of the mean reward, over tasks."""
    success_rate: float
    mean_steps: float
    n_episodes: int
    n_tasks: int


@dataclass(frozen=True)
class Attempt:
    """An episode of the evaluation, with the arm it belongs to."""

    arm: str
    task: Task
    episode: Episode


def results_by(
    fields: Sequence[Literal["env", "split", "type", "arm"]],
    attempts: Sequence[Attempt],
    resamples: int = 10_000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row for each group of attempts that agree in `fields`: these, then an `ArmResult`."""
    groups: dict[tuple[str, ...], list[Episode]] = {}
    for attempt in attempts:
        known = {"arm": attempt.arm, **attempt.task.model_dump(include={"env", "split", "type"})}
        groups.setdefault(tuple(known[field] for field in fields), []).append(attempt.episode)
    return [
        dict(zip(fields, group, strict=True)) | arm_result(episodes, resamples, seed).model_dump()
        for group, episodes in groups.items()
    ]


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
