"""Whole runs in one process against servers that spoil something: what is data is counted, what is
not ends in one line, and nothing becomes a reward of zero."""

import json

import pytest

from jobs.cli import main
from mpo_core.ledger import read_records
from mpo_core.types import Episode, Plan
from tests.fake_server import ACTION, PLAN, Mode, fake_server

ENVS = "{alfworld: {generated: {train: 6, seen: 0, unseen: 6}, tasks: {train: 2, unseen: 2}}}"
OVERRIDES = [
    "name=small",
    "cluster.enabled=false",
    "tracking.enabled=false",
    f"envs={ENVS}",
    "planner.model=llm",
    "planner.per_task=2",
    "agent.model=llm",
    "agent.example=false",
    "agent.list_actions=0",
    "agent.max_steps=3",
    "scoring.repetitions=2",
    "validation=0",
    "evaluation.arms=[none,base]",
    "evaluation.bootstrap=100",
]


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the small loop against a mode; returns exit code, stderr and the run's folder."""

    def run(mode, *overrides, model="retries: 1"):
        with fake_server(mode) as server, pytest.raises(SystemExit) as ended:
            given = f"models={{llm: {{endpoint: '{server.url}', {model}}}}}"
            main(["run", "demo-llm", f"runs_dir={tmp_path}", given, *OVERRIDES, *overrides])
        return ended.value.code or 0, capsys.readouterr().err, tmp_path / "small"

    return run


def error_of(stderr):
    [line] = [line for line in stderr.splitlines() if line.startswith("mpo: error:")]
    return line


def episodes(folder):
    return read_records(folder / "episodes" / "scoring.jsonl", Episode)


def plans(folder):
    return {plan.text for plan in read_records(folder / "plans" / "base-train.jsonl", Plan)}


@pytest.mark.parametrize("overrides", [[], ["agent.thoughts=true"]])
@pytest.mark.parametrize(
    "mode",
    [
        Mode(ignores=frozenset({"n", "stop"})),
        Mode(ignores=frozenset({"prefill"})),
        Mode(ignores=frozenset({"echo"})),
        Mode(
            plan=f"<think>1. Draft\n2. More\n</think>\n{PLAN}",
            action=f"<think>Maybe\nAction: look\n</think>\n{ACTION}\nObservation: You win.",
            ignores=frozenset({"prefill", "stop"}),
        ),
        Mode(
            plan=PLAN.replace("Step", "**Step"),
            action="**Thought:** a\n**Action:** go to countertop 1",
            usage=None,
        ),
    ],
)
def test_a_run_is_the_same_whatever_the_server_does_its_own_way(mode, overrides, run):
    code, errors, folder = run(mode, *overrides)
    assert code == 0, errors
    assert plans(folder) == {PLAN}
    turns = [turn for episode in episodes(folder) for turn in episode.turns]
    assert {turn.action for turn in turns} == {"go to countertop 1"}


def test_what_a_model_thinks_is_kept_apart(run):
    mode = Mode(plan=f"<think>1. Draft</think>{PLAN}", action=f"<think>Hm.</think>{ACTION}")
    code, errors, folder = run(mode, "agent.thoughts=true")
    assert code == 0, errors
    drawn = read_records(folder / "plans" / "base-train.jsonl", Plan)
    assert {(plan.text, plan.reasoning) for plan in drawn} == {(PLAN, "1. Draft")}
    played = episodes(folder)
    assert {turn.reasoning for episode in played for turn in episode.turns} == {"Hm."}
    assert all("Hm." not in str(e.messages) and "Draft" not in str(e.messages) for e in played)


@pytest.mark.parametrize(
    ("mode", "overrides", "says"),
    [
        (Mode(action=""), [], "agent.unusable_limit"),
        (Mode(action="I'm sorry, I can't help with it."), ["agent.thoughts=true"], "12 refusal"),
        (Mode(action="<think>hm"), ["agent.thoughts=true"], "its thought took all tokens"),
        (
            Mode(fails=(400, "the request exceeds the available context size"), fails_after=6),
            [],
            "the agent's first prompt",
        ),
        (Mode(fails=(400, "prompt is too long: 9 tokens > 4 maximum"), fails_after=2), [], "9 tok"),
        (Mode(fails=(401, {"error": {"message": "Wrong key."}})), [], "OPENAI_API_KEY"),
        (Mode(fails=(200, "<html>"), content_type="text/html"), [], "base URL"),
        (Mode(fails=(200, '{"choices": null}')), [], "holds no sample"),
        (Mode(plan="", action=ACTION), [], "empty"),
        (Mode(context=64), ["agent.max_tokens=512"], "context of 64"),
    ],
)
def test_a_run_that_would_say_nothing_about_plans_ends_in_one_line(mode, overrides, says, run):
    code, errors, folder = run(mode, *overrides)
    assert code == 2 and says in error_of(errors)
    assert "Traceback" not in errors
    path = folder / "episodes" / "scoring.jsonl"
    assert not path.is_file() or not read_records(path, Episode)
    assert not (folder / "report").exists()


def test_a_server_that_stumbles_loses_no_episode(run):
    mode = Mode(fails=(503, "busy"), fails_after=8, fails_times=2)
    code, errors, folder = run(mode, model="retries: 3")
    assert code == 0, errors
    assert episodes(folder)


def test_unreadable_replies_are_counted_by_arm_and_warned_of(run):
    code, _, folder = run(Mode(action="I would rather not."), "agent.thoughts=true")
    assert code == 0
    summary = json.loads((folder / "report" / "summary.json").read_text())
    none = next(row for row in summary["conduct"] if row["arm"] == "none")
    assert none["unreadable"] == {"no action line": 6} and none["ends"] == {"step_limit": 2}
    assert (
        "**Warning:** no plan: 100% of the agent's replies"
        in (folder / "report" / "report.md").read_text()
    )
