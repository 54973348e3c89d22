"""What the report's web page shows of a run besides its summary: curves, scores, pairs, plans."""

from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from statistics import fmean
from typing import Any

from mpo_core.evaluation import Attempt
from mpo_core.types import PlanScore, PreferencePair, Task, content_hash

BINS = 11
"""Of a mean reward: 0, .1, ..., 1."""
POINTS = 200
"""Of a curve, at most."""
SHOWN = 5
"""Pairs, and tasks whose plan has changed: drawn by chance, the same every time."""
CURVES = {"loss": "loss", "preferred": "rewards/accuracies"}


def details(
    *,
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    scores: Mapping[int, Sequence[PlanScore]],
    pairs: Sequence[PreferencePair],
    tasks: Mapping[str, Task],
    attempts: Iterable[Attempt],
    compared: tuple[str, str] | None,
) -> dict[str, Any]:
    """
    Args:
        curves: version -> what its training logged, a row a step.
        scores: round -> the scores of its plans.
        pairs: of the last round.
        tasks: the training tasks by id.
        compared: the trained planner's arm, and the one that it is compared with.
    """
    return {
        "curves": {version: _curve(rows) for version, rows in curves.items() if rows},
        "scores": {number: _distribution(of_round) for number, of_round in scores.items()},
        "pairs": [_pair(pair, tasks) for pair in _drawn(pairs, lambda pair: pair.task_id)],
        "changed": _changed(attempts, compared) if compared else [],
    }


def _curve(rows: Sequence[Mapping[str, float]]) -> dict[str, list[list[float]]]:
    """Name -> points (step, value), thinned to as many as are seen."""
    every = -(-len(rows) // POINTS)
    points = {
        name: [[row["step"], row[key]] for row in rows[::every] if key in row]
        for name, key in CURVES.items()
    }
    return {name: of_name for name, of_name in points.items() if len(of_name) > 1}


def _distribution(scores: Sequence[PlanScore]) -> dict[str, Any]:
    """How many plans have which mean reward, and how far the plans of a task lie apart."""
    counts = [0] * BINS
    by_task: dict[str, list[float]] = {}
    for score in scores:
        counts[round(score.mean * (BINS - 1))] += 1
        by_task.setdefault(score.task_id, []).append(score.mean)
    spreads = [max(means) - min(means) for means in by_task.values()]
    return {"counts": counts, "tasks": len(by_task), "spread": fmean(spreads) if spreads else 0.0}


def _pair(pair: PreferencePair, tasks: Mapping[str, Task]) -> dict[str, Any]:
    task = tasks.get(pair.task_id)
    return {
        "task_id": pair.task_id,
        "task": task.description if task else "",
        "chosen": pair.chosen[-1]["content"],
        "rejected": pair.rejected[-1]["content"],
        "chosen_rewards": list(pair.chosen_score.rewards),
        "rejected_rewards": list(pair.rejected_score.rewards),
    }


def _changed(attempts: Iterable[Attempt], compared: tuple[str, str]) -> list[dict[str, Any]]:
    """Held-out tasks for which the two arms have other plans, with both."""
    after, before = compared
    by_task: dict[str, dict[str, list[Attempt]]] = {}
    for one in attempts:
        if one.arm in compared and not one.sampled and one.plan is not None:
            by_task.setdefault(one.task.id, {}).setdefault(one.arm, []).append(one)
    both = [arms for arms in by_task.values() if len(arms) == 2]
    other = [arms for arms in both if arms[after][0].plan != arms[before][0].plan]
    return [
        {
            "task_id": arms[after][0].task.id,
            "task": arms[after][0].task.description,
            "before": arms[before][0].plan,
            "after": arms[after][0].plan,
            "before_reward": fmean(one.episode.reward for one in arms[before]),
            "after_reward": fmean(one.episode.reward for one in arms[after]),
            "changed": len(other),
            "tasks": len(both),
        }
        for arms in _drawn(other, lambda arms: arms[after][0].task.id)
    ]


def _drawn(things: Sequence[Any], name: Any) -> list[Any]:
    return nsmallest(SHOWN, things, key=lambda thing: content_hash(name(thing)))
