import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.completions import Reply
from mpo_core.errors import ContextFull, InputError, ModelUnavailable
from mpo_core.plan_text import read_plan
from mpo_core.planning import Sampling, plan_ledger, sample_plans
from tests.fakes import PROMPTS, Replies, task

GOOD = "Step 1: Look around.\nStep 2: Act."
SAMPLING = Sampling(per_task=2, temperature=0.8, max_tokens=64, seed=1)


@pytest.mark.parametrize(
    ("answer", "plan"),
    [
        (GOOD, GOOD),
        ("Here is a plan:\n1. Look around.\n2) Act.\nGood luck!", GOOD),
        ("<plan>\nStep 1: Look around.\nStep 2: Act.\n</plan>\n3. Not this.", GOOD),
        ("<workflow>\nStep 1: Look around.\nStep 2: Act.\n</workflow>", GOOD),
        ("**Step 1:** Look around.\n- Step 2: Act.", GOOD),
        ("step 7 : Look around.\nStep 9: Act.", GOOD),
        ("I cannot do that.", None),
        ("", None),
        ("ERROR", None),
    ],
)
def test_the_steps_of_an_answer_are_its_plan(answer, plan):
    assert read_plan(answer).text == plan


def test_a_truncated_answer_loses_its_unfinished_step():
    assert read_plan(GOOD + "\nStep 3: Then go to the", truncated=True).text == GOOD
    assert read_plan("Step 1: Look ar", truncated=True).text is None


@given(st.lists(st.from_regex(r"[A-Za-z][A-Za-z .]{0,30}[a-z]", fullmatch=True), min_size=1))
def test_reading_a_plan_again_changes_nothing(steps):
    plan = read_plan("\n".join(f"{k}. {step}" for k, step in enumerate(steps, 1))).text
    assert read_plan(plan).text == plan
    assert len(plan.splitlines()) == len(steps)


def sample(path, model, tasks, sampling=SAMPLING):
    async def main():
        with plan_ledger(path) as ledger:
            return await sample_plans(tasks, model, {"toy": PROMPTS}, ledger, sampling)

    return asyncio.run(main())


def test_plans_are_bound_to_their_tasks_and_asked_once(tmp_path):
    model, tasks = Replies([GOOD]), [task(1), task(2)]
    plans = sample(tmp_path / "p", model, tasks)
    assert [(p.task_id, p.sample) for p in plans] == [
        ("toy/door/1", 0),
        ("toy/door/1", 1),
        ("toy/door/2", 0),
        ("toy/door/2", 1),
    ]
    again = Replies(["never asked"])
    assert sample(tmp_path / "p", again, tasks) == plans
    assert not again.asked


def test_answers_without_a_plan_are_drawn_again(tmp_path):
    model = Replies(["no", "no", GOOD])
    assert len(sample(tmp_path / "p", model, [task()])) == 2


def test_a_task_short_of_plans_stops_the_run_and_records_nothing(tmp_path):
    with pytest.raises(InputError, match=r"toy/door/0: only 0 of 2 .*: 0 of 8 .* held a plan"):
        sample(tmp_path / "p", Replies(["no plan"]), [task()])
    assert (tmp_path / "p").read_bytes() == b""


class Gives(Replies):
    """A server that gives a number of answers whatever it is asked for."""

    def __init__(self, replies, at_once=1):
        super().__init__([])
        self.replies, self.at_once, self.seeds = list(replies), at_once, []

    async def chat(self, request):
        self.seeds.append(request.seed)
        first = self.at_once * (len(self.seeds) - 1)
        return [self.replies[(first + k) % len(self.replies)] for k in range(self.at_once)]


