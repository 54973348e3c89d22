"""The stages alone on callers' feedback: `mpo rollout`, `pairs` and `train`, of one round."""

from dataclasses import dataclass

from jobs.feedback.learning import (
    Evidence,
    Learning,
    collect_evidence,
    load_rounds,
    round_of,
)
from jobs.feedback.pull import Pulled, pull
from jobs.feedback.versions import follow
from jobs.run import Run


@dataclass(frozen=True)
class Stage:
    """What a stage of a round goes by."""

    pulled: Pulled
    this: Learning
    found: Evidence


def stage_of(run: Run, number: int) -> Stage:
    """Pull what has come, and score the plans of a round: of one that was done, as it was done; of
    a later number, of the one that could begin."""
    pulled = pull(run)
    rounds, _ = follow(run, load_rounds(run))
    this = round_of(run, rounds, pulled, number)
    return Stage(pulled, this, collect_evidence(run, pulled, this))
