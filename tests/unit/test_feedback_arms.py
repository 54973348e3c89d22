"""Callers' conversations by the arm that each was drawn into, and by the name that its caller gave
it, wherever they are looked at or exported."""

import json
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.episodes import export_episodes
from jobs.feedback.pull import pull
from jobs.run import Run
from jobs.view.index import RunIndex
from jobs.view.records import Records
from mpo_core.errors import InputError
from mpo_core.files import write_records
from mpo_core.interchange import FORMATS, Played
from mpo_core.proxy.episodes import Assignment, episode_of
from mpo_core.proxy.records import OFF, Feedback, task_of
from mpo_core.proxy.store import Store
from mpo_core.run_folder import RunFolder
from tests.callers import GOOD, POOR, begin, config, conversation, talk
from tests.commandline import mpo_here
from tests.exported import READ, documents, plain
from tests.thoroughness import examples

SAID = [
    {"role": "user", "content": "Open door 0."},
    {"role": "assistant", "content": "Knock, knock."},
    {"role": "user", "content": "Who is there?"},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that has taken in ten conversations of v1, of which five got no plan,
    five of v2 with plans that v1 has written too, and five without a plan."""
    folder = tmp_path_factory.mktemp("talked")
    begin(folder)
    talk(folder, "v1", [GOOD, None], tasks=5)
    talk(folder, "v2", [GOOD], tasks=5)
    talk(folder, OFF, [None], tasks=5)
    with Store(folder / "proxy") as store:
        store.record_messages("c0", SAID)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jobs.run.template_fault", lambda *_: None)
        patched.setattr("mpo_core.local.LocalBackend.source", lambda self, name: name)
        with Run(config(folder)) as opened:
            pull(opened)
    return opened.dir


def drawn(run) -> dict[str, str]:
    """Conversation -> its arm, as it was drawn."""
    lines = RunFolder(run).conversations.read_text().splitlines()
    return {one["conversation"]: one["arm"] for one in map(json.loads, lines)}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_the_drawn_arm_and_the_callers_name(run, tmp_path, form):
    out = tmp_path / ("out.jsonl" if form == "otel" else "out")
    assert export_episodes(run, form, out, {}) == 20
    found = [READ[form](one)[1] for one in documents(form, out)]
    assert {one["conversation"]: one["arm"] for one in found} == drawn(run)
    missing = {one["conversation"] for one in found if one.get("why") == "planner timeout"}
    assert missing == {f"c{k}" for k in (1, 3, 5, 7, 9)}
    assert {one["steps"] for one in found} == {3}
    if form == "inspect":
        assert {path.name for path in out.iterdir()} == {
            *("feedback-off.eval", "feedback-v1.eval", "feedback-v2.eval")
        }
    only = tmp_path / ("off.jsonl" if form == "otel" else "off")
    assert export_episodes(run, form, only, {"planner": OFF}) == 5


def test_other_records_find_a_conversation_by_its_callers_name(run, tmp_path):
    export_episodes(run, "atif", tmp_path / "atif.jsonl", {})
    sessions = [one["session_id"] for one in documents("atif", tmp_path / "atif.jsonl")]
    export_episodes(run, "otel", tmp_path / "otel.jsonl", {})
    spans = [
        plain(span["attributes"])["gen_ai.conversation.id"]
        for one in documents("otel", tmp_path / "otel.jsonl")
        for span in one["resourceSpans"][0]["scopeSpans"][0]["spans"]
    ]
    assert sessions == spans == list(drawn(run))


def test_from_python_too_a_conversation_without_a_plan_is_in_its_arm():
    one = conversation("c", 1, None, "v2")
    episode = episode_of(one, Feedback(conversation="c", reward=1.0, at=2.0))
    assert Played.of(episode, task_of(one.task), "v2", conversation="c").arm == "v2"
    assert Played.of(episode, task_of(one.task), "v2").arm == "none"


def test_what_a_callers_agent_has_said_is_no_worked_example(run, tmp_path):
    export_episodes(run, "atif", tmp_path / "out.jsonl", {"planner": "v1"}, 1)
    [trajectory] = documents("atif", tmp_path / "out.jsonl")
    assert [(one["source"], one["message"]) for one in trajectory["steps"]] == [
        *(("user", "Open door 0."), ("agent", "Knock, knock."), ("user", "Who is there?"))
    ]
    assert not any("is_copied_context" in one for one in trajectory["steps"])
    export_episodes(run, "inspect", tmp_path / "logs", {"planner": "v1"}, 1)
    [sample] = documents("inspect", tmp_path / "logs")
    assert [one.get("source") for one in sample["messages"]] == ["input", None, "input"]


def test_an_arm_that_was_never_drawn_is_refused_with_those_that_were(run, tmp_path):
    for arm in ("none", "expert", "v3"):
        with pytest.raises(InputError, match=r"it has off, v1, v2$"):
            export_episodes(run, "atif", tmp_path / "out", {"planner": arm})


def test_a_viewer_offers_the_arms_that_were_drawn_and_no_others(run):
    with closing(RunIndex(run, kept=False)) as index:
        assert list(index.refresh())
        records = Records(index)
        assert records.choices()["planner"] == [OFF, "v1", "v2"]
        assert records.episodes({"planner": "v1", "min_steps": "3", "max_steps": "3"}).total == 10
        assert records.episodes({"min_steps": "4"}).total == 0


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("c0", ["3 steps", "arm v1, conversation c0", "Knock, knock."]),
        (
            "c1",
            [
                "arm v1 (without the plan that was due: planner timeout), conversation c1",
                "nothing was kept; proxy.record_messages=true",
            ],
        ),
        ("c10", ["arm v2, conversation c10"]),
        ("c19", ["arm off, conversation c19"]),
    ],
)
def test_show_says_arm_name_and_what_was_not_kept(run, name, shown):
    done = mpo_here("show", name, str(run))
    said = " ".join(done.stdout.split())
    assert done.returncode == 0 and all(words in said for words in shown), said


@examples(15)
@given(st.lists(st.tuples(st.sampled_from([OFF, "v1", "none"]), st.sampled_from([GOOD, POOR]))))
def test_each_conversation_is_in_its_arm_alone_whoever_wrote_its_plan(tmp_path_factory, draws):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    one = [conversation(f"c{k}", 1, plan, "v1") for k, (_, plan) in enumerate(draws)]
    feedback = [Feedback(conversation=each.id, reward=1.0, at=2.0) for each in one]
    arms = [
        Assignment.of(each.model_copy(update={"arm": arm}), reward)
        for each, reward, (arm, _) in zip(one, feedback, draws, strict=True)
    ]
    plans = {each.given.id: each.given for each in one if each.given}
    write_records(folder.conversations, arms)
    write_records(folder.episodes("feedback"), map(episode_of, one, feedback))
    write_records(folder.plans("v1", "train"), plans.values())
    with closing(RunIndex(folder.path, kept=False)) as index:
        for _ in index.refresh():
            pass
        for arm in (OFF, "v1", "none"):
            found = Records(index).episodes({"planner": arm})
            assert found.total == sum(drawn == arm for drawn, _ in draws)
