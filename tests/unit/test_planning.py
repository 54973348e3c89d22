import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.errors import InputError, ModelUnavailable
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


def test_a_failed_request_never_becomes_a_plan(tmp_path):
    class Down(Replies):
        async def chat(self, messages, **options):
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
