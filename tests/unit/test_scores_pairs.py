from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from math import nextafter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.demonstrations import best_plans
from mpo_core.exact import exact, exact_mean
from mpo_core.pairs import RULES, chance_of, half_turned, make_pairs
from mpo_core.scoring import load_scores, save_scores, score_plans
from mpo_core.types import Plan, PlanScore
from tests.fakes import PROMPTS, episode, request, task


def test_a_score_is_the_mean_of_the_episodes_that_were_asked_for():
    asked = [request(plan="Step 1: A.", repetition=k) for k in range(4)]
    other = request(plan="Step 1: B.")
    episodes = [episode(r, x) for r, x in zip(asked, (0, 0.5, 1, 0.5), strict=True)]
    [score] = score_plans(asked, [*episodes, episode(other, 1.0)])
    assert (score.n, score.mean) == (4, 0.5)
    assert score.stderr == pytest.approx(np.std([0, 0.5, 1, 0.5], ddof=1) / 2)


def test_two_samples_of_one_text_are_one_plan_scored_once():
    asked = [request(plan="Step 1: A."), request(plan="Step 1: A.")]
    [score] = score_plans(asked, [episode(asked[0], 0.25)])
    assert (score.n, score.mean) == (1, 0.25)


def test_a_missing_episode_is_an_error_not_a_smaller_mean():
    asked = [request(repetition=k) for k in range(2)]
    with pytest.raises(ValueError, match="still owed"):
        score_plans(asked, [episode(asked[0], 1.0)])


def test_scores_survive_their_file(tmp_path):
    scores = [PlanScore.of("t", "p", [0, 0, 1 / 3])]
    save_scores(scores, tmp_path / "scores.parquet")
    assert load_scores(tmp_path / "scores.parquet") == scores


def scored(means: list[float], number: int = 0):
    plans = [Plan.of(task(number).id, f"Step 1: {k}.", "test", k) for k in range(len(means))]
    scores = [PlanScore.of(p.task_id, p.id, [m]) for p, m in zip(plans, means, strict=True)]
    return plans, scores


def test_the_best_plan_is_chosen_over_the_worst():
    plans, scores = scored([0.2, 0.9, 0.0, 0.5])
    [pair] = make_pairs("best_worst", [task()], plans, scores, {"toy": PROMPTS})
    assert pair.prompt == [{"role": "user", "content": "Plan for: Open door 0."}]
    assert pair.chosen == [{"role": "assistant", "content": "Step 1: 1."}]
    assert pair.rejected == [{"role": "assistant", "content": "Step 1: 2."}]
    assert (pair.chosen_score.mean, pair.rejected_score.mean) == (0.9, 0.0)


@given(
    st.sampled_from(list(RULES)),
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_a_pair_differs_by_more_than_the_margin_and_ties_give_none(rule, means, margin):
    plans, scores = scored(means)
    pairs = make_pairs(rule, [task()], plans, scores, {"toy": PROMPTS}, min_margin=margin, level=2)
    differences = [abs(a - b) for a, b in combinations(means, 2)]
    above = sum(d > exact(margin) for d in differences)
    if rule in ("margin", "significant"):
        assert len(pairs) == above
    else:
        assert min(above, 1) <= len(pairs) <= (1 if rule == "best_worst" else len(means) // 2)
    for pair in pairs:
        assert pair.chosen_score.exact - pair.rejected_score.exact > exact(margin)
        assert pair.rule == rule
    if rule in ("best_worst", "nested") and pairs:
        assert pairs[0].chosen_score.mean == max(means)
        assert pairs[0].rejected_score.mean == min(means)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=9))
def test_nested_pairs_begin_with_the_papers_and_have_each_plan_once(means):
    plans, scores = scored(means)
    found = {
        rule: [
            (pair.chosen_score.plan_id, pair.rejected_score.plan_id)
            for pair in make_pairs(rule, [task()], plans, scores, {"toy": PROMPTS})
        ]
        for rule in ("best_worst", "nested")
    }
    paired = [plan for pair in found["nested"] for plan in pair]
    assert found["nested"][:1] == found["best_worst"]
    assert len(set(paired)) == len(paired)
    # Where half of the plans are as good and the others as bad, all are paired.
    if len(set(means)) == 2 and means.count(max(means)) * 2 == len(means):
        assert len(paired) == len(means)


def test_plans_are_paired_within_their_task_only():
    one, two = scored([0.0, 0.0], 0), scored([1.0, 1.0], 1)
    tasks = [task(0), task(1)]
    for rule in RULES:
        assert not make_pairs(rule, tasks, one[0] + two[0], one[1] + two[1], {"toy": PROMPTS})


