import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.completions import Reply
from mpo_core.episode import draw_actions, run_episode
from mpo_core.errors import ContextFull, EnvironmentLost, InputError
from mpo_core.prompts import plan_block
from tests.fakes import PROMPTS, Replies, ToyEnvironment, request

PLAN = "Step 1: Knock.\nStep 2: Enter."


def play(texts, environment=None, **changes):
    asked = request(plan=changes.pop("plan", PLAN), **changes)
    model = Replies([f"Action: {t}" if not t.startswith("!") else t[1:] for t in texts])
    episode = asyncio.run(run_episode(asked, environment or ToyEnvironment(), model, PROMPTS))
    return episode, model


def test_query_mode_gives_the_plan_once_with_the_task():
    episode, model = play(["look", "knock", "enter"], plan_mode="query")
    for asked in model.asked:
        text = "\n".join(m["content"] for m in asked)
        assert text.count(plan_block(PLAN)) == 1
        assert f"Open door 0.\n\n{plan_block(PLAN)}" in text
    assert episode.plan == PLAN


def test_observation_mode_gives_the_plan_after_each_observation():
    _, model = play(["look", "knock", "enter"], plan_mode="observation")
    for turn, asked in enumerate(model.asked):
        with_plan = [m for m in asked if m["content"].endswith(plan_block(PLAN))]
        assert len(with_plan) == turn + 1
        assert all(m["role"] == "user" for m in with_plan)


def test_thought_mode_starts_the_agents_reasoning_with_the_plan():
    episode, model = play(["look", "knock", "enter"], plan_mode="thought")
    for asked in model.asked:
        assert asked[-1] == {"role": "assistant", "content": f"Thought: {plan_block(PLAN)}\n"}
    replies = [m for m in episode.messages if m["role"] == "assistant"][-3:]
    assert all(m["content"].startswith(f"Thought: {plan_block(PLAN)}\n") for m in replies)


@pytest.mark.parametrize("mode", ["query", "observation", "thought"])
def test_without_a_plan_no_mode_mentions_one(mode):
    episode, model = play(["enter"], plan=None, plan_mode=mode)
    assert "plan" not in str(model.asked).lower()
    assert episode.plan is None and episode.plan_id is None


def test_the_messages_of_the_record_are_those_that_were_sent():
    episode, model = play(["look", "knock", "enter"], plan_mode="observation")
    assert episode.messages[:-1] == model.asked[-1]
    assert episode.messages[-1] == {"role": "assistant", "content": "Action: enter"}


@pytest.mark.parametrize(
    ("texts", "end", "reward", "success", "steps"),
    [
        (["enter"], "done", 1.0, True, 1),
        (["knock", "explode"], "failed", 0.5, False, 2),
        (["knock", "look"], "step_limit", 0.5, False, 6),
        (["knock", "mumble"], "step_limit", 0.5, False, 6),
        (["knock", "mumble", "mumble", "mumble"], "invalid_limit", 0.5, False, 4),
        (["!no action here"], "invalid_limit", 0.0, False, 3),
        (["knock", "!nothing", "!nothing", "!nothing"], "invalid_limit", 0.5, False, 4),
    ],
)
def test_every_end_has_its_reason_and_keeps_the_reward_reached(texts, end, reward, success, steps):
    episode, _ = play(texts)
    assert (episode.end, episode.reward, episode.success) == (end, reward, success)
    assert episode.steps == steps


@given(st.lists(st.sampled_from(["knock", "look", "mumble", "!", "!Action:", "explode", "enter"])))
def test_the_score_never_falls_whatever_the_agent_says(texts):
    episode, _ = play(texts or ["look"])
    scores = [turn.score for turn in episode.turns]
    assert scores == sorted(scores)
    assert episode.reward == scores[-1]
    assert episode.success == (episode.reward == 1.0)


def test_a_full_context_ends_the_episode_as_data():
    class Full(Replies):
        async def chat(self, request):
            if len(self.asked) == 2:
                raise ContextFull("too long")
            return await super().chat(request)

    model = Full(["Action: knock"])
    episode = asyncio.run(run_episode(request(), ToyEnvironment(), model, PROMPTS))
    assert (episode.end, episode.reward, episode.steps) == ("context", 0.5, 2)


def test_a_first_prompt_that_does_not_fit_is_bad_input():
    class Small(Replies):
        async def chat(self, request):
            raise ContextFull("maximum context length is 4 tokens")

    with pytest.raises(InputError, match=r"toy/door/0: the agent's first prompt .* 4 tokens"):
        asyncio.run(run_episode(request(), ToyEnvironment(), Small([]), PROMPTS))


class Samples(Replies):
    """Gives its replies as they are."""

    async def chat(self, request) -> list[Reply]:
        self.asked.append(list(request.messages))
        return [self.texts[(len(self.asked) - 1) % len(self.texts)]]


def test_thoughts_and_the_reasons_for_no_action_stand_apart_in_the_record():
    model = Samples(
        [
            Reply("", reasoning="Action: enter", fault="only reasoning"),
            Reply("I look."),
            Reply("Action: look", reasoning="hm"),
        ]
    )
    episode = asyncio.run(run_episode(request(), ToyEnvironment(), model, PROMPTS))
    assert [turn.fault for turn in episode.turns[:3]] == ["only reasoning", "no action line", ""]
    assert [turn.reasoning for turn in episode.turns[:3]] == ["Action: enter", "", "hm"]
    assert episode.faults == {"only reasoning": 2, "no action line": 2}
    assert "enter" not in str(episode.messages)
    assert all(message["content"].strip() for message in episode.messages)


@pytest.mark.parametrize(("plan_mode", "thoughts"), [("thought", True), ("query", False)])
def test_an_answer_that_began_anew_stands_alone_in_the_conversation(plan_mode, thoughts):
    model = Samples([Reply("Thought: hm.\nAction: enter", whole=True)])
    asked = request(plan=PLAN, plan_mode=plan_mode, thoughts=thoughts)
    episode = asyncio.run(run_episode(asked, ToyEnvironment(), model, PROMPTS))
    assert episode.turns[0].action == "enter"
    assert episode.messages[-1]["content"] == "Thought: hm.\nAction: enter"


def test_a_lost_environment_is_no_episode():
    with pytest.raises(EnvironmentLost):
        play(["knock"], environment=ToyEnvironment(lost_after=2))


def test_acting_without_thoughts_starts_every_reply_with_the_action():
    asked = request(thoughts=False)
    model = Replies([" knock", " enter"])
    episode = asyncio.run(run_episode(asked, ToyEnvironment(), model, PROMPTS))
    assert [turn.action for turn in episode.turns] == ["knock", "enter"]
    assert all(sent[-1] == {"role": "assistant", "content": "Action:"} for sent in model.asked)
    assert "Thought" not in str(model.asked)


def test_a_plan_of_another_task_is_refused():
    from mpo_core.episode import EpisodeRequest
    from mpo_core.types import Plan
    from tests.fakes import protocol, task

    with pytest.raises(ValueError, match="given to"):
        EpisodeRequest.of(task(1), Plan.of("toy/door/2", PLAN, "test"), "m", protocol(), 0)


@given(st.lists(st.text("ab ", min_size=1), unique=True), st.integers(0, 20), st.integers(0, 9))
def test_listed_actions_are_valid_distinct_and_repeatable(actions, count, seed):
    drawn = draw_actions(actions, count, seed)
    assert len(drawn) == min(count, len(actions))
    assert set(drawn) <= set(actions) and len(set(drawn)) == len(drawn)
    assert drawn == draw_actions(list(reversed(actions)), count, seed)
