"""Conversations with feedback as episodes, and their copies in a run's folder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.feedback.pull import Plans, pull
from jobs.run import Run
from mpo_core.exact import exact
from mpo_core.ledger import Ledger
from mpo_core.local import LocalBackend
from mpo_core.proxy.episodes import Assignment, episode_of, scores_of
from mpo_core.proxy.records import OFF, Feedback, Usage
from mpo_core.types import Episode, Plan
from tests.callers import GOOD, POOR, begin, config, conversation, talk


def reward(value: float = 1.0, success: bool | None = None) -> Feedback:
    return Feedback(conversation="c", reward=value, success=success, at=3.0)


@pytest.mark.parametrize(
    ("said", "success"),
    [
        (reward(1.0), True),
        (reward(0.99), False),
        (reward(0.2, True), True),
        (reward(1.0, False), False),
    ],
)
def test_an_episode_is_a_success_where_its_caller_says_so_or_its_reward_does(said, success):
    episode = episode_of(conversation("c", 1, GOOD, "v1"), said)
    assert (episode.success, episode.end) == (success, "done" if success else "failed")


def test_an_episode_has_what_its_conversation_was_given_and_has_cost():
    usage = Usage(requests=4, prompt_tokens=100, completion_tokens=9)
    one = conversation("c", 1, GOOD, "v1", begun=1.0)
    episode = episode_of(one, reward(0.5), usage, repetition=2)
    assert (episode.plan, episode.plan_id, episode.task_id) == (GOOD, one.plan_id, one.task_id)
    assert (episode.prompt_tokens, episode.completion_tokens, episode.seconds) == (100, 9, 2.0)
    drawn = Assignment.of(one, reward(0.5), usage)
    assert (drawn.key, drawn.arm, drawn.requests) == (episode.key, "v1", 4)
    # A clock that was put back is no negative time.
    late = conversation("c", 1, GOOD, "v1", begun=9.0)
    assert episode_of(late, reward()).seconds == 0.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
MESSAGE = JSON | st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", None])},
    optional={
        "content": st.none()
        | st.text(st.characters(), max_size=8)
        | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=8)})),
        "tool_calls": st.lists(JSON, max_size=2),
    },
)


@given(st.lists(MESSAGE, max_size=4))
def test_whatever_messages_are_they_are_kept_as_texts_that_a_file_can_hold(messages):
    episode = episode_of(conversation("c", 1, None, OFF), reward(), messages=messages)
    assert len(episode.messages) == len(messages)
    assert Episode.model_validate_json(episode.model_dump_json()) == episode


@given(st.lists(st.tuples(st.sampled_from([GOOD, POOR, None]), st.sampled_from([0, 0.3, 1]))))
def test_a_plans_score_is_the_mean_of_all_that_were_given_it_and_of_no_others(drawn):
    episodes = [
        Assignment.of(conversation(str(k), 1, plan, "v1"), reward(float(value)))
        for k, (plan, value) in enumerate(drawn)
    ]
    scores = {score.plan_id: score for score in scores_of(episodes)}
    for plan in (GOOD, POOR):
        values = [value for given, value in drawn if given == plan]
        id = Plan.of(conversation("c", 1, plan, "v1").task_id, plan, "v1").id
        assert (scores[id].n if id in scores else 0) == len(values)
        if values:
            assert scores[id].exact == sum(map(exact, values)) / len(values)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr("jobs.run.template_fault", lambda *_: None)
    monkeypatch.setattr(LocalBackend, "source", lambda self, name: name)
    begin(tmp_path)
    return Run(config(tmp_path))


@pytest.mark.parametrize("cut", ["conversations", "episodes"])
def test_a_copy_that_was_cut_off_is_gone_on_with_and_holds_each_once(
    run, tmp_path, monkeypatch, cut
):
    talk(tmp_path, "v1", [GOOD, POOR], tasks=5)
    monkeypatch.setattr("jobs.feedback.pull.AT_ONCE", 3)
    append, times = Ledger.append, []

    def cut_off(ledger, *records):
        if cut in str(ledger.path):
            times.append(1)
            if len(times) == 3:
                raise KeyboardInterrupt
        append(ledger, *records)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "append", cut_off)
        with pytest.raises(KeyboardInterrupt):
            pull(run)
    talk(tmp_path, OFF, [None], tasks=2)
    pulled = pull(run)
    assert len(pulled.episodes) == len(pulled.arms) == 12
    assert [one.arm for one in pulled.arms] == ["v1"] * 10 + [OFF] * 2
    assert {one.task_id for one in pulled.arms} == {task.id for task in pulled.tasks}
    assert {one.plan_id for one in pulled.arms} - {None} == {plan.id for plan in pulled.plans}
    again = pull(run)
    assert [one.key for one in again.arms] == [one.key for one in pulled.arms]
    assert again.plans == pulled.plans and again.tasks == pulled.tasks


def test_versions_of_any_name_have_files_of_their_own(run):
    plans = Plans(run)
    for version in ("v1", "file:plans.jsonl", "file/plans.jsonl", "a-b", "a_b"):
        plans.add(conversation("c", 1, GOOD, version))
        plans.add(conversation("c", 1, POOR, version))
        plans.add(conversation("c", 1, GOOD, version))
    plans.write()
    assert len(list(run.files.planners_plans())) == 5
    found = Plans(run).all()
    assert len(found) == 10 and sorted(found, key=str) == sorted(plans.all(), key=str)
    assert [plan.sample for plan in found if plan.origin == "a-b"] == [0, 1]
