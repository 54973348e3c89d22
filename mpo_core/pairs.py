"""Preference pairs: which of a task's scored plans DPO is shown as better and worse."""

from collections.abc import Mapping, Sequence

from mpo_core.prompts import Prompts
from mpo_core.types import Plan, PlanScore, PreferencePair, Task


def best_worst(
    tasks: Sequence[Task],
    plans: Sequence[Plan],
    scores: Sequence[PlanScore],
    prompts: Mapping[str, Prompts],
    min_margin: float = 0.0,
) -> list[PreferencePair]:
    """The best against the worst plan of each task (MPO, section 3.3 of arXiv 2503.02682).

    Tasks whose plans tie, or differ by no more than `min_margin`, give none. Among equals the
    first sampled plan is taken.
    """
    by_id = {plan.id: plan for plan in plans}
    by_task: dict[str, list[PlanScore]] = {}
    for score in scores:
        by_task.setdefault(score.task_id, []).append(score)
    pairs = []
    for task in tasks:
        scored = by_task.get(task.id, [])
        if not scored:
            continue
        best = max(scored, key=lambda score: score.mean)
        worst = min(scored, key=lambda score: score.mean)
        if best.mean - worst.mean <= min_margin:
            continue
        pairs.append(
            PreferencePair(
                task_id=task.id,
                prompt=prompts[task.env].planner_messages(task.description),
                chosen=_answer(by_id[best.plan_id]),
                rejected=_answer(by_id[worst.plan_id]),
                chosen_score=best,
                rejected_score=worst,
                rule="best_worst",
            )
        )
    return pairs


def _answer(plan: Plan) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": plan.text}]
