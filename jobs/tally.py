"""What of a run's ledgers belongs to its config as it is.

A run's folder may have been worked on with other settings before: another seed, model or number of
plans. What those came to stays in the ledgers and is counted nowhere.
"""

from contextlib import suppress
from itertools import product

from jobs.arms import arms_played, planners
from jobs.plans import own_plans
from jobs.rollout import Episodes, scoring_requests
from jobs.run import Round, Run
from jobs.tasks import Tasks
from mpo_core.errors import InputError
from mpo_core.types import EpisodeFigures, Plan


def plans_of_config(run: Run) -> list[Plan]:
    """The plans that the config has sampled, of all planners and splits."""
    config, samples = run.config, run.config.evaluation.plan_samples
    rounds = [Round.of(config, number) for number in range(1, config.rounds + 1)]
    sampled: set[tuple[str, Tasks, int]] = {(this.start, "train", 0) for this in rounds}
    if config.rounds > 1:
        sampled |= {(this.version, "validation", samples) for this in rounds}
    if config.planner.match_teacher:
        sampled |= {("sft", "validation", 0), ("sft", "validation", samples)}
    versions = {version for arm in arms_played(run) for version in planners(run, arm)}
    sampled |= set(product(versions, config.evaluation.splits, {0, samples}))
    return [plan for of in sorted(sampled) for plan in own_plans(run, *of)]


def scored_episodes(run: Run, played: Episodes) -> list[EpisodeFigures]:
    """The episodes of the scoring by which the config's plans are scored, of all rounds."""
    keys: set[str] = set()
    for number in range(1, run.config.rounds + 1):
        with suppress(InputError):  # A round that was not begun.
            requests = scoring_requests(run, Round.of(run.config, number).start, played)
            keys |= {request.key for request in requests}
    return [episode for episode in played if episode.key in keys]
