"""Arms of an A/B test by callers' rewards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.proxy.differences import compared, difference, in_order, verdict
from mpo_core.types import TaskResult
from tests.thoroughness import examples


def result(arm: str, task: int, reward: float, n: int = 1) -> TaskResult:
    return TaskResult(
        env="feedback", split="unseen", type="feedback", arm=arm, seed=1, task_id=f"t{task}",
        reward=reward, success=reward, steps=1, n_episodes=n,
    )  # fmt: skip


def test_each_version_is_compared_with_no_plan_and_with_the_one_in_whose_place_it_comes():
    arms = in_order(["v1", "v2", "off", "v2", "v3"])
    assert arms == ["off", "v1", "v2", "v3"]
    with_off = [("v1", "off"), ("v2", "off"), ("v3", "off")]
    assert compared(arms) == [*with_off, ("v2", "v1"), ("v3", "v2")]
    assert compared(arms, {"v2"}) == [*with_off, ("v2", "v1"), ("v3", "v1")]
    assert compared(["v1"]) == []


def test_arms_that_share_no_task_are_compared_by_their_means_alone():
    results = [result("off", k, 0.25) for k in range(20)]
    results += [result("v1", 20 + k, 0.75) for k in range(30)]
    row = difference(results, "v1", "off", 200)
    assert row["same"] is None and row["all"]["diff"] == 0.5 and row["all"]["n"] == 50
    assert verdict(row)[0] == "better"


def test_shared_tasks_are_compared_task_by_task():
    """What makes a task hard makes it hard for both."""
    rng = np.random.default_rng(1)
    hard = rng.random(60)
    results = [result("v1", k, 0.8 * float(h), 2) for k, h in enumerate(hard)]
    results += [result("v2", k, 0.8 * float(h) + 0.1, 2) for k, h in enumerate(hard)]
    row = difference(results, "v2", "v1", 500)
    assert row["same"]["ci95"] == (0.1, 0.1) and row["same"]["n"] == 60
    assert row["all"]["diff"] == pytest.approx(0.1) and row["all"]["ci95"][0] < 0.11
    assert verdict(row) == ("better", row["same"])


def test_few_tasks_or_an_interval_around_0_leave_the_question_open():
    few = [result(a, k, float(a == "v2")) for a in ("v1", "v2") for k in range(9)]
    assert verdict(difference(few, "v2", "v1", 50))[0] == "open"
    for n in (1, 9):
        canary = [result("v2", k, 1.0) for k in range(n)]
        many = [result("v1", k, float(k % 2)) for k in range(40)]
        assert verdict(difference([*canary, *many], "v2", "v1", 50))[0] == "open"
    equal = [result(a, k, float(k % 2)) for a in ("v1", "v2") for k in range(40)]
    assert verdict(difference(equal, "v2", "v1", 50))[0] == "open"
    worse = [result(a, k, float(a == "v1")) for a in ("v1", "v2") for k in range(40)]
    assert verdict(difference(worse, "v2", "v1", 50))[0] == "worse"


@examples(40)
@given(st.integers(0, 10_000))
def test_the_interval_of_unshared_tasks_is_that_of_a_mean_difference(seed):
    """As wide as theory has it for independent tasks, and around the difference."""
    rng = np.random.default_rng(seed)
    ours, theirs = rng.random(80), rng.random(60)
    results = [result("v1", k, float(r)) for k, r in enumerate(theirs)]
    results += [result("v2", 100 + k, float(r)) for k, r in enumerate(ours)]
    row = difference(results, "v2", "v1", 2000)
    low, high = row["all"]["ci95"]
    stderr = float(np.sqrt(ours.var() / 80 + theirs.var() / 60))
    assert row["all"]["diff"] == pytest.approx(ours.mean() - theirs.mean(), abs=1e-6)
    assert high - low == pytest.approx(2 * 1.96 * stderr, rel=0.15)


def test_of_unshared_tasks_each_counts_by_its_conversations():
    results = [result("v1", 0, 0.0, 3), result("v1", 1, 1.0)]
    results += [result("v2", 2, 0.5), result("v2", 3, 0.5)]
    assert difference(results, "v2", "v1", 50)["all"]["diff"] == 0.25
