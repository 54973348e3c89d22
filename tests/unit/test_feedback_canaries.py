"""Versions of the planner that a run on callers' feedback tries first: what is decided of them, and
where that is said."""

import json

import pytest

from jobs.feedback.learning import load_rounds
from jobs.feedback.pipeline import evaluate
from jobs.pipeline import run_pipeline
from jobs.run import Run
from jobs.status import status, status_lines
from mpo_core.proxy.planners import Canary, write_planners
from mpo_core.report.feedback import feedback_counts, feedback_gains
from mpo_core.report.merge import report_runs
from tests.callers import (
    GOOD,
    POOR,
    begin,
    config,
    said,
    talk,
    versions,
    without_weights,
    worked,
)
from tests.doors import Kept


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    without_weights(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("canary", "current", "state"),
    [(GOOD, "v2", "current"), (POOR, "v1", "withdrawn"), (None, "v1", "canary")],
)
def test_a_canary_is_given_a_share_until_its_rewards_say_whether_it_stays(
    tmp_path, canary, current, state
):
    begin(tmp_path)
    proxy = {"folder": str(tmp_path / "proxy"), "canary": 0.25}
    asked = config(tmp_path, proxy=proxy)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=20)
    summary, _ = worked(asked)
    assert versions(tmp_path).canary == Canary(version="v2", share=0.25)
    assert "a share of 0.25 of the new conversations" in said(summary)
    # What was earned before it came is not compared with it.
    talk(tmp_path, "v1", [None], tasks=20, begun=10.0, reward=lambda _: 0.6)
    talk(
        tmp_path,
        "v2",
        [canary],
        tasks=20,
        begun=10.0,
        reward=lambda p: {None: 0.6}.get(p, 1.0) if p != POOR else 0.1,
    )
    summary, jobs = worked(asked)
    assert jobs == []
    found = versions(tmp_path)
    assert found.current == current and (found.canary is not None) == (state == "canary")
    with Run(asked) as run:
        assert [one.state for one in load_rounds(run)] == [state]
    # After a canary that went, the next one begins where that began.
    if state != "canary":
        talk(tmp_path, current, [GOOD, POOR], tasks=8, begun=20.0)
        _, [job] = worked(asked)
        assert job.out.name == "mpo-2"
        assert (job.start and job.start.name) == {"current": "mpo", "withdrawn": None}[state]
        assert versions(tmp_path).canary == Canary(version="v3", share=0.25)


def canary_run(folder):
    begin(folder)
    talk(folder, "v1", [GOOD, POOR], tasks=20)
    return config(folder, proxy={"folder": str(folder / "proxy"), "canary": 0.25})


@pytest.mark.slow
def test_a_verdict_says_by_arm_what_got_no_plan_and_what_to_raise(tmp_path):
    asked = canary_run(tmp_path)
    worked(asked)
    talk(tmp_path, "v1", [GOOD], tasks=20, begun=10.0)
    talk(tmp_path, "v2", [None], tasks=18, begun=10.0)
    talk(tmp_path, "v2", [GOOD], tasks=4, begun=10.0)
    summary, _ = worked(asked)
    lacked = "18 of 22 with v2 got no plan (18 planner timeout; raise proxy.planner_timeout_s)"
    (verdict,) = [one for one in summary["feedback"]["said"] if "canary" in one]
    assert verdict.startswith("The canary v2 is withdrawn: its mean reward minus that with v1")
    assert lacked in verdict and "with v1 got no plan" not in verdict
    report = Run(asked).files.report
    page = (report / "report.md").read_text()
    assert page.count(lacked) >= 3 and f"Warning: of the conversations, {lacked}" in page
    assert lacked in (report / "index.html").read_text()
    assert summary["feedback"]["without_plan"] == {"v2": {"planner timeout": 18}}


@pytest.mark.slow
def test_few_lacking_plans_are_counted_and_not_warned_of(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=10)
    talk(tmp_path, "v1", [None], tasks=4)
    summary, _ = worked(config(tmp_path))
    assert "4 of 24 with v1 got no plan (4 planner timeout" in feedback_counts(summary)
    assert not any("Warning" in one for one in feedback_gains(summary))


@pytest.mark.slow
def test_decisions_stay_in_the_report_and_in_the_status(tmp_path):
    asked = canary_run(tmp_path)
    worked(asked)
    known = status(asked.run_dir)["feedback"]
    assert known == {"in_use": "v1", "canary": "v2", "share": 0.25, "verdict": None}
    talk(tmp_path, "v1", [GOOD], tasks=20, begun=10.0)
    talk(tmp_path, "v2", [POOR], tasks=20, begun=10.0)
    worked(asked)
    verdict = "the canary v2 is withdrawn: its mean reward"
    # One more round, and one more look without any.
    talk(tmp_path, "v1", [GOOD, POOR], tasks=20, begun=20.0)
    for look in (worked, worked, evaluated):
        look(asked)
        report = Run(asked).files.report
        summary = json.loads((report / "summary.json").read_text())
        states = {row["version"]: row["state"] for row in summary["feedback"]["versions"]}
        assert states == {"v1": "in use", "v2": "withdrawn", "v3": "canary"}
        assert verdict in summary["feedback"]["versions"][1]["verdict"]
        for page in ("report.md", "index.html"):
            assert verdict in (report / page).read_text()
    found = status(asked.run_dir)
    assert (found["feedback"]["in_use"], found["feedback"]["canary"]) == ("v1", "v3")
    lines = "\n".join(status_lines(found))
    assert "v1 in use, v3 for a share of 0.25 as a canary" in lines
    # No conversation with it has a reward: this is what was last said of a canary.
    assert "the canary v3 stays a canary: no conversation with v3" in lines


