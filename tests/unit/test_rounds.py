"""Which rounds' planners are kept."""

import pytest

from jobs.configs import named_config
from jobs.rounds import final_version, run_rounds
from jobs.tasks import load_tasks
from mpo_core.types import Plan
from tests.bare_run import bare_run
from tests.fakes import episode


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of two rounds whose stages do nothing, but for the plans on the validation tasks."""
    run = bare_run(tmp_path, monkeypatch, 4, "rounds=2", "validation=0.5")
    for name in ("collect_scores", "train_on_pairs"):
        monkeypatch.setattr(f"jobs.rounds.{name}", lambda *_: None)
    monkeypatch.setattr("jobs.rounds.collect_pairs", lambda *_: ["a pair"])

    def plans(run, version, split, tasks, samples=0):
        # The second round's greedy plans are worse, its sampled ones better.
        worth = {"mpo": 0.5, "mpo-2": 0.75 if samples else 0.25}.get(version, 0.0)
        return [Plan.of(one.id, str(worth), version) for one in tasks]

    monkeypatch.setattr("jobs.rounds.collect_plans", plans)
    monkeypatch.setattr(
        "jobs.rounds.play",
        lambda run, name, requests: {r.key: episode(r, float(r.plan.text)) for r in requests},
    )
    return run


@pytest.mark.parametrize(("samples", "last"), [(0, "mpo"), (2, "mpo-2")])
def test_a_round_is_judged_by_sampled_plans_where_the_evaluation_draws_them(run, samples, last):
    run.config.evaluation.plan_samples = samples
    first, second = run_rounds(run, load_tasks(run, "train")).outcomes
    assert first.kept and first.validation_reward == 0.5
    assert second.kept == (last == "mpo-2")
    assert final_version(run) == last


def test_without_a_planner_trained_on_preferences_there_is_one_round(run):
    arms = ["evaluation.arms=[sft,rft,pg]", "scoring.shuffle=false"]
    run.config = named_config("sandbox", ["rounds=3", *arms])
    outcomes = run_rounds(run, load_tasks(run, "train")).outcomes
    assert [outcome.planner for outcome in outcomes] == ["sft"]
