"""A run on callers' feedback, round by round: all but the trainings' own work, which leave a
summary where weights would be."""

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.feedback.learning import load_rounds
from jobs.feedback.pull import counted
from jobs.feedback.versions import publish
from jobs.run import Run
from mpo_core.errors import InputError
from mpo_core.inert import inert
from mpo_core.ledger import read_records
from mpo_core.proxy.episodes import Assignment
from mpo_core.proxy.planners import Planners, Source, write_planners
from mpo_core.proxy.records import OFF, Feedback
from mpo_core.scoring import load_scores
from mpo_core.types import Demonstration, Episode, PreferencePair
from tests.callers import (
    GOOD,
    POOR,
    TrainsByName,
    begin,
    config,
    conversation,
    said,
    talk,
    versions,
    without_weights,
    worked,
)
from tests.thoroughness import examples


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    without_weights(monkeypatch)


@pytest.mark.slow
def test_feedback_becomes_scores_pairs_a_planner_and_a_report(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR, POOR])
    talk(tmp_path, OFF, [None])
    asked = config(tmp_path)
    summary, [job] = worked(asked)
    files = Run(asked).files
    assert {score.n for score in load_scores(files.scores())} == {1, 2}
    pairs = read_records(files.pairs(), PreferencePair)
    assert len(pairs) == 10 and job.rows == files.pairs() and job.objective == "dpo"
    assert "Open door 3." in pairs[3].prompt[0]["content"]
    assert (pairs[0].chosen[0]["content"], pairs[0].rejected[0]["content"]) == (GOOD, POOR)
    assert job.start is None and job.out == files.planner("mpo")
    found = versions(tmp_path)
    assert (found.current, found.canary) == ("v2", None)
    assert found.versions["v2"].folder == files.planner("mpo").resolve()
    assert [row["arm"] for row in summary["table"]] == [OFF, "v1"]
    (row,) = summary["feedback"]["differences"]
    assert (row["arm_a"], row["arm_b"], row["same"]["diff"]) == ("v1", OFF, 0.0)
    assert summary["models"]["agent"] == "agent" and summary["pairs"] == 10
    page = (files.report / "report.md").read_text()
    assert "40 conversations; 40 with a final reward" in page
    assert "Round 1 has trained v2 from base on 10 pairs" in page
    assert {e.repetition for e in read_records(files.episodes("feedback"), Episode)} == {0, 1}


@pytest.mark.slow
def test_the_same_command_learns_from_what_has_come_since_and_from_nothing_twice(tmp_path):
    begin(tmp_path)
    asked = config(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    assert len(worked(asked)[1]) == 1
    summary, jobs = worked(asked)
    assert jobs == [] and "Nothing to learn yet" in said(summary)
    assert summary["episodes"] == 20
    talk(tmp_path, "v2", [GOOD, POOR], tasks=7)
    summary, [job] = worked(asked)
    assert (job.out.name, job.start.name) == ("mpo-2", "mpo")
    files = Run(asked).files
    assert len(read_records(files.pairs(2), PreferencePair)) == 7
    assert len(read_records(files.pairs(1), PreferencePair)) == 10
    assert sum(score.n for score in load_scores(files.scores(2))) == 14
    assert versions(tmp_path).current == "v3" and summary["episodes"] == 34
    assert [row["planner"] for row in summary["rounds"]] == ["mpo", "mpo-2"]
    assert summary["pairs"] == 17 and summary["pair_rules"]["best_worst"]["pairs"] == 17
    assert "17 preference pairs" in (files.report / "report.md").read_text()


@pytest.mark.slow
def test_a_round_that_was_cut_off_is_gone_on_with_on_the_same_episodes(tmp_path, monkeypatch):
    begin(tmp_path)
    asked = config(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])

    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrainsByName, "train", cut_off)
        with pytest.raises(KeyboardInterrupt):
            worked(asked)
    assert versions(tmp_path).current == "v1"
    talk(tmp_path, "v1", [GOOD, POOR], tasks=30)
    _, [job] = worked(asked)
    assert len(read_records(job.rows, PreferencePair)) == 10
    with Run(asked) as run:
        (first,) = load_rounds(run)
    assert (first.first, first.end, first.state, first.version) == (0, 20, "current", "v2")
    _, [job] = worked(asked)
    assert len(read_records(job.rows, PreferencePair)) == 30


