"""`scoring.repetitions: auto`: the attempts of each plan, and what they do to its score."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core import attempts
from mpo_core.attempts import all_attempts, first_attempts, least_attempts, spread, total_attempts
from mpo_core.types import Plan, PlanScore

Rates = np.ndarray
"""Tasks x plans: each plan's true success rate."""


def plans_of(sizes: list[int]) -> list[Plan]:
    """So many plans of each task; their ids say whose they are."""
    return [
        Plan(id=f"{t}/{k}", task_id=str(t), text=f"Step 1: {k}.", origin="test")
        for t, size in enumerate(sizes)
        for k in range(size)
    ]


some_rewards = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@st.composite
def first_batches(draw) -> tuple[list[Plan], dict[str, list[float]], float, int]:
    """Plans, the rewards of their first batch, and the limits."""
    plans = plans_of(draw(st.lists(st.integers(1, 5), min_size=1, max_size=6)))
    most = draw(st.integers(2, 6))
    mean = draw(st.floats(1, most))
    rewards = {
        plan_id: draw(st.lists(some_rewards, min_size=n, max_size=n))
        for plan_id, n in first_attempts(plans, mean).items()
    }
    return plans, rewards, mean, most


@given(first_batches(), st.data())
def test_no_plans_own_rewards_decide_how_often_it_is_tried(batch, data):
    plans, rewards, mean, most = batch
    own = data.draw(st.sampled_from(plans)).id
    size = len(rewards[own])
    other = rewards | {own: data.draw(st.lists(some_rewards, min_size=size, max_size=size))}
    assert (
        all_attempts(plans, rewards, mean, most)[own] == all_attempts(plans, other, mean, most)[own]
    )


@pytest.mark.parametrize("place", range(4))
def test_nor_do_the_rewards_of_the_plans_that_compete_with_it(place):
    """Whose place in their task is the same: all of them win, or all of them lose."""
    plans, rng = plans_of([4] * 60), np.random.default_rng(place)
    drawn = {p.id: rng.binomial(1, rng.random(), 2).astype(float).tolist() for p in plans}
    competing = [f"{t}/{place}" for t in range(0, 60, 2)]
    lost, won = (
        all_attempts(plans, drawn | {plan_id: [reward] * 2 for plan_id in competing}, 2.6, 5)
        for reward in (0.0, 1.0)
    )
    assert [lost[plan_id] for plan_id in competing] == [won[plan_id] for plan_id in competing]
    assert lost != won
    assert len({lost[plan_id] for plan_id in competing}) > 1


@given(first_batches())
def test_attempts_keep_within_the_total_and_the_most_of_a_plan(batch):
    plans, rewards, mean, most = batch
    first, given_out = first_attempts(plans, mean), all_attempts(plans, rewards, mean, most)
    assert given_out.keys() == {plan.id for plan in plans}
    assert all(first[plan_id] <= n <= most for plan_id, n in given_out.items())
    assert sum(first.values()) == least_attempts(len(plans), mean)
    assert sum(given_out.values()) <= total_attempts(len(plans), mean) <= len(plans) * mean + 1e-9


@given(first_batches(), st.lists(some_rewards, min_size=1, max_size=3))
def test_what_was_chosen_stays_chosen_while_its_attempts_come_in(batch, later):
    plans, rewards, mean, most = batch
    chosen = all_attempts(plans, rewards, mean, most)
    grown = {plan_id: [*of_plan, *later] for plan_id, of_plan in reversed(rewards.items())}
    assert all_attempts(plans, grown, mean, most) == chosen
    assert all_attempts([*plans, *plans], rewards, mean, most) == chosen, "the same plans again"


def test_rewards_of_further_attempts_decide_nothing():
    plans = plans_of([4] * 40)
    first = first_attempts(plans, 3)
    rewards = {plan.id: [float(plan.id[-1] > "1")] * first[plan.id] for plan in plans}
    grown = {plan_id: [*of_plan, 1 - of_plan[0]] for plan_id, of_plan in rewards.items()}
    assert all_attempts(plans, rewards, 3, 5) == all_attempts(plans, grown, 3, 5) == first


