"""Evaluation: the arms compared on held-out tasks, with intervals that say how sure one can be.

Tasks are the evidence. Repetitions of one task, and its several plans, are averaged before anything
else, since they say nothing about other tasks; and two arms are compared task by task, since what
makes a task hard makes it hard for both.

A planner is measured twice: by one plan a task, mostly its greedy one, and by several that it
samples. Nothing of the one enters the other.

Runs of several seeds play the same tasks, so seeds and tasks are crossed: a resample draws both
(Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007). With one seed, that is the
plain bootstrap over tasks.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from pydantic import BaseModel

from mpo_core.exact import exact_mean
from mpo_core.types import Episode, EpisodeFigures, Task, TaskResult

RESAMPLES = 10_000
REFERENCES = ("sft", "base", "none")
"""Arms that the others are compared with, the first that there is."""
IMITATES = "rft"
"""The arm that learns from scores by imitation alone; what learns more from them is compared with
it, too."""
LEARNS_MORE = re.compile(r"(mpo|pg)(-\d+)?")
CELLS_AT_ONCE = 1_000_000
"""Of the matrix resamples x tasks; a cell takes some 30 bytes."""


E_co = TypeVar("E_co", bound=Episode | EpisodeFigures, covariant=True)


@dataclass(frozen=True)
class Attempt(Generic[E_co]):
    """An episode of the evaluation, with the arm it belongs to."""

    arm: str
    task: Task
    episode: E_co
    sampled: bool = False
    """Whether its plan is one of the several that the arm's planner samples for the task."""
    plan: str | None = None
    """The plan's text; None for the arms without plans."""


class ArmResult(BaseModel):
    """One arm on one set of tasks."""

    mean_reward: float
    ci95: tuple[float, float]
    """95% bootstrap interval of the mean reward, over tasks, and seeds where these are several."""
    success_rate: float
    mean_steps: float
    n: int
    """Tasks, on which the interval rests."""
    n_seeds: int
    n_episodes: int


class Difference(BaseModel):
    """One arm's mean reward minus another's, on the same tasks."""

    diff: float
    ci95: tuple[float, float]
    n: int
    """Tasks."""
    n_seeds: int


def task_results(attempts: Iterable[Attempt], seed: int) -> list[TaskResult]:
    """What each arm reached on each task, with one plan and with sampled ones, in the order in
    which arms and tasks first come. All attempts count alike, so that a task's result is the mean
    over its plans where each is attempted equally often."""
    groups: dict[tuple[str, bool, str], list[Attempt]] = {}
    for attempt in attempts:
        key = (attempt.arm, attempt.sampled, attempt.task.id)
        groups.setdefault(key, []).append(attempt)
    return [
        TaskResult(
            **group[0].task.model_dump(include={"env", "split", "type"}),
            arm=arm,
            seed=seed,
            task_id=task_id,
            sampled=sampled,
            # Exact, so that arms that earned the same do not differ.
            reward=float(exact_mean([attempt.episode.reward for attempt in group])),
            success=float(np.mean([attempt.episode.success for attempt in group])),
            steps=float(np.mean([attempt.episode.steps for attempt in group])),
            n_episodes=len(group),
        )
        for (arm, sampled, task_id), group in groups.items()
    ]


