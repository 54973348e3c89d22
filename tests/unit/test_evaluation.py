from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mpo_core import evaluation
from mpo_core.evaluation import (
    Attempt,
    arm_result,
    bootstrap_ci,
    compare,
    paired,
    reference_arm,
    results_by,
    task_results,
)
from mpo_core.types import TaskResult
from tests.fakes import episode, request
from tests.thoroughness import examples

rewards_of = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def results(arm: str, rewards: Sequence[float], seed: int = 1, split: str = "seen"):
    return [
        TaskResult(
            env="toy",
            split=split,
            type="door",
            arm=arm,
            seed=seed,
            task_id=f"toy/door/{number}",
            reward=reward,
            success=reward == 1,
            steps=5,
            n_episodes=1,
        )
        for number, reward in enumerate(rewards)
    ]


def test_an_arm_is_summarised_over_tasks():
    asked = [request(n, repetition=k) for n in range(2) for k in range(3)]
    rewards = [1, 1, 1, 0, 0, 0.6]
    attempts = [
        Attempt("mpo", r.task, episode(r, x, x == 1)) for r, x in zip(asked, rewards, strict=True)
    ]
    result = arm_result(task_results(attempts, seed=1))
    assert result.mean_reward == pytest.approx(0.6)
    assert (result.success_rate, result.n_episodes, result.n) == (0.5, 6, 2)
    assert result.ci95 == pytest.approx((0.2, 1.0))


def test_the_interval_covers_the_mean_95_times_in_100():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        low, high = bootstrap_ci(rng.normal(0.5, 0.2, size=40), resamples=400, seed=seed)
        hits += low <= 0.5 <= high
    assert 0.90 <= hits / 300 <= 0.98


@pytest.mark.slow
def test_the_interval_of_crossed_seeds_and_tasks_covers_the_mean():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        seeds, tasks = rng.normal(0, 0.1, size=(12, 1)), rng.normal(0, 0.2, size=(1, 40))
        values = 0.5 + seeds + tasks + rng.normal(0, 0.1, size=(12, 40))
        low, high = bootstrap_ci(values, resamples=400, seed=seed)
        hits += low <= 0.5 <= high
    assert 0.90 <= hits / 300 <= 0.98


@given(rewards_of, st.integers(0, 3))
def test_one_seed_is_the_bootstrap_over_tasks(rewards, seed):
    rng = np.random.default_rng(seed)
    means = rng.choice(rewards, size=(500, len(rewards))).mean(axis=1)
    expected = np.quantile(means, [0.025, 0.975])
    values = np.array(rewards)
    assert bootstrap_ci(values, 500, seed) == pytest.approx(expected)
    assert bootstrap_ci(values[None], 500, seed) == pytest.approx(expected)


def test_the_interval_does_not_depend_on_how_the_work_is_cut(monkeypatch):
    values = np.random.default_rng(0).random(30)
    whole = bootstrap_ci(values, 1000)
    monkeypatch.setattr(evaluation, "CELLS_AT_ONCE", 1000)
    assert bootstrap_ci(values, 1000) == whole


def test_seeds_that_differ_widen_the_interval():
    tasks = np.random.default_rng(0).random(50) * 0.2
    alike, apart = np.stack([tasks] * 3), np.stack([tasks, tasks + 0.3, tasks + 0.6])
    low, high = bootstrap_ci(alike)
    assert (low, high) == pytest.approx(bootstrap_ci(tasks), abs=0.005)
    low_apart, high_apart = bootstrap_ci(apart)
    assert high_apart - low_apart > 3 * (high - low)


def test_an_arm_without_results_is_an_error():
    with pytest.raises(ValueError, match="no results"):
        arm_result([])


def test_seeds_of_different_tasks_are_not_pooled():
    with pytest.raises(ValueError, match="tasks differ"):
        arm_result([*results("mpo", [0, 1], seed=1), *results("mpo", [0], seed=2)])


def test_results_are_split_by_what_is_asked_and_count_every_episode_once():
    found = [*results("none", [0, 1]), *results("mpo", [1, 1])]
    rows = results_by(("env", "arm"), found)
    assert [(r["env"], r["arm"], r["mean_reward"], r["n_episodes"]) for r in rows] == [
        ("toy", "none", 0.5, 2),
        ("toy", "mpo", 1.0, 2),
    ]
    assert [r["n_episodes"] for r in results_by(("arm", "seed"), found)] == [2, 2]


