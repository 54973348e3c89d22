"""Advantages: how much better each plan did than the other plans of its task.

A plan's advantage is its mean reward minus the mean over its task's plans, in standard deviations
of these (GRPO's, Shao et al. 2024, arXiv 2402.03300). What makes a task hard or its rewards spread
wide is then taken out, and only the plan is left. Every sampled plan counts, one that was drawn
twice counts twice, since the mean is that of what the planner writes.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import sqrt

from mpo_core.demonstrations import of_plan
from mpo_core.exact import mean_of
from mpo_core.prompts import Prompts
from mpo_core.types import Plan, PlanScore, ScoredAnswer, Task


def advantages(rewards: Sequence[Fraction]) -> list[float]:
    """The advantage of each of a task's plans by their mean rewards; all 0 where these tie.

    They sum to 0, and their squares to the number of plans (the deviation is the population's).
    """
    mean = mean_of(rewards)
    variance = mean_of([(reward - mean) ** 2 for reward in rewards])
    return [float(reward - mean) / sqrt(variance) if variance else 0.0 for reward in rewards]


def scored_answers(
    tasks: Sequence[Task],
    plans: Sequence[Plan],
    scores: Sequence[PlanScore],
    prompts: Mapping[str, Prompts],
) -> list[ScoredAnswer]:
    """All sampled plans that have a score, in the order of the tasks and of their sampling."""
    answers = []
    for task, of_task in _by_task(tasks, plans, scores):
        found = advantages([score.exact for _, score in of_task])
        for (plan, score), advantage in zip(of_task, found, strict=True):
            shown = of_plan(plan, task, prompts)
            answers.append(
                ScoredAnswer(
                    task_id=task.id,
                    prompt=shown.prompt,
                    completion=shown.completion,
                    advantage=advantage,
                    score=score,
                )
            )
    return answers


def plans_above_mean(
    tasks: Sequence[Task], plans: Sequence[Plan], scores: Sequence[PlanScore]
) -> list[tuple[Task, Plan]]:
    """Every plan that did better than its task's mean, once; none of a task whose plans tie."""
    found: dict[str, tuple[Task, Plan]] = {}
    for task, of_task in _by_task(tasks, plans, scores):
        mean = mean_of([score.exact for _, score in of_task])
        for plan, score in of_task:
            if score.exact > mean:
                found.setdefault(plan.id, (task, plan))
    return list(found.values())


def _by_task(
    tasks: Sequence[Task], plans: Sequence[Plan], scores: Sequence[PlanScore]
) -> list[tuple[Task, list[tuple[Plan, PlanScore]]]]:
    """The scored plans of each task that has some."""
    by_plan = {score.plan_id: score for score in scores}
    of_task: dict[str, list[tuple[Plan, PlanScore]]] = {}
    for plan in plans:
        if plan.id in by_plan:
            of_task.setdefault(plan.task_id, []).append((plan, by_plan[plan.id]))
    return [(task, of_task[task.id]) for task in tasks if task.id in of_task]
