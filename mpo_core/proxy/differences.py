"""The arms of an A/B test by callers' rewards: conversations with no plan, and with the plans of
each of the planner's versions.

Which arm a conversation is drawn into is chance, so that the arms' mean rewards may be compared
though their tasks differ; where tasks repeat, comparing them task by task is more exact. Tasks are
the evidence either way: conversations of one task are averaged first, or drawn together.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from mpo_core.evaluation import Difference, bootstrap_ci, rounded
from mpo_core.proxy.records import OFF
from mpo_core.types import TaskResult

LEAST_TASKS = 10
"""Tasks from which an interval is believed."""
CELLS_AT_ONCE = 1_000_000
"""Of the matrix resamples x tasks."""
Verdict = Literal["better", "worse", "open"]


def in_order(arms: Iterable[str]) -> list[str]:
    """The arms in the order in which they came, the one without plans first."""
    found = list(dict.fromkeys(arms))
    return sorted(found, key=lambda arm: arm != OFF)


def compared(arms: Sequence[str], withdrawn: Collection[str] = ()) -> list[tuple[str, str]]:
    """Which arms are compared: each version with no plan, and with the one in whose place it was
    put or is to be put, the last before it that was not withdrawn."""
    versions = [arm for arm in arms if arm != OFF]
    found = [(arm, OFF) for arm in versions if OFF in arms]
    for k, arm in enumerate(versions):
        before = [one for one in versions[:k] if one not in withdrawn]
        found += [(arm, before[-1])] if before else []
    return found


def difference(
    results: Sequence[TaskResult], one: str, other: str, resamples: int
) -> dict[str, Any]:
    """How far the mean rewards of two arms that have results lie apart, over all their tasks.

    Returns:
        `arm_a`, `arm_b`; `same`, a `Difference` on the tasks of both (None where they share none);
        `all`, a `Difference` of the mean rewards of all conversations; `least`, the tasks of the
        arm that has fewer.
    """
    ours, theirs = ({r.task_id: r for r in results if r.arm == arm} for arm in (one, other))
    return {
        "arm_a": one,
        "arm_b": other,
        "same": _paired(ours, theirs, resamples),
        "all": _unpaired(ours, theirs, resamples),
        "least": min(len(ours), len(theirs)),
    }


def verdict(row: dict[str, Any]) -> tuple[Verdict, dict[str, Any]]:
    """Whether the first arm of a `difference` is shown to earn more or less than the second; and
    the figures that say so, on the same tasks where there are enough of these."""
    same, over_all = row["same"], row["all"]
    shown = same if same and same["n"] >= LEAST_TASKS else over_all
    low, high = shown["ci95"]
    # An arm of a few tasks has no spread to draw from, however many the other has.
    if row["least"] < LEAST_TASKS or low <= 0 <= high:
        return "open", shown
    return ("better" if low > 0 else "worse"), shown


def _paired(
    ours: dict[str, TaskResult], theirs: dict[str, TaskResult], resamples: int
) -> dict[str, Any] | None:
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    values = np.array([ours[task].reward - theirs[task].reward for task in shared])
    low, high = bootstrap_ci(values, resamples)
    return _difference(values.mean(), low, high, len(shared))


def _unpaired(
    ours: dict[str, TaskResult], theirs: dict[str, TaskResult], resamples: int, seed: int = 0
) -> dict[str, Any]:
    """The difference of two means over conversations, and its bootstrap over tasks, of which each
    brings its conversations of both arms."""
    tasks = sorted(ours.keys() | theirs.keys())
    arms = []
    for of_arm in (ours, theirs):
        n = np.array([of_arm[t].n_episodes if t in of_arm else 0 for t in tasks], dtype=float)
        means = np.array([of_arm[t].reward if t in of_arm else 0.0 for t in tasks])
        arms.append((n, n * means))
    (n_a, sum_a), (n_b, sum_b) = arms
    found, rng = [], np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_ONCE // len(tasks))
    for start in range(0, resamples, at_once):
        drawn = rng.integers(len(tasks), size=(min(at_once, resamples - start), len(tasks)))
        counts = n_a[drawn].sum(axis=1), n_b[drawn].sum(axis=1)
        # A draw without one of the arms says nothing of the difference.
        both = (counts[0] > 0) & (counts[1] > 0)
        sums = sum_a[drawn].sum(axis=1)[both], sum_b[drawn].sum(axis=1)[both]
        found.append(sums[0] / counts[0][both] - sums[1] / counts[1][both])
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return _difference(sum_a.sum() / n_a.sum() - sum_b.sum() / n_b.sum(), low, high, len(tasks))


def _difference(diff: float, low: float, high: float, n: int) -> dict[str, Any]:
    interval = (rounded(low), rounded(high))
    return Difference(diff=rounded(diff), ci95=interval, n=n, n_seeds=1).model_dump()