@given(st.data())
def test_the_order_of_episodes_does_not_matter(data):
    asked = [request(n, repetition=k) for n in range(3) for k in range(3)]
    rewards = data.draw(st.lists(st.floats(0, 1), min_size=18, max_size=18))
    attempts = [
        Attempt(arm, r.task, episode(r, x))
        for (arm, r), x in zip(
            [(a, r) for a in ("none", "mpo") for r in asked], rewards, strict=True
        )
    ]
    mixed = data.draw(st.permutations(attempts))
    by_task = {(r.arm, r.task_id): r for r in task_results(mixed, seed=1)}
    assert by_task == {(r.arm, r.task_id): r for r in task_results(attempts, seed=1)}
    in_order = [by_task[r.arm, r.task_id] for r in task_results(attempts, seed=1)]
    assert compare(in_order[:3] + in_order[5:2:-1], 200) == compare(in_order, 200)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_a_paired_difference_is_that_of_the_means_and_lies_in_its_interval(rewards):
    none, mpo = zip(*rewards, strict=True)
    [row] = paired([*results("none", none), *results("mpo", mpo)], 2000)
    assert (row["arm_a"], row["arm_b"], row["seed"], row["n"]) == ("mpo", "none", 1, len(rewards))
    assert row["diff"] == pytest.approx(np.mean(mpo) - np.mean(none), abs=1e-6)
    low, high = row["ci95"]
    assert low <= high
    assert min(b - a for a, b in rewards) - 1e-6 <= low
    assert high <= max(b - a for a, b in rewards) + 1e-6


@given(st.lists(st.floats(-0.2, 0.2), min_size=20, max_size=40))
@examples(25)
def test_a_difference_of_no_extreme_task_lies_in_its_interval(differences):
    assume(np.std(differences) > 0.05)
    none = [0.5] * len(differences)
    mpo = [0.5 + difference for difference in differences]
    [row] = paired([*results("none", none), *results("mpo", mpo)], 2000)
    assert row["ci95"][0] < row["diff"] < row["ci95"][1]


@given(rewards_of)
def test_arms_that_reach_the_same_do_not_differ(rewards):
    [row] = paired([*results("none", rewards), *results("mpo", rewards)], 100)
    assert (row["diff"], row["ci95"]) == (0, (0, 0))


def test_pairing_sees_what_separate_intervals_hide():
    rng = np.random.default_rng(0)
    none = rng.random(60) * 0.8
    mpo = none + rng.normal(0.1, 0.05, size=60).clip(-0.05, 0.2).clip(-none, 1 - none)
    found = compare([*results("none", none), *results("mpo", mpo)])
    separate = [found["arms"][arm]["ci95"] for arm in ("none", "mpo")]
    assert separate[1][0] < separate[0][1], "the arms' intervals overlap"
    low, high = found["paired"][0]["ci95"]
    assert low > 0
    assert high - low < min(b - a for a, b in separate) / 3


def test_every_arm_is_compared_with_the_planner_before_mpo():
    assert reference_arm(["none", "base", "sft", "rft", "mpo"]) == "sft"
    assert reference_arm(["expert", "none", "mpo", "base"]) == "base"
    assert reference_arm(["mine", "none"]) == "none"
    assert reference_arm(["mine", "yours"]) == "mine"
    arms = ["none", "base", "sft", "mpo", "expert"]
    rows = paired([r for arm in arms for r in results(arm, [0.5, 1])], 10)
    assert [(r["arm_a"], r["arm_b"]) for r in rows] == [
        *((arm, "sft") for arm in ("none", "base", "mpo", "expert")),
        ("mpo", "base"),
    ]


def test_one_arm_is_compared_with_nothing():
    assert paired(results("none", [0, 1])) == []


def test_only_tasks_that_both_arms_played_are_compared():
    found = [
        *results("none", [0, 0, 0.5]),
        *results("mpo", [1, 0]),
        *results("mpo", [1], 1, "unseen"),
    ]
    [row] = paired(found)
    assert (row["split"], row["diff"], row["n"]) == ("seen", 0.5, 2)


def test_several_seeds_have_a_row_each_and_one_for_all():
    found = [
        *(results("none", [0, 0.5], 2) + results("mpo", [0.5, 1], 2)),
        *(results("none", [0, 1], 1) + results("mpo", [1, 1], 1)),
    ]
    report = compare(found)
    assert [(r["arm"], r["seed"], r["mean_reward"], r["n"]) for r in report["table"]] == [
        ("none", 1, 0.5, 2),
        ("none", 2, 0.25, 2),
        ("none", None, 0.375, 2),
        ("mpo", 1, 1.0, 2),
        ("mpo", 2, 0.75, 2),
        ("mpo", None, 0.875, 2),
    ]
    [row] = report["paired"]
    assert (row["diff"], row["seed"], row["n"], row["n_seeds"]) == (0.5, None, 2, 2)
    assert report["arms"]["mpo"]["n_episodes"] == 4


def test_an_arm_of_some_seeds_is_compared_within_these():
    found = [
        *(results("none", [0, 0], 1) + results("mpo", [1, 1], 1)),
        *(results("none", [1, 1], 2) + results("rft", [1, 0], 2)),
    ]
    rows = {row["arm_a"]: (row["diff"], row["n_seeds"]) for row in paired(found)}
    assert rows == {"mpo": (1.0, 1), "rft": (-0.5, 1)}
