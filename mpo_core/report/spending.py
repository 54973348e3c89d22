"""What `scoring.repetitions: auto` has spent, against as many attempts for every plan."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from mpo_core.attempts import spread
from mpo_core.types import EpisodeFigures


def spending(episodes: Sequence[EpisodeFigures], max_repetitions: int) -> dict[str, Any]:
    """Plans and episodes of the scoring, the episodes that `max_repetitions` for every plan would
    have been, the plans by their number of attempts, and the share of the variance between the
    rewards of a task's plans that is the noise of single attempts (None where nothing tells)."""
    plans: dict[str, dict[str | None, list[float]]] = {}
    for episode in sorted(episodes, key=lambda e: e.repetition):
        of_task = plans.setdefault(episode.task_id, {})
        of_task.setdefault(episode.plan_id, []).append(episode.reward)
    rewards = [list(of_task.values()) for of_task in plans.values()]
    attempts = Counter(len(of_plan) for of_task in rewards for of_plan in of_task)
    pooled = spread(rewards)
    compared = any(len(of_task) > 1 for of_task in rewards)
    known = compared and pooled.within_tasks and max(attempts) > 1
    return _totals(attempts, attempts.total() * max_repetitions) | {
        "noise": round(min(pooled.noise, 1.0), 4) if known else None
    }


def spent_together(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The `spending` of several runs in one; empty where none has any."""
    found = [summary["spending"] for summary in summaries if summary.get("spending")]
    if not found:
        return {}
    attempts = sum(
        (Counter({int(n): k for n, k in of["attempts"].items()}) for of in found), Counter()
    )
    noise = [of["noise"] for of in found if of["noise"] is not None]
    return _totals(attempts, sum(of["uniform"] for of in found)) | {
        "noise": round(fmean(noise), 4) if noise else None
    }


def spending_words(spent: Mapping[str, Any]) -> str:
    """What was spent and saved, as a sentence or two."""
    share = spent["saved"] / spent["uniform"]
    words = (
        f"{spent['episodes']} episodes for {spent['plans']} plans: {spent['saved']} ({share:.0%}) "
        f"fewer than the {spent['uniform']} of as many attempts for every plan as one may get."
    )
    if spent["noise"] is not None:
        words += (
            f" Of the variance between the rewards of a task's plans, {spent['noise']:.0%} is the "
            "noise of single attempts."
        )
    return words


def spending_rows(spent: Mapping[str, Any]) -> list[list[str]]:
    """How the attempts are spread, as the cells of a table, its header first."""
    plans = spent["attempts"].items()
    rows = [[n, str(k), f"{k / spent['plans']:.0%}", str(int(n) * k)] for n, k in plans]
    return [["attempts", "plans", "share", "episodes"], *rows]


def _totals(attempts: Counter[int], uniform: int) -> dict[str, Any]:
    spent = sum(n * plans for n, plans in attempts.items())
    return {
        "plans": attempts.total(),
        "episodes": spent,
        "uniform": uniform,
        "saved": uniform - spent,
        "attempts": {str(n): attempts[n] for n in sorted(attempts)},
    }
