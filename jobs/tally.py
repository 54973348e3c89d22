"""What of a run's ledgers belongs to its config as it is.

A run's folder may have been worked on with other settings before: another seed, model or number of
plans. What those came to stays in the ledgers and is counted nowhere.
"""

from contextlib import suppress

from jobs.plans import own_plans
from jobs.rollout import SCORING, scoring_requests
from jobs.rounds import arm_versions
from jobs.run import Round, Run
from mpo_core.errors import InputError
from mpo_core.types import Episode, Plan


def plans_of_config(run: Run) -> list[Plan]:
    """The plans that the config has sampled, of all planners and splits."""
    config = run.config
    rounds = [Round.of(config, number) for number in range(1, config.rounds + 1)]
    sampled = {(this.start, "train") for this in rounds}
    if config.rounds > 1:
        sampled |= {(this.version, "validation") for this in rounds}
    for arm in config.evaluation.arms:
        for version in arm_versions(run, arm):
            sampled |= {(version, split) for split in config.evaluation.splits}
    return [plan for of in sorted(sampled) for plan in own_plans(run, *of)]


def scored_episodes(run: Run) -> list[Episode]:
    """The episodes by which the config's plans are scored, of all rounds."""
    keys: set[str] = set()
    for number in range(1, run.config.rounds + 1):
        with suppress(InputError):  # A round that was not begun.
            requests = scoring_requests(run, Round.of(run.config, number).start)
            keys |= {request.key for request in requests}
    played = run.records(f"episodes/{SCORING}.jsonl", Episode)
    return [episode for episode in played if episode.key in keys]