def test_only_what_chance_hardly_explains_is_significant():
    plans = [Plan.of(task().id, f"Step 1: {k}.", "test", k) for k in range(3)]
    rewards = [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 0, 0, 1]]
    scores = [PlanScore.of(p.task_id, p.id, r) for p, r in zip(plans, rewards, strict=True)]
    pairs = make_pairs("significant", [task()], plans, scores, {"toy": PROMPTS}, level=0.05)
    assert [(p.chosen_score.mean, p.rejected_score.mean) for p in pairs] == [(1, 0)]


@pytest.mark.slow
@given(rewards := st.lists(st.sampled_from([0, 0.5, 1]), min_size=2, max_size=5), rewards)
def test_the_chance_of_a_difference_is_scipys(better, worse):
    from scipy.stats import permutation_test

    theirs = permutation_test(
        (better, worse),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        vectorized=True,
        alternative="greater",
        n_resamples=np.inf,
    )
    assert chance_of(better, worse) == pytest.approx(theirs.pvalue)


@pytest.mark.slow
def test_of_many_episodes_the_chance_is_estimated_and_never_zero():
    assert 0 < chance_of([1] * 20, [0] * 20) < 1e-3
    assert chance_of([1, 0] * 10, [1, 0] * 10) == pytest.approx(0.62, abs=0.05)


WORLD = {"toy": PROMPTS}


def of_fractions(
    rewards: Sequence[Sequence[Fraction]],
    number: int = 0,
    reported: Callable[[Fraction], float] = float,
):
    """A task's plans and their scores; `reported` gives a reward's float."""
    plans = [Plan.of(task(number).id, f"Step 1: {k}.", "test", k) for k in range(len(rewards))]
    scores = [
        PlanScore.of(plan.task_id, plan.id, [reported(reward) for reward in of_plan])
        for plan, of_plan in zip(plans, rewards, strict=True)
    ]
    return plans, scores


def mean(rewards: Sequence[Fraction]) -> Fraction:
    return sum(rewards, Fraction()) / len(rewards)


shares = st.builds(
    lambda done, of: Fraction(min(done, of), of), st.integers(0, 40), st.integers(1, 40)
)
plans_of_a_task = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(shares, min_size=n, max_size=n), min_size=2, max_size=5)
)


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.sampled_from([0.0, 1.0]))
def test_a_float_stands_for_the_share_it_was_made_of(done, of, towards):
    share = Fraction(min(done, of), of)
    assert exact(float(share)) == exact(nextafter(float(share), towards)) == share


@given(st.floats(0, 1), st.floats(0, 1))
def test_floats_that_stand_for_no_share_keep_their_value_and_order(one, other):
    assert abs(exact(one) - Fraction(one)) <= Fraction(1, 10**13)
    if one - other > 1e-12:
        assert exact(one) > exact(other)


@given(st.lists(shares, min_size=1, max_size=8), st.randoms())
def test_a_mean_is_that_of_the_shares_in_any_order(rewards, chance):
    floats = [float(reward) for reward in rewards]
    chance.shuffle(floats)
    assert exact_mean(floats) == mean(rewards)


@given(plans_of_a_task, shares)
def test_the_rules_choose_what_they_choose_on_the_shares_themselves(rewards, margin):
    plans, scores = of_fractions(rewards)
    means = {plan.id: mean(of_plan) for plan, of_plan in zip(plans, rewards, strict=True)}
    order = [plan.id for plan in plans]
    best = max(order, key=means.get)
    expected = {
        "best_worst": [(best, min(order, key=means.get))],
        "margin": [sorted(two, key=means.get, reverse=True) for two in combinations(order, 2)],
    }
    for rule, considered in expected.items():
        pairs = make_pairs(rule, [task()], plans, scores, WORLD, min_margin=float(margin))
        assert [(pair.chosen_score.plan_id, pair.rejected_score.plan_id) for pair in pairs] == [
            (one, other) for one, other in considered if means[one] - means[other] > margin
        ]
    [(_, imitated)] = best_plans([task()], plans, scores)
    assert imitated.id == best


@given(plans_of_a_task)
def test_chance_counts_the_divisions_that_differ_as_much_on_the_shares_themselves(rewards):
    better, worse = rewards[:2]
    together = [*better, *worse]
    divisions = [
        mean([together[i] for i in chosen])
        - mean([together[i] for i in range(len(together)) if i not in chosen])
        for chosen in combinations(range(len(together)), len(better))
    ]
    as_much = sum(division >= mean(better) - mean(worse) for division in divisions)
    floats = [[float(reward) for reward in of_plan] for of_plan in (better, worse)]
    assert chance_of(*floats) == as_much / len(divisions)