@pytest.mark.slow
def test_imitation_learns_from_the_better_plans(tmp_path):
    begin(tmp_path)
    asked = config(
        tmp_path,
        feedback={"train": "rft", "least_pairs": 5},
        planner={"model": "planner", "rft": {"training": {}}},
    )
    talk(tmp_path, "v1", [GOOD, POOR])
    _, [job] = worked(asked)
    shown = read_records(job.rows, Demonstration)
    assert [one.completion[0]["content"] for one in shown] == [GOOD] * 10
    assert (job.objective, job.out.name, job.start) == ("sft", "rft", None)
    talk(tmp_path, "v2", [GOOD, POOR])
    _, [job] = worked(asked)
    assert (job.out.name, job.start.name) == ("rft-2", "rft")


@pytest.mark.slow
def test_feedback_of_chosen_agents_and_planners_counts(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR], model="small")
    talk(tmp_path, "v1", [GOOD], model="large", reward=lambda _: 0.0)
    talk(tmp_path, "draft", [GOOD, POOR], model="small")
    with pytest.raises(InputError, match=r"feedback\.models: .*small \(40\), large \(10\)"):
        worked(config(tmp_path))
    named = {"least_pairs": 5, "models": ["small"], "planners": ["v1"]}
    asked = config(tmp_path, name="named", feedback=named)
    summary, _ = worked(asked)
    assert summary["episodes"] == 40
    assert sum(score.n for score in load_scores(Run(asked).files.scores())) == 20


NAMES = st.lists(st.text(max_size=90) | st.just("m" * 20_000), min_size=2, max_size=30)


@examples(30)
@given(NAMES.filter(lambda names: len(set(names)) > 1))
def test_an_error_about_callers_agents_is_one_line_that_can_be_read(names):
    asked = config(Path("nowhere"))
    arms = [
        Assignment.of(
            conversation(f"c{number}", 1, None, OFF, model=name),
            Feedback(conversation=f"c{number}", reward=0.5, at=1.0),
        )
        for number, name in enumerate(names)
    ]
    with pytest.raises(InputError, match="name those that count") as refused:
        counted(Run(asked, make=False), arms)
    line = str(refused.value)
    assert len(line) < 8000 and inert(line) == line and not set("\n\t") & set(line)
    more = len(set(names)) - 8
    assert more <= 0 or f", and {more} others; name those" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conversations", "advice"),
    [
        ([], "let an agent's base URL be the proxy's"),
        ([("v1", [GOOD], {"final": False})], "report rewards"),
        ([("v1", [GOOD], {})], r"proxy\.explore=5"),
        ([("v1", [GOOD, POOR], {"tasks": 3})], r"proxy\.explore=5"),
        ([("v1", [GOOD, POOR], {"reward": lambda _: 1.0})], "more rewards may tell"),
    ],
)
def test_where_nothing_can_be_learnt_one_line_says_what_to_do(
    tmp_path, capsys, conversations, advice
):
    begin(tmp_path)
    for arm, plans, how in conversations:
        talk(tmp_path, arm, plans, **how)
    summary, jobs = worked(config(tmp_path))
    assert jobs == []
    lines = summary["feedback"]["said"] if summary else capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(advice, lines[0])
    assert versions(tmp_path).current == "v1"


@pytest.mark.slow
def test_conversations_without_the_plan_that_was_due_count_for_their_arm_and_no_plan(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR, None])
    asked = config(tmp_path)
    summary, _ = worked(asked)
    assert summary["arms"]["v1"]["n_episodes"] == 30
    assert summary["feedback"]["without_plan"] == {"v1": {"planner timeout": 10}}
    assert len(load_scores(Run(asked).files.scores())) == 20


