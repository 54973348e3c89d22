from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from mpo_core.pairs import RULES, chance_of, make_pairs
from mpo_core.scoring import load_scores, save_scores, score_plans, shuffled
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


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 9))
def test_shuffled_scores_are_the_tasks_own_in_another_order(rewards, seed):
    scores = [PlanScore.of(t, f"p{k}", [r]) for t in ("a", "b") for k, r in enumerate(rewards)]
    mixed = shuffled(scores, seed)
    assert [(s.task_id, s.plan_id) for s in mixed] == [(s.task_id, s.plan_id) for s in scores]
    for name in ("a", "b"):
        assert sorted(s.mean for s in mixed if s.task_id == name) == sorted(rewards)
    assert shuffled(scores, seed) == mixed


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
    above = sum(d > margin for d in differences)
    assert len(pairs) == (min(above, 1) if rule == "best_worst" else above)
    for pair in pairs:
        assert pair.chosen_score.mean - pair.rejected_score.mean > margin
        assert pair.rule == rule
    if rule == "best_worst" and pairs:
        assert pairs[0].chosen_score.mean == max(means)
        assert pairs[0].rejected_score.mean == min(means)


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


@given(rewards := st.lists(st.sampled_from([0, 0.5, 1]), min_size=2, max_size=5), rewards)
def test_the_chance_of_a_difference_is_scipys(better, worse):
    theirs = permutation_test(
        (better, worse),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        vectorized=True,
        alternative="greater",
        n_resamples=np.inf,
    )
    assert chance_of(better, worse) == pytest.approx(theirs.pvalue)


def test_of_many_episodes_the_chance_is_estimated_and_never_zero():
    assert 0 < chance_of([1] * 20, [0] * 20) < 1e-3
    assert chance_of([1, 0] * 10, [1, 0] * 10) == pytest.approx(0.62, abs=0.05)
