"""A test of the method, not of a model: a tiny planner of random weights, a teacher who guesses,
and a scripted agent that follows its plan. The true scores must lead to plans that are right more
often, for tasks that no training has seen; with half of the pairs turned they must not."""

import json
from statistics import fmean

import pytest

from tests.commandline import ROOT
from tests.integration.training.torchrun import run

SEED = 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the loop leaves behind."""
    root = tmp_path_factory.mktemp("method")
    done = run("-m", "tests.integration.method.loop", root, SEED, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr[-3000:]
    return root


@pytest.fixture(scope="module")
def shares(folder):
    """Share of right plans for held-out tasks, by planner."""
    return json.loads((folder / "shares.json").read_text())


def summary_of(folder, name: str) -> dict:
    return json.loads((folder / name / "training.json").read_text())


def test_sft_teaches_what_plans_look_like_and_no_more_than_the_teacher_knows(shares):
    assert shares["base"] == 0
    # The teacher guesses one of three places.
    assert shares["sft"] == pytest.approx(1 / 3, abs=0.15)


def test_dpo_on_monte_carlo_scores_raises_the_share_of_right_plans(shares):
    assert shares["dpo"] > 0.75 > shares["sft"] + 0.25


def test_imitating_the_best_plan_of_each_task_helps_too_but_no_more_than_dpo(shares):
    assert shares["sft"] + 0.2 < shares["rft"] < shares["dpo"] + 0.05


def test_policy_gradient_on_all_scored_plans_raises_it_as_well(folder, shares):
    assert shares["pg"] > shares["sft"] + 0.25
    trained = summary_of(folder, "pg")
    assert trained["warnings"] == [text for text in trained["warnings"] if "left out" in text]
    # Of plans of held-out tasks too, the better ones have become likelier than the worse ones.
    measured = trained["validation"][-1]
    assert measured["eval_logratio/better"] > measured["eval_logratio/worse"] + 0.5
    assert measured["eval_loss"] < -0.1


def test_half_of_the_pairs_turned_teach_nothing(folder, shares):
    """The same pairs, with the same settings."""
    true, control = summary_of(folder, "dpo"), summary_of(folder, "control")
    assert control["n_rows"] == true["n_rows"] > 80
    assert shares["control"] < shares["sft"] + 0.15
    assert shares["control"] < shares["dpo"] - 0.3


def test_only_true_scores_let_dpo_tell_better_from_worse_on_held_out_pairs(folder):
    accuracy = {
        name: summary_of(folder, name)["validation"][-1]["eval_rewards/accuracies"]
        for name in ("dpo", "control")
    }
    assert accuracy["dpo"] > 0.75
    assert accuracy["control"] == pytest.approx(0.5, abs=0.2)


def test_the_chosen_plans_do_not_become_unlikely(folder):
    """DPO could raise the margin by making both sides unlikely."""
    trained = summary_of(folder, "dpo")
    assert trained["warnings"] == []
    first, last_epoch = trained["curve"][0], trained["curve"][-5:]
    assert fmean(row["logps/chosen"] for row in last_epoch) > first["logps/chosen"] - 1
    assert fmean(row["rewards/margins"] for row in last_epoch) > 0.5