@pytest.mark.parametrize(("plans", "mean", "total"), [(10, 2.3, 23), (100, 1.15, 115), (3, 1.5, 4)])
def test_the_total_is_no_attempt_short_by_a_rounding(plans, mean, total):
    assert total_attempts(plans, mean) == total


def rates(seed: int, tasks: int, plans: int, hopeless: float = 0.6) -> Rates:
    """Tasks of all kinds of hardness, plans of all kinds of worth, a noisy agent."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.2, (tasks, 1)) + rng.normal(0, 1, (tasks, plans))
    return np.where(rng.random((tasks, 1)) < hopeless, 0.02, 1 / (1 + np.exp(-logits)))


def by_auto(plans: list[Plan], drawn: dict[str, list[float]]) -> dict[str, int]:
    return all_attempts(plans, drawn, 1.6, 5)


def by_own_reward(plans: list[Plan], drawn: dict[str, list[float]]) -> dict[str, int]:
    """Further attempts for those that are best so far, as a rule of elimination has it."""
    best: dict[str, float] = {}
    for plan in plans:
        best[plan.task_id] = max(best.get(plan.task_id, 0), drawn[plan.id][0])
    return {p.id: 3 if drawn[p.id][0] == best[p.task_id] else 1 for p in plans}


Rule = Callable[[list[Plan], dict[str, list[float]]], dict[str, int]]


def scored(rule: Rule, truth: Rates, seed: int) -> list[tuple[PlanScore, float]]:
    """Scores by the rule of plans of these success rates, each with its plan's."""
    rng, plans = np.random.default_rng(seed), plans_of([truth.shape[1]] * len(truth))
    of_plan = dict(zip((p.id for p in plans), truth.flat, strict=True))
    drawn = {i: rng.binomial(1, p, 5).astype(float).tolist() for i, p in of_plan.items()}
    tried = rule(plans, drawn)
    return [
        (PlanScore.of(p.task_id, p.id, drawn[p.id][: tried[p.id]]), of_plan[p.id]) for p in plans
    ]


def z(errors: list[float]) -> float:
    """The mean error in its own standard errors: within 4 of 0 where there is no bias."""
    return float(np.mean(errors) / (np.std(errors) / sqrt(len(errors))))


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "biased"), [(by_auto, False), (by_own_reward, True)])
def test_scores_are_unbiased_unless_own_rewards_decide_on_further_attempts(rule, biased):
    found = [one for seed in range(3) for one in scored(rule, rates(seed, 1500, 4), seed)]
    errors: dict[int, list[float]] = {}
    for score, truth in found:
        errors.setdefault(score.n, []).append(score.mean - truth)
    assert len(errors) >= 2, "all plans were tried as often"
    of_all = z([score.mean - truth for score, truth in found])
    assert abs(of_all) > 10 if biased else abs(of_all) < 4
    # Nor is a score biased once it is known how often the plan was tried.
    worst = max(abs(z(of_n)) for of_n in errors.values() if len(of_n) > 100)
    assert worst > 10 if biased else worst < 4


@pytest.mark.slow
def test_standard_errors_are_those_of_the_means():
    found = scored(by_auto, rates(7, 3000, 4), 7)
    several = [(score, truth) for score, truth in found if score.n > 1]
    assert len({score.n for score, _ in several}) > 1
    assert abs(z([score.stderr**2 - p * (1 - p) / score.n for score, p in several])) < 4


def spent(truth: Rates, mean: float = 2.5) -> float:
    """Attempts a plan."""
    return float(np.mean([score.n for score, _ in scored(partial_auto(mean), truth, 0)]))


def partial_auto(mean: float) -> Rule:
    return lambda plans, drawn: all_attempts(plans, drawn, mean, 5)


def test_an_agent_without_noise_is_tried_little_and_a_noisy_one_as_often_as_may_be():
    noisy = rates(1, 200, 5, hopeless=0)
    settled = np.where(noisy > 0.5, 0.995, 0.005)
    assert spent(settled) == pytest.approx(1.1, abs=0.05)
    assert spent(noisy) == pytest.approx(2.5, abs=0.05)


