"""Scored plans as what a training learns from, as functions of values: the rows of
`mpo_core.training.local.train`."""

from collections.abc import Sequence

from mpo_core import advantages, pairs
from mpo_core.config import PairsConfig, validated
from mpo_core.demonstrations import best_plans, of_plan
from mpo_core.errors import InputError
from mpo_core.setup import Environments
from mpo_core.types import Demonstration, Plan, PlanScore, PreferencePair, ScoredAnswer, Task

PAIRS = PairsConfig()


def make_pairs(
    envs: Environments,
    tasks: Sequence[Task],
    plans: Sequence[Plan],
    scores: Sequence[PlanScore],
    *,
    rule: str = PAIRS.rule,
    min_margin: float = PAIRS.min_margin,
    level: float = PAIRS.level,
) -> list[PreferencePair]:
    """Preference pairs of the tasks' scored plans, the rows of DPO (`prompt`, `chosen`, `rejected`
    as TRL has them) with their evidence. Plans that tie are never a pair.

    Args:
        rule: `best_worst` (the paper's), `nested`, `margin` or `significant`.
        min_margin: difference of the mean rewards that a pair must exceed, 0..1.
        level: for `significant`, the probability below which chance must explain the difference.

    Raises:
        InputError: an unknown rule, or a number out of its range.

    Example:
        >>> rows = make_pairs(envs, train, plans, scores)
    """
    asked = {"rule": rule, "min_margin": min_margin, "level": level}
    config = validated(PairsConfig, asked, "make_pairs")
    return pairs.make_pairs(
        config.rule,
        tasks,
        plans,
        scores,
        envs.prompts,
        min_margin=config.min_margin,
        level=config.level,
    )


def make_demonstrations(
    envs: Environments,
    tasks: Sequence[Task],
    plans: Sequence[Plan],
    scores: Sequence[PlanScore] | None = None,
) -> list[Demonstration]:
    """Plans to imitate, the rows of SFT: all of these or, with scores, the best scored one of each
    task (RFT).

    Raises:
        InputError: a plan belongs to none of the tasks.

    Example:
        >>> rft = train(make_demonstrations(envs, train, plans, scores), planner, "planner/rft")
    """
    by_id = {task.id: task for task in tasks}
    if scores is not None:
        best = best_plans(tasks, plans, scores)
        return [of_plan(plan, task, envs.prompts) for task, plan in best]
    for plan in plans:
        if plan.task_id not in by_id:
            raise InputError(
                f"make_demonstrations: {plan.task_id} has a plan and is not among the tasks"
            )
    return [of_plan(plan, by_id[plan.task_id], envs.prompts) for plan in plans]


def scored_answers(
    envs: Environments,
    tasks: Sequence[Task],
    plans: Sequence[Plan],
    scores: Sequence[PlanScore],
) -> list[ScoredAnswer]:
    """All scored plans with their advantage (how many standard deviations better than the mean of
    their task's plans), the rows of policy gradient.

    Example:
        >>> pg = train(scored_answers(envs, train, plans, scores), planner, "planner/pg")
    """
    return advantages.scored_answers(tasks, plans, scores, envs.prompts)
