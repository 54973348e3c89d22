import asyncio
from dataclasses import dataclass, field, replace

import pytest

from mpo_core.abstraction import RULES
from mpo_core.completions import Reply
from mpo_core.config import Section
from mpo_core.envs.alfworld import ALFWorld
from mpo_core.errors import ContextFull, InputError, ModelUnavailable
from mpo_core.planning import Sampling, plan_ledger
from mpo_core.prompts import Prompts
from mpo_core.teacher import ModelTeacher, RuleTeacher, make_seeds, seeds_of, trajectory
from mpo_core.types import Episode, Task, Turn
from tests.fakes import PROMPTS, Doors, Replies, task

GOOD = "Step 1: Look around.\nStep 2: Act."
SAMPLING = Sampling(
    per_task=2, temperature=0.7, max_tokens=64, seed=1, resamples=1, asked="teacher"
)
ASKED = replace(PROMPTS, teacher="Task: {task}\nDone:\n{trajectory}\nPlan?")


def episode(of: Task, *turns: tuple[str, str], success: bool = True) -> Episode:
    return Episode(
        key=of.id,
        task_id=of.id,
        plan_id=None,
        plan=None,
        plan_mode="query",
        model="expert",
        repetition=0,
        messages=[{"role": "user", "content": "A room."}],
        turns=[
            Turn(reply=f"Action: {action}", action=action, observation=seen, score=1.0)
            for action, seen in turns or [("knock", "It opens."), ("enter", "Done.")]
        ],
        reward=1.0 if success else 0.25,
        success=success,
        end="done" if success else "failed",
    )


def teacher(model, sampling: Sampling = SAMPLING, prompts: Prompts = ASKED) -> ModelTeacher:
    return ModelTeacher(model.fingerprint, {"toy": prompts}, sampling, model)


def seeds(path, tasks, by, episodes=None, lessons=None):
    """The plans in the ledger after an attempt, and the faults."""

    played = {one.task_id: one for one in episodes or map(episode, tasks)}

    async def main():
        with plan_ledger(path) as ledger:
            faults = await make_seeds(
                tasks,
                lambda one: played[one.id],
                by,
                ledger,
                on_lesson=(lessons if lessons is not None else []).append,
            )
            return seeds_of(tasks, by, ledger), faults

    return asyncio.run(main())


def test_a_teacher_model_is_shown_the_task_and_what_the_expert_did(tmp_path):
    model = Replies([GOOD])
    [first, second], faults = seeds(tmp_path / "p", [task()], teacher(model))
    assert (first.text, first.sample, second.sample, faults) == (GOOD, 0, 1, {})
    [[message]] = model.asked
    assert "Task: Open door 0." in message["content"]
    assert "> knock\nIt opens.\n> enter\nDone.\n" in message["content"]


def test_a_trajectory_is_told_briefly():
    told = trajectory(episode(task(), *[("wait", "Nothing.")] * 3, ("look", "A  room.\n" * 100)))
    assert told.startswith("> wait\nNothing.\n(the same 3 times)\n> look\nA room. A room.")
    assert told.endswith(" ...") and len(told) < 500


def test_what_is_taught_is_not_taught_again(tmp_path):
    tasks, model = [task(1), task(2)], Replies([GOOD])
    plans, _ = seeds(tmp_path / "p", tasks, teacher(model))
    again = Replies(["never asked"])
    before = (tmp_path / "p").read_bytes()
    assert seeds(tmp_path / "p", tasks, teacher(again)) == (plans, {})
    assert not again.asked and (tmp_path / "p").read_bytes() == before


def test_a_task_cut_off_between_its_plans_is_completed(tmp_path):
    plans, _ = seeds(tmp_path / "p", [task()], teacher(Replies([GOOD])))
    first, rest = (tmp_path / "p").read_bytes().splitlines(keepends=True)
    (tmp_path / "p").write_bytes(first + rest[:20])
    model = Replies(["1. Look around.\n2. Act."])
    assert seeds(tmp_path / "p", [task()], teacher(model)) == (plans, {})
    assert len(model.asked) == 1


def test_unparseable_answers_are_drawn_again_and_then_fail_their_task_only(tmp_path):
    @dataclass
    class Picky(Replies):
        """Never answers for door 1 with a plan, and for the others at the second draw."""

        draws: dict[str, int] = field(default_factory=dict)

        async def chat(self, request):
            draws = self.draws[request.session] = self.draws.get(request.session, 0) + 1
            good = "door 1." not in request.messages[0]["content"] and draws > 1
            self.texts = [GOOD if good else "I cannot."]
            return await super().chat(request)

    model, lessons = Picky([]), []
    plans, faults = seeds(
        tmp_path / "p", [task(0), task(1), task(2)], teacher(model), lessons=lessons
    )
    assert [p.task_id for p in plans] == ["toy/door/0"] * 2 + ["toy/door/2"] * 2
    assert list(faults) == ["toy/door/1"]
    assert faults["toy/door/1"].startswith("too few of the teacher's answers held a plan (refusal)")
    # What was paid for without success is counted too.
    assert sum(r.completion_tokens for lesson in lessons for r in lesson.replies) == 3 * 4
    # The failed one is tried again.
    assert seeds(tmp_path / "p", [task(1)], teacher(Replies([GOOD])))[1] == {}