def evaluated(asked):
    with Run(asked) as run:
        return evaluate(run)


@pytest.mark.slow
def test_a_new_version_is_compared_with_the_one_in_use_by_what_both_earned_since(tmp_path):
    asked = canary_run(tmp_path)
    worked(asked)
    talk(tmp_path, "v1", [GOOD], tasks=20, begun=10.0)
    talk(tmp_path, "v2", [POOR], tasks=20, begun=10.0)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=20, begun=20.0)
    worked(asked)
    assert versions(tmp_path).canary == Canary(version="v3", share=0.25)
    talk(tmp_path, "v1", [None], tasks=20, begun=30.0)
    talk(tmp_path, "v3", [None], tasks=20, begun=30.0, reward=lambda _: 0.5 + 0.25)
    summary, _ = worked(asked)
    *_, row = summary["feedback"]["differences"]
    assert (row["arm_a"], row["arm_b"], row["same"]["diff"]) == ("v3", "v1", 0.25)
    assert row["all"]["diff"] == 0.25
    headline, verdict = feedback_gains(summary)[0], said(summary)
    assert "with v3 minus that with v1 is +0.250 [+0.250, +0.250] on the 20 tasks" in headline
    assert "since it came, is +0.250 [+0.250, +0.250] on the 20 tasks of both" in verdict
    assert {(one["arm_a"], one["arm_b"], one["diff"]) for one in summary["paired"]} >= {
        ("v3", "v1", 0.25)
    }


@pytest.mark.slow
def test_mlflow_is_told_of_the_callers_agent_and_of_the_versions_that_were_measured(tmp_path):
    asked = canary_run(tmp_path)
    worked(asked)
    talk(tmp_path, "v1", [GOOD], tasks=20, begun=10.0)
    talk(tmp_path, "v2", [POOR], tasks=20, begun=10.0)
    with Run(asked) as run:
        run.tracker = kept = Kept()
        run_pipeline(run)
    assert run.models_tag("") == "planner org/planner"
    tags = kept.tags[""]
    assert tags["mpo.models"] == "planner org/planner, agent agent" and tags["mpo.pairs"] == 40
    assert not {"mpo.tokens_per_s", "mpo.env_steps_per_s"} & tags.keys()
    (planner,) = kept.planners
    assert (planner.version, planner.tags["mpo.arm"], planner.mean_reward) == ("mpo", "v2", 0.25)
    assert "(20 rows)" in planner.tags["mpo.learnt_from"]
    assert {row["steps"] for row in kept.tables["episodes"]} == {3}


@pytest.mark.slow
def test_the_report_written_anew_says_what_it_said(tmp_path):
    asked = canary_run(tmp_path)
    worked(asked)
    talk(tmp_path, "v1", [GOOD], tasks=20, begun=10.0)
    talk(tmp_path, "v2", [POOR], tasks=20, begun=10.0)
    summary, _ = worked(asked)
    page = Run(asked).files.report / "report.md"
    before = page.read_text()
    _, again = report_runs([asked.run_dir], None)
    assert page.read_text() == before and json.dumps(again) == json.dumps(summary)


@pytest.mark.slow
def test_a_canary_can_be_decided_by_hand(tmp_path):
    begin(tmp_path)
    asked = config(tmp_path, proxy={"folder": str(tmp_path / "proxy"), "canary": 0.25})
    talk(tmp_path, "v1", [GOOD, POOR], tasks=20)
    worked(asked)
    found = versions(tmp_path)
    write_planners(tmp_path / "proxy", found.model_copy(update={"current": "v2", "canary": None}))
    worked(asked)
    with Run(asked) as run:
        assert load_rounds(run)[-1].state == "current"
        assert load_rounds(run)[-1].verdict == "v2 is in use, by planners.json"


def test_a_canary_of_somebody_elses_is_not_lost_to_a_new_version(tmp_path):
    begin(tmp_path)
    asked = config(tmp_path)
    folder = tmp_path / "proxy"
    found = versions(tmp_path)
    theirs = {"theirs": next(iter(found.versions.values())).model_copy(update={"env": "other"})}
    canary = Canary(version="theirs", share=0.1)
    put_in = found.model_copy(update={"versions": found.versions | theirs, "canary": canary})
    write_planners(folder, put_in)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=20)
    worked(asked)
    assert versions(tmp_path) == put_in
    write_planners(folder, put_in.model_copy(update={"canary": None}))
    worked(asked)
    assert len(versions(tmp_path).versions) == 3
