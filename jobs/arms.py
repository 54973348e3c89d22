"""The arms of an evaluation: whose plans each of them plays, and how many a task."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.collect import TAUGHT, taught_plans
from jobs.plans import collect_plans
from jobs.rollout import episode_requests, expert_requests
from jobs.rounds import final_version, rounds
from jobs.run import Round, Run
from mpo_core.config import ROUND_ARM
from mpo_core.episode import EpisodeRequest
from mpo_core.expert import EXPERT
from mpo_core.formats import bound_plans
from mpo_core.types import Plan, Split, Task


@dataclass(frozen=True)
class Asked:
    """An episode that an arm is owed; several may ask for the same one, whose plans are the same
    text, and each counts it."""

    arm: str
    sampled: bool
    """Whether its plan is one of the planner's several samples."""
    request: EpisodeRequest


def arms_played(run: Run) -> list[str]:
    """The config's arms, but for those of rounds that trained nothing, or before which the rounds
    ended."""
    done = rounds(run)
    trained = {outcome["planner"] for outcome in done if outcome["pairs"]}
    return [
        arm
        for arm in run.config.evaluation.arms
        if not (done and ROUND_ARM.fullmatch(arm)) or trained.issuperset(planners(run, arm))
    ]


def planners(run: Run, arm: str) -> list[str]:
    """The versions of the planner (`Run.planner`) whose plans an arm plays; a task's result is the
    mean over them. None for an arm without a planner."""
    if arm not in run.config.planner_arms:
        return []
    if of_round := ROUND_ARM.fullmatch(arm):
        return [Round.of(run.config, int(of_round[1])).version]
    if arm == "shuffled":
        return list(run.controls)
    return [final_version(run) if arm == "mpo" else arm]


def asked_of(run: Run, arm: str, split: Split, tasks: Sequence[Task]) -> Iterator[Asked]:
    """What an arm plays on the tasks of a split; the plans that are owed for it are made.

    Raises:
        InputError: a task has no plan.
    """
    evaluation = run.config.evaluation
    if arm == EXPERT:
        yield from (Asked(arm, False, request) for request in expert_requests(run, tasks))
        return
    single, samples = _plans(run, arm, split, tasks)
    for sampled, plans in ((False, single), (True, samples)):
        for request in episode_requests(
            run, tasks, plans, evaluation.repetitions, evaluation.temperature
        ):
            yield Asked(arm, sampled, request)


def plans_a_task(run: Run, arm: str) -> int:
    """How many plans of an arm are played on each task; an arm without plans counts as one."""
    samples = run.config.evaluation.plan_samples
    if arm == "teacher":
        return 1 + samples * (run.config.seeds.teacher is not None)
    return len(planners(run, arm)) * (1 + samples) or 1


def _plans(
    run: Run, arm: str, split: Split, tasks: Sequence[Task]
) -> tuple[list[Plan] | None, list[Plan]]:
    """An arm's plans, one a task (None: the agent is given none), and those it samples besides."""
    evaluation = run.config.evaluation
    if arm == "none":
        return None, []
    if arm in evaluation.plan_files:
        return bound_plans(evaluation.plan_files[arm], tasks, run.published_id), []
    if arm in TAUGHT:
        return taught_plans(run, arm, split, tasks)
    single: list[Plan] = []
    samples: list[Plan] = []
    for version in planners(run, arm):
        single += collect_plans(run, version, split, tasks)
        if evaluation.plan_samples:
            samples += collect_plans(run, version, split, tasks, evaluation.plan_samples)
    return single, samples