@pytest.mark.parametrize(
    ("reply", "reason", "remedy"),
    [
        (Reply("<think>I wonder", True), "only reasoning", "all 64 tokens: raise seeds.max_tokens"),
        (Reply("", fault="tool call"), "tool call", "switch tools off"),
        (Reply("Step 1: Go", True), "cut before the first step ended", "raise seeds.max_tokens"),
        (Reply("It knocks."), "no steps", "Check the teacher's prompt"),
    ],
)
def test_a_tasks_failure_names_reason_and_remedy_and_the_log_counts_them(
    tmp_path, caplog, reply, reason, remedy
):
    class Same(Replies):
        async def chat(self, request):
            return [reply] * request.n

    _, faults = seeds(tmp_path / "p", [task(0), task(1)], teacher(Same([])))
    assert list(faults) == ["toy/door/0", "toy/door/1"]
    [told] = set(faults.values())
    assert told.startswith(f"too few of the teacher's answers held a plan ({reason}). ")
    assert remedy in told
    [record] = caplog.records
    assert f"8 of 8 answers held no plan (8 {reason}); the first for toy/door/" in record.message


def test_an_episode_too_long_for_the_teacher_fails_its_task_only(tmp_path):
    class Short(Replies):
        async def chat(self, request):
            if "door 0" in request.messages[0]["content"]:
                raise ContextFull("too long")
            return await super().chat(request)

    plans, faults = seeds(tmp_path / "p", [task(0), task(1)], teacher(Short([GOOD])))
    assert {plan.task_id for plan in plans} == {"toy/door/1"}
    assert faults == {"toy/door/0": "the expert's episode does not fit the teacher's context"}


def test_a_teacher_that_is_down_stops_the_run_and_is_no_failure_of_a_task(tmp_path):
    class Down(Replies):
        async def chat(self, request):
            raise ModelUnavailable("down")

    with pytest.raises(ModelUnavailable):
        seeds(tmp_path / "p", [task()], teacher(Down([])))
    assert (tmp_path / "p").read_bytes() == b""


@pytest.mark.parametrize("by", [RuleTeacher({}), teacher(Replies([GOOD]))])
def test_an_expert_that_failed_teaches_nothing(tmp_path, by):
    failed = [episode(task(), success=False)]
    plans, faults = seeds(tmp_path / "p", [task()], by, failed)
    assert (plans, faults) == ([], {"toy/door/0": "the expert failed (reward 0.25)"})


def test_plans_of_another_teacher_prompt_or_setting_are_not_taken_for_these(tmp_path):
    seeds(tmp_path / "p", [task()], teacher(Replies([GOOD])))
    others = [
        teacher(Replies([GOOD], fingerprint="other")),
        teacher(Replies([GOOD]), replace(SAMPLING, temperature=1.0)),
        teacher(Replies([GOOD]), prompts=replace(ASKED, teacher="{task}{trajectory}")),
    ]
    for other in others:
        plans, _ = seeds(tmp_path / "p", [task()], other)
        assert {plan.origin for plan in plans} == {other.origin}
    assert len((tmp_path / "p").read_text().splitlines()) == 8


def test_a_teacher_model_needs_a_prompt():
    with pytest.raises(InputError, match="toy: no teacher prompt"):
        teacher(Replies([]), prompts=PROMPTS)


def test_the_rules_write_one_plan_a_task(tmp_path):
    pen = Task(id="alfworld/x/1", env="alfworld", type="x", split="train", description="A pen.")
    turns = [("take pen 1 from bed 1", ""), ("move pen 1 to desk 1", "")]
    dull = pen.model_copy(update={"id": "alfworld/x/2"})
    [plan], faults = seeds(
        tmp_path / "p",
        [pen, dull],
        RuleTeacher({"alfworld": ALFWorld()}),
        [episode(pen, *turns), episode(dull, ("look", "A room."))],
    )
    assert (plan.origin, plan.task_id, plan.sample) == (RULES, pen.id, 0)
    assert plan.text.startswith("Step 1: Look for a pen, first on the bed.\n")
    assert faults == {dull.id: "no rule fits what the expert did"}


def test_an_environment_without_rules_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"let a model teach \(seeds\.teacher\)"):
        seeds(tmp_path / "p", [task()], RuleTeacher({"toy": Doors(Section())}))
