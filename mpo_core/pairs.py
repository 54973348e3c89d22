"""Preference pairs: which of a task's scored plans DPO is shown as better and worse.

A rule chooses among the pairs of a task's plans; plans that score the same are never a pair.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from math import comb, isclose

import numpy as np

from mpo_core.prompts import Prompts
from mpo_core.types import Message, Plan, PlanScore, PreferencePair, Task

Rule = Callable[[Sequence[PlanScore]], Iterator[tuple[PlanScore, PlanScore]]]
"""Chooses (better, worse) pairs among the scores of one task's plans."""
EXACT_SPLITS = 20_000
"""Ways to divide two plans' rewards that are all counted; of more, so many are drawn."""


def best_worst(scores: Sequence[PlanScore]) -> Iterator[tuple[PlanScore, PlanScore]]:
    """The best against the worst plan (MPO, section 3.3 of arXiv 2503.02682).

    Among equals the first sampled plan is taken.
    """
    best = max(scores, key=lambda score: score.mean)
    worst = min(scores, key=lambda score: score.mean)
    if best.mean > worst.mean:
        yield best, worst


def every_pair(scores: Sequence[PlanScore]) -> Iterator[tuple[PlanScore, PlanScore]]:
    """Every two plans that differ, the better one first."""
    for one, other in combinations(scores, 2):
        if one.mean != other.mean:
            yield (one, other) if one.mean > other.mean else (other, one)


RULES: dict[str, tuple[Rule, bool]] = {
    "best_worst": (best_worst, False),
    "margin": (every_pair, False),
    "significant": (every_pair, True),
}
"""Name -> what it considers, and whether the difference must also be significant."""


def make_pairs(
    rule: str,
    tasks: Sequence[Task],
    plans: Sequence[Plan],
    scores: Sequence[PlanScore],
    prompts: Mapping[str, Prompts],
    *,
    min_margin: float = 0.0,
    level: float = 0.05,
) -> list[PreferencePair]:
    """The pairs that a rule of `RULES` chooses, in the order of the tasks.

    Args:
        min_margin: difference of the mean rewards that a pair must exceed.
        level: probability below which chance must explain a difference (rule `significant`).
    """
    consider, significant = RULES[rule]
    by_id = {plan.id: plan for plan in plans}
    by_task: dict[str, list[PlanScore]] = {}
    for score in scores:
        by_task.setdefault(score.task_id, []).append(score)
    return [
        PreferencePair(
            task_id=task.id,
            prompt=prompts[task.env].planner_messages(task.description),
            chosen=_answer(by_id[better.plan_id], prompts[task.env]),
            rejected=_answer(by_id[worse.plan_id], prompts[task.env]),
            chosen_score=better,
            rejected_score=worse,
            rule=rule,
        )
        for task in tasks
        if task.id in by_task
        for better, worse in consider(by_task[task.id])
        if better.mean - worse.mean > min_margin
        and (not significant or chance_of(better.rewards, worse.rewards) < level)
    ]


def chance_of(better: Sequence[float], worse: Sequence[float], seed: int = 0) -> float:
    """Probability that two plans of equal worth would differ by as much or more, in this direction.

    A one-sided permutation test on the difference of the mean rewards: exact for as few episodes
    as plans usually have (five against five: 252 divisions), else by drawing divisions.
    """
    rewards = np.array([*better, *worse], dtype=float)
    observed = float(np.mean(better) - np.mean(worse))
    total, size = rewards.sum(), len(better)
    if comb(len(rewards), size) <= EXACT_SPLITS:
        sums = [sum(part) for part in combinations(rewards, size)]
    else:
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(rewards)[:size].sum() for _ in range(EXACT_SPLITS)]
        # What was observed is one of the divisions, so that the probability is never 0.
        sums = [*drawn, sum(better)]
    differences = [part / size - (total - part) / len(worse) for part in sums]
    as_much = sum(d > observed or isclose(d, observed, abs_tol=1e-9) for d in differences)
    return as_much / len(differences)


def _answer(plan: Plan, prompts: Prompts) -> list[Message]:
    return [{"role": "assistant", "content": prompts.planner_answer(plan.text)}]