def simulated_tasks(n: int) -> Iterator[tuple[list[list[Fraction]], list[Plan], list[PlanScore]]]:
    """Tasks of five plans, five episodes each: the true rewards, the plans and their scores.

    ScienceWorld's rewards: the share of subgoals done, and a share of one more for optional ones,
    which its floats add up one by one.
    """
    chance = Random(0)
    for number in range(n):
        subgoals, optional = chance.randint(3, 12), chance.randint(1, 6)
        floats = {}
        for done in range(subgoals):
            for extra in range(optional + 1):
                share = Fraction(done, subgoals) + Fraction(extra, optional * (subgoals + 1))
                added = sum([1 / (subgoals + 1) / optional] * extra)
                floats[min(share, Fraction(1))] = min(done / subgoals + added, 1.0)
        reachable = chance.sample(sorted(floats), 3)
        rewards = [[chance.choice(reachable) for _ in range(5)] for _ in range(5)]
        yield rewards, *of_fractions(rewards, number, floats.get)


@pytest.mark.slow
def test_plans_that_truly_tie_are_never_a_pair():
    tied = 0
    for number, (rewards, plans, scores) in enumerate(simulated_tasks(400)):
        for one, other in combinations(range(5), 2):
            if mean(rewards[one]) == mean(rewards[other]):
                tied += 1
                two = [scores[one], scores[other]]
                for rule in RULES:
                    assert not make_pairs(rule, [task(number)], plans, two, WORLD, level=2)
    assert tied > 300


@pytest.mark.slow
def test_the_papers_rule_gives_the_pairs_of_exact_rewards_on_every_task():
    for number, (rewards, plans, scores) in enumerate(simulated_tasks(400)):
        means = [mean(of_plan) for of_plan in rewards]
        best, worst = means.index(max(means)), means.index(min(means))
        pairs = make_pairs("best_worst", [task(number)], plans, scores, WORLD)
        found = [(pair.chosen_score.plan_id, pair.rejected_score.plan_id) for pair in pairs]
        assert found == [(plans[best].id, plans[worst].id)] * (means[best] > means[worst])


def test_a_difference_of_exactly_the_margin_is_none():
    plans, scores = of_fractions([[Fraction(6, 10)], [Fraction(5, 10)], [Fraction(3, 10)]])
    for margin, expected in ((0.1, 2), (0.2, 1), (0.3, 0)):
        pairs = make_pairs("margin", [task()], plans, scores, WORLD, min_margin=margin)
        assert len(pairs) == expected


def test_rewards_in_whole_hundredths_of_an_older_run_are_compared_as_such():
    plans, scores = of_fractions([[Fraction(8, 100), Fraction(92, 100)], [Fraction(1, 2)] * 2])
    assert not make_pairs("margin", [task()], plans, scores, WORLD)


def paired_tasks(means: list[list[float]], types: int):
    """The pairs of tasks of several types, of all plans that differ."""
    tasks = [task(k).model_copy(update={"type": f"type {k % types}"}) for k in range(len(means))]
    found = [scored(of_task, k) for k, of_task in enumerate(means)]
    plans = [plan for of_task, _ in found for plan in of_task]
    scores = [score for _, of_task in found for score in of_task]
    return tasks, make_pairs("margin", tasks, plans, scores, WORLD)


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=4), max_size=12),
    st.integers(1, 3),
    st.integers(0, 9),
)
def test_a_control_has_the_same_pairs_exactly_half_of_them_the_wrong_way_round(means, types, seed):
    tasks, pairs = paired_tasks(means, types)
    mixed = half_turned(pairs, tasks, seed)
    assert mixed == half_turned(pairs, tasks, seed)
    plans = [(p.task_id, {p.chosen[0]["content"], p.rejected[0]["content"]}) for p in pairs]
    assert plans == [(p.task_id, {p.chosen[0]["content"], p.rejected[0]["content"]}) for p in mixed]
    by_type = {one.id: one.type for one in tasks}
    for part in ("all", *by_type, *by_type.values()):
        right = [
            pair.chosen_score.mean > pair.rejected_score.mean
            for pair in mixed
            if part in ("all", pair.task_id, by_type[pair.task_id])
        ]
        assert abs(2 * sum(right) - len(right)) <= 1
    # The evidence stays with its plan.
    of_text = {p.chosen[0]["content"] + p.task_id: p.chosen_score for p in pairs}
    of_text |= {p.rejected[0]["content"] + p.task_id: p.rejected_score for p in pairs}
    for pair in mixed:
        assert of_text[pair.chosen[0]["content"] + pair.task_id] == pair.chosen_score
        assert of_text[pair.rejected[0]["content"] + pair.task_id] == pair.rejected_score


def test_each_seed_turns_other_pairs_and_every_pair_as_often_as_not():
    tasks, pairs = paired_tasks([[1.0, 0.0]] * 20, 2)
    mixed = [half_turned(pairs, tasks, seed) for seed in range(200)]
    assert len({tuple(pair.chosen_score.mean for pair in found) for found in mixed}) > 100
    for k in range(20):
        assert 60 < sum(found[k] == pairs[k] for found in mixed) < 140
