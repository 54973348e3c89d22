"""Preference pairs: which of a task's scored plans DPO is shown as better and worse.

A rule chooses among the pairs of a task's plans; plans that score the same are never a pair.
Scores are compared exactly (see `mpo_core.exact`), differences and margins too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from math import comb, lcm
from random import Random

import numpy as np

from mpo_core.exact import exact
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
    best = max(scores, key=lambda score: score.exact)
    worst = min(scores, key=lambda score: score.exact)
    if best.exact > worst.exact:
        yield best, worst


def nested(scores: Sequence[PlanScore]) -> Iterator[tuple[PlanScore, PlanScore]]:
    """The best against the worst plan, the second best against the second worst, and so on: each
    plan in one pair at most.

    Of equals the first sampled come first, among the best as among the worst.
    """
    half = len(scores) // 2
    best = sorted(scores, key=lambda score: score.exact, reverse=True)[:half]
    worst = sorted(scores, key=lambda score: score.exact)[:half]
    for better, worse in zip(best, worst, strict=True):
        if better.exact > worse.exact:
            yield better, worse


def every_pair(scores: Sequence[PlanScore]) -> Iterator[tuple[PlanScore, PlanScore]]:
    """Every two plans that differ, the better one first."""
    for one, other in combinations(scores, 2):
        if one.exact != other.exact:
            yield (one, other) if one.exact > other.exact else (other, one)


RULES: dict[str, tuple[Rule, bool]] = {
    "best_worst": (best_worst, False),
    "nested": (nested, False),
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
    by_id = {plan.id: plan for plan in plans}
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
        for task, better, worse in chosen_pairs(
            rule, tasks, scores, min_margin=min_margin, level=level
        )
    ]


def chosen_pairs(
    rule: str,
    tasks: Sequence[Task],
    scores: Sequence[PlanScore],
    *,
    min_margin: float = 0.0,
    level: float = 0.05,
) -> Iterator[tuple[Task, PlanScore, PlanScore]]:
    """What `make_pairs` makes its pairs of: a task and the scores of its better and worse plan."""
    consider, significant = RULES[rule]
    by_task: dict[str, list[PlanScore]] = {}
    for score in scores:
        by_task.setdefault(score.task_id, []).append(score)
    for task in (task for task in tasks if task.id in by_task):
        for better, worse in consider(by_task[task.id]):
            if better.exact - worse.exact <= exact(min_margin):
                continue
            if not significant or chance_of(better.rewards, worse.rewards) < level:
                yield task, better, worse


def half_turned(
    pairs: Sequence[PreferencePair], tasks: Sequence[Task], seed: int
) -> list[PreferencePair]:
    """The control's pairs: the same ones, exactly half of them the wrong way round.

    In those the two plans have exchanged their scores. So what is trained on them sees the same
    plans of the same tasks, as often and with the same differences of score, but nothing ties the
    scores to the plans: it must not gain.

    Scores permuted by chance would leave the control some of the truth, or of its contrary: among
    100 pairs ten more the right way round than the wrong one, or as many fewer, are nothing
    unusual. Here the count is equal, within one, in all, in every type of task and in every task.
    Which pairs are turned is the seed's.

    Returns:
        The pairs in their order, the scores with their own plans: a turned pair's chosen plan has
        the lower one.
    """
    types = {task.id: (task.env, task.type) for task in tasks}
    chance = Random(f"turned/{seed}")
    places = {task_id: chance.random() for task_id in dict.fromkeys(p.task_id for p in pairs)}
    order = sorted(
        range(len(pairs)),
        key=lambda k: (types[pairs[k].task_id], places[pairs[k].task_id], chance.random()),
    )
    turned = set(order[chance.randrange(2) :: 2])
    return [
        pair.model_copy(
            update={
                "chosen": pair.rejected,
                "rejected": pair.chosen,
                "chosen_score": pair.rejected_score,
                "rejected_score": pair.chosen_score,
            }
        )
        if k in turned
        else pair
        for k, pair in enumerate(pairs)
    ]


def chance_of(better: Sequence[float], worse: Sequence[float], seed: int = 0) -> float:
    """Probability that two plans of equal worth would differ by as much or more, in this direction.

    A one-sided permutation test on the difference of the mean rewards: exact for as few episodes
    as plans usually have (five against five: 252 divisions), else by drawing divisions.
    """
    fractions = [exact(reward) for reward in (*better, *worse)]
    unit = lcm(*(fraction.denominator for fraction in fractions))
    # Whole numbers of one unit: which sums are as large is then exact.
    rewards, size = [int(fraction * unit) for fraction in fractions], len(better)
    observed = sum(rewards[:size])
    if comb(len(rewards), size) <= EXACT_SPLITS:
        sums = [sum(part) for part in combinations(rewards, size)]
    else:
        rng, whole = np.random.default_rng(seed), np.array(rewards, dtype=object)
        drawn = [rng.permutation(whole)[:size].sum() for _ in range(EXACT_SPLITS)]
        # What was observed is one of the divisions, so that the probability is never 0.
        sums = [*drawn, observed]
    # The difference of the means grows with the sum of the better side.
    return sum(part >= observed for part in sums) / len(sums)


def _answer(plan: Plan, prompts: Prompts) -> list[Message]:
    return [{"role": "assistant", "content": prompts.planner_answer(plan.text)}]
