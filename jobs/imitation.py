"""Whether SFT has reached the teacher that it imitates, found out before plans are scored.

A planner that falls short of its teacher gains by any further training, whatever its scores say:
what the preferences then seem to teach may be what SFT still owed.
"""

from collections.abc import Sequence

from jobs.plans import collect_plans
from jobs.rollout import VALIDATION, episode_requests, play
from jobs.run import Run
from jobs.tasks import set_apart
from mpo_core.errors import InputError
from mpo_core.evaluation import Attempt, compare, shown_above, task_results
from mpo_core.report.gain import difference
from mpo_core.types import Plan, Task


def tasks_to_match_on(run: Run, tasks: Sequence[Task]) -> list[Task]:
    """Of the training tasks, those for validation. Raises InputError where there is none."""
    apart = set_apart(tasks, run.config.validation)
    if not apart:
        raise InputError(
            f"planner.match_teacher: no task to measure on: validation={run.config.validation} of "
            f"{len(tasks)} training tasks is none; raise one of them"
        )
    return apart


def require_teacher_matched(run: Run, tasks: Sequence[Task], seeds: Sequence[Plan]) -> None:
    """Play the teacher's and the SFT planner's plans of the validation tasks: one plan a task, and
    `evaluation.plan_samples`.

    Raises:
        InputError: the teacher's plans earn more, by an interval over the tasks; it has made none
            of these; or there is no validation task.
    """
    apart = tasks_to_match_on(run, tasks)
    attempts, resamples = _attempts(run, apart, seeds), run.config.evaluation.bootstrap
    if not any(attempt.arm == "teacher" for attempt in attempts):
        raise InputError(
            f"planner.match_teacher: the teacher has made no plan of the {len(apart)} validation "
            "tasks (`mpo collect` says why); raise validation or seeds.resamples"
        )
    found = compare(task_results(attempts, run.config.seed), resamples)
    measured = {"one plan a task": found, "sampled plans": found.get("sampled", {"paired": []})}
    for what, of_plans in measured.items():
        for row in of_plans["paired"]:
            # `paired` compares every arm with SFT.
            if shown_above(row):
                raise InputError(
                    f"planner.match_teacher: SFT falls short of its teacher on the {row['n']} "
                    f"validation tasks of {row['env']}: with {what}, teacher minus SFT is "
                    f"{difference(row)}; raise planner.sft.epochs or seeds.per_task in a run of "
                    "another name, or go on all the same by planner.match_teacher=false"
                )


def _attempts(run: Run, tasks: Sequence[Task], seeds: Sequence[Plan]) -> list[Attempt]:
    evaluation = run.config.evaluation
    of_tasks = {task.id: task for task in tasks}
    seeds = [plan for plan in seeds if plan.task_id in of_tasks]
    plans = {("teacher", False): [plan for plan in seeds if plan.sample == 0]}
    plans["sft", False] = collect_plans(run, "sft", "validation", tasks)
    if evaluation.plan_samples:
        drawn = [plan for plan in seeds if plan.sample < evaluation.plan_samples]
        plans["teacher", True] = drawn
        samples = evaluation.plan_samples
        plans["sft", True] = collect_plans(run, "sft", "validation", tasks, samples)
    requests = {
        of: episode_requests(run, tasks, made, evaluation.repetitions, evaluation.temperature)
        for of, made in plans.items()
    }
    episodes = play(run, VALIDATION, [one for of_arm in requests.values() for one in of_arm])
    return [
        Attempt(arm, of_tasks[request.task.id], episodes[request.key], sampled)
        for (arm, sampled), of_arm in requests.items()
        for request in of_arm
    ]