def compare(
    results: Sequence[TaskResult],
    resamples: int = RESAMPLES,
    against: Sequence[tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """The statistics of a report.

    Args:
        against: the arms to compare, by default `comparisons`.

    Returns:
        `arms`: arm -> `ArmResult` over everything. `table`: a row for each environment, split, arm
        and seed, and with several seeds one for all (`seed` None). `paired`: see `paired`.
        `types`: a row for each environment, split, task type and arm. All these are of one plan a
        task. `sampled`, where there are sampled plans: the same of these, for the arms that have
        them; in its `paired`, an arm without such plans stands as it is.
    """
    single = [result for result in results if not result.sampled]
    found = _means(single, resamples) | {"paired": paired(single, resamples, against)}
    having = {result.arm for result in results if result.sampled}
    if having:
        drawn = [result for result in results if result.sampled]
        both = [result for result in results if result.sampled or result.arm not in having]
        drawn_rows = paired(both, resamples, against)
        rows = [row for row in drawn_rows if having & {row["arm_a"], row["arm_b"]}]
        found["sampled"] = _means(drawn, resamples) | {"paired": rows}
    return found


def _means(results: Sequence[TaskResult], resamples: int) -> dict[str, Any]:
    seeds = {result.seed for result in results}
    table = results_by(("env", "split", "arm", "seed"), results, resamples)
    if len(seeds) > 1:
        pooled = results_by(("env", "split", "arm"), results, resamples)
        table += [row | {"seed": None} for row in pooled]
    order = _arms(results)

    def place(row: Mapping[str, Any]) -> tuple:
        last = row["seed"] is None
        return row["env"], row["split"], order.index(row["arm"]), last, row["seed"] or 0

    return {
        "arms": {row.pop("arm"): row for row in results_by(("arm",), results, resamples)},
        "table": sorted(table, key=place),
        "types": results_by(("env", "split", "type", "arm"), results, resamples),
    }


def results_by(
    fields: Sequence[Literal["env", "split", "type", "arm", "seed"]],
    results: Iterable[TaskResult],
    resamples: int = RESAMPLES,
) -> list[dict[str, Any]]:
    """One row for each group of results that agree in `fields`: these, then an `ArmResult`."""
    groups: dict[tuple[Any, ...], list[TaskResult]] = {}
    for result in results:
        groups.setdefault(tuple(getattr(result, f) for f in fields), []).append(result)
    return [
        dict(zip(fields, group, strict=True)) | arm_result(of_group, resamples).model_dump()
        for group, of_group in groups.items()
    ]


def arm_result(results: Sequence[TaskResult], resamples: int = RESAMPLES) -> ArmResult:
    """Summarise an arm's results: the same tasks for every seed."""
    if not results:
        raise ValueError("no results to summarise")
    rewards = _grid({(r.seed, r.task_id): r.reward for r in results})
    return ArmResult(
        mean_reward=rounded(rewards.mean()),
        ci95=tuple(map(rounded, bootstrap_ci(rewards, resamples))),
        success_rate=float(np.mean([result.success for result in results])),
        mean_steps=float(np.mean([result.steps for result in results])),
        n=rewards.shape[1],
        n_seeds=rewards.shape[0],
        n_episodes=sum(result.n_episodes for result in results),
    )


def paired(
    results: Sequence[TaskResult],
    resamples: int = RESAMPLES,
    against: Sequence[tuple[str, str]] | None = None,
) -> list[dict[str, Any]]:
    """Two arms each, by default the `comparisons`, on the tasks (and of the seeds) that both
    played.

    Returns:
        Rows of `env`, `split`, `arm_a`, `arm_b`, `seed` (None for several), then a `Difference`:
        `arm_a` minus `arm_b`. None for a single arm.
    """
    arms, seeds = _arms(results), {result.seed for result in results}
    rewards: dict[tuple[str, str], dict[str, dict[tuple[int, str], float]]] = {}
    for r in results:
        of_arm = rewards.setdefault((r.env, r.split), {arm: {} for arm in arms})[r.arm]
        of_arm[r.seed, r.task_id] = r.reward
    rows = []
    for (env, split), by_arm in sorted(rewards.items()):
        for arm, other in comparisons(arms) if against is None else against:
            ours, theirs = by_arm[arm], by_arm[other]
            shared = ours.keys() & theirs.keys()
            if not shared:
                continue
            differences = _grid({cell: ours[cell] - theirs[cell] for cell in shared})
            difference = Difference(
                diff=rounded(differences.mean()),
                ci95=tuple(map(rounded, bootstrap_ci(differences, resamples))),
                n=differences.shape[1],
                n_seeds=differences.shape[0],
            )
            rows.append(
                {"env": env, "split": split, "arm_a": arm, "arm_b": other}
                | {"seed": min(seeds) if len(seeds) == 1 else None}
                | difference.model_dump()
            )
    return rows


def comparisons(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Which arms are compared: every one with the reference arm, then those planners with RFT's
    that learn more from the scores than which plan to imitate."""
    reference = reference_arm(arms)
    found = [(arm, reference) for arm in arms if arm != reference]
    if IMITATES in arms and reference != IMITATES:
        found += [(arm, IMITATES) for arm in arms if LEARNS_MORE.fullmatch(arm)]
    return found


def shown_above(row: Mapping[str, Any]) -> bool:
    """Whether a row of `paired` shows that its first arm earns more than the second: the interval
    lies above 0. That of a single task is a point and shows nothing."""
    return row["n"] > 1 and row["ci95"][0] > 0


def shown_below(row: Mapping[str, Any]) -> bool:
    """Whether a row of `paired` shows that its first arm earns less than the second."""
    return row["n"] > 1 and row["ci95"][1] < 0


def reference_arm(arms: Sequence[str]) -> str:
    """The arm that the others are compared with: the planner's before MPO, else no plans."""
    return next((arm for arm in REFERENCES if arm in arms), arms[0])


def bootstrap_ci(
    values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values`, (tasks,) or (seeds, tasks)."""
    values = np.atleast_2d(values)
    (seeds, tasks), rng = values.shape, np.random.default_rng(seed)
    at_once = max(1, CELLS_AT_ONCE // tasks)
    means = []
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = rng.integers(seeds, size=(count, seeds))
        shares = (drawn[:, :, None] == np.arange(seeds)).mean(axis=1)
        by_task = shares @ values  # (count, tasks): a task's mean over the seeds that were drawn.
        chosen = rng.integers(tasks, size=(count, tasks))
        means.append(np.take_along_axis(by_task, chosen, axis=1).mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _interval(values: np.ndarray, resamples: int) -> tuple[float, float]:
    low, high = bootstrap_ci(values, resamples)
    return rounded(low), rounded(high)


def _arms(results: Iterable[TaskResult]) -> list[str]:
    return list(dict.fromkeys(result.arm for result in results))


def _grid(cells: Mapping[tuple[int, str], float]) -> np.ndarray:
    """Values by seed and task (seeds, tasks), sorted; every seed must have every task."""
    seeds = sorted({seed for seed, _ in cells})
    tasks = sorted({task for _, task in cells})
    if len(cells) < len(seeds) * len(tasks):
        raise ValueError("the seeds' tasks differ")
    return np.array([[cells[seed, task] for task in tasks] for seed in seeds])


def rounded(value: float) -> float:
    """A figure as reports have it."""
    return round(float(value), 6) + 0.0  # Never -0.0.
