"""What SFT imitates, and what is kept from training."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from jobs.configs import named_config
from jobs.run import Round
from jobs.tasks import set_apart
from mpo_core.demonstrations import best_plans, of_episode, of_plan
from mpo_core.pairs import make_pairs
from mpo_core.prompts import load_prompts
from mpo_core.run_folder import in_round
from mpo_core.types import Plan, PlanScore, Task, Turn
from tests.fakes import PROMPTS, episode, request

TASK = Task(
    id="scienceworld/boil/1", env="scienceworld", type="boil", split="train", description="Boil."
)


def task(env: str, number: int) -> Task:
    return Task(id=f"{env}/t/{number}", env=env, type="t", split="train")


def score(plan: Plan, *rewards: float) -> PlanScore:
    return PlanScore.of(plan.task_id, plan.id, rewards)


def test_a_plan_is_shown_as_the_answer_to_what_the_planner_is_asked():
    prompts = {"scienceworld": load_prompts("scienceworld")}
    shown = of_plan(Plan.of(TASK.id, "Step 1: Heat it.", "rules"), TASK, prompts)
    assert shown.prompt == prompts["scienceworld"].planner_messages("Boil.")
    assert shown.completion == [{"role": "assistant", "content": "Step 1: Heat it."}]
    assert (shown.task_id, shown.origin) == (TASK.id, "rules")


def test_a_prompt_that_asks_for_tags_is_answered_in_them():
    told = replace(PROMPTS, planner="Plan {task}:\n<workflow>\nStep 1: ...\n</workflow>\n")
    prompts = {"scienceworld": told}
    plans = [Plan.of(TASK.id, f"Step 1: {word}.", "base") for word in ("Heat", "Wait")]
    scores = [score(plans[0], 1.0), score(plans[1], 0.0)]
    [pair] = make_pairs("best_worst", [TASK], plans, scores, prompts)
    shown = of_plan(plans[0], TASK, prompts)
    assert (
        shown.completion
        == pair.chosen
        == [{"role": "assistant", "content": "<workflow>\nStep 1: Heat.\n</workflow>"}]
    )
    assert pair.rejected[0]["content"] == "<workflow>\nStep 1: Wait.\n</workflow>"
    assert shown.prompt == pair.prompt == told.planner_messages("Boil.")


def test_an_episode_is_shown_from_its_first_answer_on():
    said = ["system: act", "an example", "Action: one", "task", "Action: go", "a room", "Action: x"]
    messages = [
        {"role": "assistant" if text.startswith("Action") else "user", "content": text}
        for text in said
    ]
    turn = Turn(reply="Action: go", action="go", observation="a room", score=0)
    played = episode(request(), reward=1).model_copy(
        update={"messages": messages, "turns": [turn, turn]}
    )
    shown = of_episode(played)
    assert shown.prompt == messages[:4] and shown.completion == messages[4:]


def test_of_plans_that_score_the_same_the_first_sampled_is_the_best():
    plans = [Plan.of(TASK.id, text, "base", k) for k, text in enumerate("abc")]
    scores = [score(plans[0], 0.2, 0.2), score(plans[1], 0.8, 0.4), score(plans[2], 0.6, 0.6)]
    other = task("scienceworld", 2)
    assert best_plans([TASK, other], plans, scores) == [(TASK, plans[1])]


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0, 0.99))
def test_a_share_of_each_environments_tasks_is_set_apart(n_one, n_other, share):
    tasks = [task("one", k) for k in range(n_one)] + [task("other", k) for k in range(n_other)]
    apart = set_apart(tasks, share)
    for env, n in (("one", n_one), ("other", n_other)):
        assert sum(t.env == env for t in apart) == int(share * n)
    assert set_apart(tasks[::-1], share) == apart[::-1]


def test_a_round_starts_from_the_planner_of_the_one_before():
    demo, paper = named_config("demo-llm"), named_config("demo-paper")
    assert Round.of(demo, 1) == Round(1, "base", "mpo")
    assert Round.of(paper, 1) == Round(1, "sft", "mpo")
    assert Round.of(paper, 2) == Round(2, "mpo", "mpo-2")
    assert Round.of(demo, 3) == Round(3, "mpo-2", "mpo-3")
    assert [in_round("scores.parquet", n) for n in (1, 2)] == ["scores.parquet", "scores-2.parquet"]
