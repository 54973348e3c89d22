"""Monte Carlo scores of plans: the mean final reward of the episodes played under them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from mpo_core.attempts import all_attempts, first_attempts
from mpo_core.config import ScoringConfig
from mpo_core.episode import EpisodeRequest
from mpo_core.files import write_bytes
from mpo_core.types import Episode, EpisodeFigures, Plan, PlanScore


def score_plans(
    requests: Sequence[EpisodeRequest], episodes: Iterable[Episode | EpisodeFigures]
) -> list[PlanScore]:
    """Scores of the requested plans, in the order in which they were first requested.

    Only episodes that were asked for count, each once: a ledger may hold others, of earlier
    settings.

    Raises:
        ValueError: an episode is under no plan, or still owed; a score of fewer attempts than asked
            for would be a different quantity.
    """
    by_key = {episode.key: episode for episode in episodes}
    rewards: dict[tuple[str, str], dict[str, float]] = {}
    for request in requests:
        if request.plan is None:
            raise ValueError(f"episode {request.key} of {request.task.id} is under no plan")
        if request.key not in by_key:
            raise ValueError(f"episode {request.key} of {request.task.id} is still owed")
        plan = (request.task.id, request.plan.id)
        rewards.setdefault(plan, {})[request.key] = by_key[request.key].reward
    return [
        PlanScore.of(task_id, plan_id, list(values.values()))
        for (task_id, plan_id), values in rewards.items()
    ]


def requests_to_score(
    plans: Sequence[Plan],
    scoring: ScoringConfig,
    ask: Callable[[int | Mapping[str, int]], list[EpisodeRequest]],
    played: Iterable[Episode | EpisodeFigures] = (),
) -> list[EpisodeRequest]:
    """The episodes that plans are scored by.

    With `scoring.repetitions: auto` those of the first batch, and where all of these are among the
    played ones, all that follow from them: the same episodes, however often a run is taken up.

    Args:
        ask: the plans' episodes: each as many times, or as often as is given by its id.
    """
    if scoring.repetitions != "auto":
        return ask(scoring.repetitions)
    first = ask(first_attempts(plans, scoring.mean_repetitions))
    if {request.key for request in first} - {episode.key for episode in played}:
        return first
    rewards = {score.plan_id: score.rewards for score in score_plans(first, played)}
    return ask(all_attempts(plans, rewards, scoring.mean_repetitions, scoring.max_repetitions))


def save_scores(scores: Sequence[PlanScore], path: Path) -> None:
    """Write a table of scores whole. Raises InputError where it cannot be written."""
    frame = pd.DataFrame([score.model_dump() for score in scores])
    write_bytes(path, frame.to_parquet(index=False))


def load_scores(path: Path) -> list[PlanScore]:
    """The scores that `save_scores` has written."""
    return [PlanScore(**row) for row in pd.read_parquet(path).to_dict("records")]