@pytest.mark.parametrize("at_once", [1, 2, 4, 5, 7])
def test_a_server_that_gives_fewer_or_more_answers_is_asked_for_the_rest(tmp_path, at_once):
    model = Gives([Reply(f"Step 1: Look {k}.") for k in range(9)], at_once)
    plans = sample(tmp_path / "p", model, [task()], Sampling(5, 0.8, 64, 1, resamples=0))
    assert len({plan.text for plan in plans}) == 5
    # Each draw is another one.
    assert len(set(model.seeds)) == len(model.seeds) == -(-5 // at_once)


def test_a_task_goes_on_as_long_as_plans_come(tmp_path):
    model = Gives([Reply("no"), Reply("Step 1: Look."), Reply("no"), Reply("Step 1: Go.")])
    assert len(sample(tmp_path / "p", model, [task()], Sampling(4, 0.8, 64, 1, resamples=4))) == 4
    with pytest.raises(InputError, match="only 3 of 4 plans: 3 of 7 answers"):
        sample(tmp_path / "q", Gives(model.replies), [task()], Sampling(4, 0.8, 64, 1, resamples=3))


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (
            Reply("", True, reasoning="Let me think of it", fault="only reasoning"),
            r"8 only reasoning; the first: 'Let me think of it'\). The model's thought took all 64 "
            r"tokens: raise planner.max_tokens, or set models.X.reasoning=off$",
        ),
        (Reply("<think>Let me", True), "thought took all 64 tokens: raise planner.max_tokens"),
        (Reply("", True, fault="empty"), "thought took all 64 tokens: raise planner.max_tokens"),
        (Reply("<think>a</think>"), "gives no answer: set models.X.reasoning=off"),
        (Reply("", fault="empty"), r"\(8 empty; the first: ''\). The answers are empty"),
        (Reply("", fault="refusal"), "8 refusal.* The model refuses"),
        (Reply("I'm sorry, I cannot."), "8 refusal; the first: \"I'm sorry.* The model refuses"),
        (Reply("", fault="content filter"), "content filter stopped the answers"),
        (Reply("", fault="tool call"), "calls a tool: switch tools off"),
        (Reply("Step 1: Go to", True), "cut before .* raise planner.max_tokens"),
        (Reply("I walk there, and then I", True), "8 no steps.* cut at 64 .*planner.max_tokens"),
        (Reply("I just go."), "8 no steps; the first: 'I just go.'.* Check the planner's prompt"),
    ],
)
def test_the_last_line_says_why_answers_held_no_plan_and_what_to_set(tmp_path, reply, says):
    with pytest.raises(InputError, match=says) as raised:
        sample(tmp_path / "p", Gives([reply], at_once=2), [task()])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "reply",
    [
        Reply("", True, reasoning="Hm", fault="only reasoning"),
        Reply("", True, fault="empty"),
        *(Reply("", fault=one) for one in ("only reasoning", "refusal", "tool call")),
        Reply("Step 1: Go to", True),
        Reply("I just go."),
    ],
)
def test_a_proxy_is_told_what_can_be_set_there(tmp_path, reply):
    asked = Sampling(1, 0.8, 64, 1, resamples=0, asked="proxy")
    with pytest.raises(InputError) as raised:
        sample(tmp_path / "p", Gives([reply], at_once=2), [task()], asked)
    remedy = str(raised.value).rpartition("). ")[2]
    assert not re.search(r"models\.|(?<!proxy)\.max_tokens|\{", remedy), remedy
    assert ("proxy.max_tokens" in remedy) == reply.truncated


def test_a_server_without_any_answer_is_named(tmp_path):
    with pytest.raises(InputError, match=r"0 of 0 answers .* \(no answer\). The server gave no"):
        sample(tmp_path / "p", Gives([Reply("a")], at_once=0), [task()])


def test_unreadable_answers_of_a_run_that_goes_on_are_counted_in_one_line(tmp_path, caplog):
    wrong = [Reply("<think>hm"), Reply("I just go."), Reply("<think>a", True)]
    sample(tmp_path / "p", Gives([*wrong, Reply(GOOD)], at_once=4), [task(0), task(1)])
    [record] = caplog.records
    assert record.getMessage() == (
        "plans by replies: 12 of 16 answers held no plan (8 only reasoning, 4 no steps); the "
        "first for toy/door/0: '<think>hm'"
    )
    caplog.clear()
    sample(tmp_path / "q", Replies([GOOD]), [task(0)])
    assert not caplog.records


def test_a_prompt_that_does_not_fit_the_planner_is_one_clear_line(tmp_path):
    class Short(Replies):
        async def chat(self, request):
            raise ContextFull("maximum context length is 64 tokens,\nyou asked for 99")

    with pytest.raises(
        InputError, match=r"^toy/door/0: the planner's prompt does not fit"
    ) as raised:
        sample(tmp_path / "p", Short([]), [task()])
    for part in ("replies", "models.X.max_model_len", "planner.max_tokens", "64 tokens, you asked"):
        assert part in str(raised.value)
    assert (tmp_path / "p").read_bytes() == b""


def test_a_failed_request_never_becomes_a_plan(tmp_path):
    class Down(Replies):
        async def chat(self, request):
            raise ModelUnavailable("down")

    with pytest.raises(ModelUnavailable):
        sample(tmp_path / "p", Down([]), [task()])
    assert (tmp_path / "p").read_bytes() == b""


def test_plans_of_another_planner_or_temperature_are_not_taken_for_these(tmp_path):
    sample(tmp_path / "p", Replies([GOOD], fingerprint="a"), [task()])
    other = Replies([GOOD], fingerprint="b")
    sample(tmp_path / "p", other, [task()])
    assert other.asked
    warmer = Replies([GOOD], fingerprint="a")
    sample(tmp_path / "p", warmer, [task()], Sampling(2, 1.2, 64, 1))
    assert warmer.asked