@pytest.mark.slow
def test_attempts_go_where_a_tasks_plans_are_not_told_apart():
    tried: dict[bool, list[int]] = {True: [], False: []}
    for seed in range(4):
        truth = rates(seed, 300, 5, hopeless=0.5)
        for score, _ in scored(partial_auto(1.5), truth, seed):
            tried[bool(truth[int(score.task_id)].max() > 0.02)].append(score.n)
    assert np.mean(tried[True]) > 1.2 * np.mean(tried[False])


@pytest.mark.parametrize(
    ("sizes", "reward"), [([5] * 40, lambda k: 0.5), ([1] * 80, lambda k: float(k % 2))]
)
def test_where_nothing_is_to_be_ranked_no_further_attempt_is_made(sizes, reward):
    """All plans earn the same; every task has a single plan."""
    plans = plans_of(sizes)
    rewards = {plan.id: [reward(k)] * 2 for k, plan in enumerate(plans)}
    assert sum(all_attempts(plans, rewards, 3, 5).values()) == least_attempts(len(plans), 3)


def test_how_many_attempts_a_plan_may_get_costs_no_time():
    plans = plans_of([5] * 20)
    rewards = {plan.id: [float(k % 3 == 0)] * 2 for k, plan in enumerate(plans)}
    chosen = [all_attempts(plans, rewards, 4, most) for most in (100, 10**12)]
    assert chosen[0] == chosen[1]


def test_a_few_repetitions_that_agree_do_not_show_that_there_is_no_noise():
    plans = plans_of([3])
    rewards = {plan.id: [float(k == 0)] * 2 for k, plan in enumerate(plans)}
    assert sum(all_attempts(plans, rewards, 3, 5).values()) > least_attempts(3, 3)


def test_first_rewards_that_agree_by_chance_do_not_end_it():
    plans = plans_of([3] * 4)
    rewards = {plan.id: [0.0, float(plan.id == "0/1")] for plan in plans}
    assert sum(all_attempts(plans, rewards, 3, 5).values()) > least_attempts(12, 3)


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_a_noisy_agents_plans_are_tried_again_however_many_a_task_has(size):
    assert spent(rates(4, 100, size, hopeless=0)) == pytest.approx(2.5, abs=0.05)


@pytest.mark.slow
def test_the_noise_of_attempts_is_estimated_from_the_plans_tried_twice():
    truth = rates(3, 2000, 4, hopeless=0)
    found = scored(lambda plans, drawn: dict.fromkeys(drawn, 2), truth, 3)
    by_task: dict[str, list[tuple[float, ...]]] = {}
    for score, _ in found:
        by_task.setdefault(score.task_id, []).append(score.rewards)
    pooled = spread(list(by_task.values()))
    noise = (truth * (1 - truth)).mean()
    within = truth.var(axis=1, ddof=1).mean() + noise
    assert pooled.mean == pytest.approx(truth.mean(), abs=0.01)
    assert pooled.within_tasks == pytest.approx(within, abs=0.01)
    assert pooled.noise == pytest.approx(noise / within, abs=0.03)
    shared = np.cov(truth[:, 0], truth[:, 1])[0, 1]  # What a task's plans have in common.
    assert pooled.between_tasks == pytest.approx(shared, abs=0.01)


def test_plans_tried_twice_are_drawn_by_no_reward_and_from_all_tasks():
    plans = plans_of([5] * 200)
    first = first_attempts(plans, 2.5)
    twice = [plan_id for plan_id, n in first.items() if n == 2]
    assert Counter(first.values()) == {1: 900, 2: 100}
    assert len({plan_id.split("/")[0] for plan_id in twice}) > 60
    assert {plan_id.split("/")[1] for plan_id in twice} == set("01234")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6).map(np.cumsum))
def test_batches_are_bought_by_the_best_rate_and_rates_never_rise(values):
    rates = list(attempts._rates(values.tolist()))
    assert len(rates) == len(values) - 1
    assert all(later <= before + 1e-12 for before, later in pairwise(rates))
    assert sum(rates) == pytest.approx(values[-1] - values[0])
