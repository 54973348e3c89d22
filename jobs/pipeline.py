"""The whole loop: tasks, plans, scores, pairs, training, evaluation.

    python -m jobs.pipeline CONFIG [key=value ...]

Every stage leaves its result in the run directory and takes up what it finds there, so the same
command continues an interrupted run.
"""

import sys
from typing import Any

from jobs.evaluate import evaluate
from jobs.pairs import collect_pairs
from jobs.plans import collect_plans
from jobs.rollout import collect_scores
from jobs.run import Run
from jobs.tasks import collect_tasks
from jobs.train import train_planner


def run_pipeline(run: Run) -> dict[str, Any]:
    """All stages in order; returns the summary."""
    # A cluster without room and an unreachable store are found out before the work, not after.
    run.backend.connect()
    run.tracker  # noqa: B018
    collect_tasks(run)
    collect_plans(run, "base", "train")
    collect_scores(run)
    collect_pairs(run)
    if run.config.trains:
        train_planner(run)
    return evaluate(run)


if __name__ == "__main__":
    from jobs.cli import main

    main(["run", *sys.argv[1:]])