@pytest.mark.slow
def test_tasks_that_were_learnt_from_are_told_from_others(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    asked = config(tmp_path, validation=0.3)
    summary, _ = worked(asked)
    # Of v2 there is no conversation yet.
    assert {row["split"]: row["n"] for row in summary["table"]} == {"unseen": 10}
    talk(tmp_path, "v2", [GOOD])
    summary, _ = worked(asked)
    assert {row["split"]: row["n"] for row in summary["table"] if row["arm"] == "v2"} == {
        "seen": 7,
        "unseen": 3,
    }


@pytest.mark.slow
def test_a_planner_that_is_asked_by_other_prompts_is_not_trained(tmp_path):
    begin(tmp_path)
    source = Source(endpoint="http://h:1/v1", model="m", env="alfworld")
    write_planners(tmp_path / "proxy", Planners(current="v1", versions={"v1": source}))
    with pytest.raises(InputError, match=r"set feedback\.prompts=alfworld"):
        worked(config(tmp_path))
    talk(tmp_path, "v1", [GOOD, POOR])
    asked = config(tmp_path, name="b", feedback={"prompts": "alfworld", "least_pairs": 5})
    _, [job] = worked(asked)
    assert "ALFWorld" in read_records(job.rows, PreferencePair)[0].prompt[0]["content"]
    assert versions(tmp_path).versions["v2"].env == "alfworld"


@pytest.mark.slow
def test_versions_that_came_one_after_the_other_are_said_to_have_done_so(tmp_path):
    begin(tmp_path)
    asked = config(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    assert "all began after" not in said(worked(asked)[0])
    talk(tmp_path, "v2", [GOOD], begun=10.0)
    assert "conversations with v2 all began after those with v1" in said(worked(asked)[0])
    talk(tmp_path, "v1", [GOOD], begun=11.0)
    assert "all began after" not in said(worked(asked)[0])


@pytest.mark.slow
@pytest.mark.parametrize("canary", [1.0, 0.25])
def test_other_weights_at_the_same_place_are_another_version(tmp_path, canary):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    proxy = {"folder": str(tmp_path / "proxy"), "canary": canary}
    asked = config(tmp_path, proxy=proxy)
    worked(asked)
    shutil.rmtree(asked.run_dir)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=30)
    summary, _ = worked(asked)
    found = versions(tmp_path)
    assert "has trained v3 from base" in said(summary)
    assert (found.canary.version if found.canary else found.current) == "v3"
    assert found.versions["v3"].folder == found.versions["v2"].folder
    with Run(asked) as run:
        rounds = load_rounds(run)
        assert publish(run, rounds, []) == rounds and versions(tmp_path) == found


@pytest.mark.slow
def test_a_version_that_was_taken_out_of_use_is_not_said_to_be_current(tmp_path, monkeypatch):
    begin(tmp_path)
    asked = config(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])

    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("jobs.feedback.pipeline.publish", lambda *all: cut_off(publish(*all)))
        with pytest.raises(KeyboardInterrupt):
            worked(asked)
    found = versions(tmp_path)
    assert found.current == "v2"
    by_hand = found.model_copy(update={"current": "v1"})
    write_planners(tmp_path / "proxy", by_hand)
    summary, _ = worked(asked)
    assert "planners.json has another in its place" in said(summary)
    assert versions(tmp_path) == by_hand
    with Run(asked) as run:
        (only,) = load_rounds(run)
    assert (only.version, only.state) == ("v2", "withdrawn")


@pytest.mark.parametrize(
    "rounds", ["5", "[5]", '[{"number": 1}]', '[{"number": "x"}]', "null", "{}", '{"a": 1}']
)
def test_a_record_of_rounds_that_is_damaged_is_named(tmp_path, rounds):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    asked = config(tmp_path)
    with Run(asked) as run:
        run.files.feedback.write_text(f'{{"rounds": {rounds}}}')
    with pytest.raises(InputError, match=r"feedback\.json: damaged \(rounds"):
        worked(asked)
