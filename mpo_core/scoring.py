"""Monte Carlo scores of plans: the mean final reward of the episodes played under them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from mpo_core.episode import EpisodeRequest
from mpo_core.files import write_bytes
from mpo_core.types import EpisodeFigures, PlanScore


def score_plans(
    requests: Sequence[EpisodeRequest], episodes: Iterable[EpisodeFigures]
) -> list[PlanScore]:
    """Scores of the requested plans, in the order in which they were first requested.

    Only episodes that were asked for count, each once: a ledger may hold others, of earlier
    settings.

    Raises:
        ValueError: an episode is still owed; a score of fewer attempts than asked for would be
            a different quantity.
    """
    by_key = {episode.key: episode for episode in episodes}
    rewards: dict[tuple[str, str], dict[str, float]] = {}
    for request in requests:
        if request.key not in by_key:
            raise ValueError(f"episode {request.key} of {request.task.id} is still owed")
        plan = (request.task.id, request.plan.id)
        rewards.setdefault(plan, {})[request.key] = by_key[request.key].reward
    return [
        PlanScore.of(task_id, plan_id, list(values.values()))
        for (task_id, plan_id), values in rewards.items()
    ]


def save_scores(scores: Sequence[PlanScore], path: Path) -> None:
    """Write a table of scores whole. Raises InputError where it cannot be written."""
    frame = pd.DataFrame([score.model_dump() for score in scores])
    write_bytes(path, frame.to_parquet(index=False))


def load_scores(path: Path) -> list[PlanScore]:
    return [PlanScore(**row) for row in pd.read_parquet(path).to_dict("records")]
