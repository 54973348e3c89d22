"""What a round on callers' feedback would begin with, told without writing anything."""

from jobs.feedback.learning import load_rounds
from jobs.feedback.pull import at_hand, check_named, counted
from jobs.pairs import count_pairs
from jobs.run import Run
from mpo_core.proxy.episodes import scores_of
from mpo_core.proxy.planners import read_planners
from mpo_core.proxy.store import Store

SHIPPED = "builtin:"


def pairs_ahead(run: Run, store: Store) -> int:
    """Pairs to train on that the rewards since the last round make, by the config's rule.

    Raises:
        InputError: as of `check_named`.
    """
    ended = [one for one in load_rounds(run) if one.state != "begun"]
    tasks, arms = at_hand(run, store)
    check_named(run, arms)
    since = counted(run, arms[ended[-1].end if ended else 0 :])
    versions = run.config.feedback.planners
    of_round = [one for one in since if not versions or one.planner in versions]
    return count_pairs(run, tasks, scores_of(of_round))


def trainings_ahead(run: Run, store: Store) -> str:
    """What the next `mpo run` would train, and why, in a line."""
    rounds, named = load_rounds(run), ", ".join(run.config.trainings)
    if rounds and rounds[-1].state == "begun":
        return f"{named}, of round {rounds[-1].number}, which is under way"
    found, least = pairs_ahead(run, store), run.config.feedback.least_pairs
    begins = named if found >= least else "none"
    canary = ", once the canary is judged" if rounds and rounds[-1].state == "canary" else ""
    return f"{begins}: {found} pairs of plans of the {least} that a round waits for{canary}"


def other_planner(run: Run) -> str:
    """That the weights to train are the suite's small model though the proxy's planner is another
    one behind an endpoint, in a line; empty where they are not."""
    known = read_planners(run.config.proxy.folder)
    source = run.config.models_with_source.get(run.config.planner.model)
    if known is None or source is None or not source.source.startswith(SHIPPED):
        return ""
    asked = known.versions[known.current]
    small = source.source.removeprefix(SHIPPED)
    if asked.model is None or small.startswith(asked.model.rpartition("/")[2].lower()):
        return ""
    key = f"models.{run.config.planner.model}.source"
    return (
        f"{key}: trains {source.source}, and the proxy's planner {known.current} is {asked.model} "
        f"at {asked.endpoint}; set {key} to the folder of its weights"
    )
