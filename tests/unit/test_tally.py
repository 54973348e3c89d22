"""A run that began with what other settings have left: what its summary counts."""

import json

import pytest

from jobs.pipeline import run_pipeline
from jobs.run import Run
from jobs.sweep import begin_with_copy
from mpo_core.config import Config
from mpo_core.ledger import read_records
from mpo_core.types import Episode
from tests.doors import Kept, config, open_doors


@pytest.fixture(autouse=True)
def doors(monkeypatch):
    open_doors(monkeypatch)


def finished(asked: Config) -> tuple[dict, dict]:
    """A run's summary and tables, without how long it took."""
    with Run(asked) as run:
        run.tracker = Kept()
        summary = run_pipeline(run)
        timed = ("wall_seconds", "stages", "tokens_per_s", "env_steps_per_s")
        tables = {k: v for k, v in run.tracker.tables.items() if k != "stages"}
        return {k: v for k, v in summary.items() if k not in timed}, tables


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},
        {"planner": {"model": "planner", "per_task": 1}, "scoring": {"repetitions": 1}},
        {"agent": {"model": "agent", "example": False, "max_steps": 2}},
        {"evaluation": {"splits": ["unseen"], "arms": ["none"], "bootstrap": 10}},
        {"scoring": {"repetitions": "auto", "mean_repetitions": 1.5}},
        {"evaluation": {"splits": ["unseen"], "arms": ["base"], "plan_samples": 3}},
    ],
    ids=["seed", "fewer", "agent", "arms", "auto", "samples"],
)
def test_a_summary_counts_what_its_own_settings_came_to(tmp_path, changes):
    before, asked = config(tmp_path / "before"), config(tmp_path / "mixed", **changes)
    finished(before)
    begin_with_copy(before.run_dir, asked.run_dir)
    mixed = finished(asked)
    assert mixed == finished(config(tmp_path / "alone", **changes))
    assert mixed[0]["plans"] == len(mixed[1]["plans"]) > 0
    assert mixed[0]["episodes"] == len(mixed[1]["episodes"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"arms": ["none", "expert"], "bootstrap": 10}, {"arms": ["base"], "plan_samples": 3}],
)
def test_in_its_folder_a_run_goes_on_to_other_arms_and_more_samples(tmp_path, changes):
    evaluation = {"splits": ["unseen"]} | changes
    finished(config(tmp_path / "grown"))
    grown = finished(config(tmp_path / "grown", evaluation=evaluation))
    assert grown == finished(config(tmp_path / "alone", evaluation=evaluation))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"launch": {"slurm": {"hours": 1}}, "tracking": {"parent": "p"}}, True),
        ({"cluster": {"enabled": False, "rollout_actors": 2}}, True),
        ({"runs_dir": "elsewhere"}, True),
        ({"seed": 7}, False),
        ({"name": "other"}, False),
        ({"scoring": {"repetitions": 3}}, False),
    ],
)
def test_a_run_is_another_to_mlflow_where_its_results_may_be(tmp_path, monkeypatch, changes, same):
    opened = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobs.run.MlflowTracker", lambda *given, tags: opened.append(given))
    for asked in (config("runs"), config("runs", **changes)):
        _ = Run(asked).tracker
    (*_, params, identity), (*_, other_params, other_identity) = opened
    assert (identity == other_identity) == same
    assert params != other_params


def test_the_curves_of_all_trainings_stand_in_the_mlflow_run_that_a_run_ends_with(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("jobs.evaluate.write_report", lambda *_: None)
    trained = tmp_path / "mine" / "planner" / "sft"
    trained.mkdir(parents=True)
    summary = {
        "curve": [{"step": step, "loss": 1 / step} for step in (1, 2, 3)],
        "validation": [{"step": 3, "eval_loss": 0.5}],
    }
    (trained / "training.json").write_text(json.dumps(summary))
    (tmp_path / "mine" / "report").mkdir()
    with Run(config(tmp_path)) as run:
        run.tracker = Kept()
        with run.tracker.nested("train sft", "training"):
            run.tracker.log_metrics({"loss": 7.0}, step=2)
        run_pipeline(run)
    assert run.tracker.metrics["train sft", "loss"] == {1: 1, 2: 7.0, 3: 1 / 3}
    assert run.tracker.metrics["train sft", "eval_loss"] == {3: 0.5}


def test_mlflow_is_given_the_figures_of_all_episodes_and_the_texts_of_some(tmp_path):
    asked = config(tmp_path, tracking={"traces": 3})
    with Run(asked) as run:
        run.tracker = kept = Kept()
        summary = run_pipeline(run)
    rows = kept.tables["episodes"]
    assert len({row["key"] for row in rows}) == summary["episodes"] > 6
    assert not {"plan", "messages", "turns"} & set(rows[0])
    for stage in ("scoring", "evaluation"):
        path = tmp_path / "mine" / "episodes" / f"{stage}.jsonl"
        played = {one.key: one for one in read_records(path, Episode)}
        traces = [trace for trace in kept.traces if trace["stage"] == stage]
        assert len({trace["episode"] for trace in traces}) == 3
        for trace in traces:
            whole = played[trace["episode"]]
            assert trace["reward"] == whole.reward
            assert (trace["planner"] or {}).get("plan") == whole.plan
            assert [turn["reply"] for turn in trace["turns"]] == [t.reply for t in whole.turns]
            told = "".join(m["content"] for turn in trace["turns"] for m in turn["prompt"])
            said = [m["content"] for m in whole.messages if m["role"] != "assistant"]
            assert all(text in told for text in said)


def test_stages_and_rounds_are_runs_of_their_own_with_their_curves(tmp_path):
    with Run(config(tmp_path)) as run:
        run.tracker = kept = Kept()
        summary = run_pipeline(run)
    curve = kept.metrics["scoring", "episodes"]
    assert [*curve.items()][-1] == (8, 8), "the last point is of all episodes"
    assert kept.metrics["evaluation", "mean_reward_so_far"].keys() == {summary["episodes"] - 8}
    assert kept.tags["scoring"]["mpo.env_steps"] > 0
    assert kept.tags["round 1"]["mpo.planner"] == "base"
    assert "engines" not in kept.tags
