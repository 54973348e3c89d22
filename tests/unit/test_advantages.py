"""What policy gradient and RFT above the mean learn from, and the loss of a plan."""

import json
from math import exp, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.advantages import advantages, plans_above_mean, scored_answers
from mpo_core.chat_templates import of_tokenizer
from mpo_core.config import PgConfig
from mpo_core.errors import InputError
from mpo_core.exact import exact
from mpo_core.formats import training_rows
from mpo_core.training import pg
from mpo_core.training.rows import BLANK, TOO_LONG, Fit
from mpo_core.types import Plan, PlanScore
from tests.fakes import PROMPTS, task
from tests.tiny_chat import make_tokenizer

WORLD = {"toy": PROMPTS}
REWARDS = st.lists(st.sampled_from([0, 1, 3, 7, 12]).map(lambda n: n / 12), min_size=1, max_size=8)


def scored(means: list[float], number: int = 0) -> tuple[list[Plan], list[PlanScore]]:
    plans = [Plan.of(task(number).id, f"Step 1: {k}.", "test", k) for k in range(len(means))]
    return plans, [PlanScore.of(p.task_id, p.id, [m]) for p, m in zip(plans, means, strict=True)]


@given(REWARDS)
def test_a_tasks_advantages_sum_to_zero_and_have_unit_spread_or_are_all_zero(means):
    found = advantages([exact(mean) for mean in means])
    assert sum(found) == pytest.approx(0, abs=1e-12)
    if len(set(means)) == 1:
        assert set(found) == {0.0}
    else:
        assert sum(a * a for a in found) == pytest.approx(len(means))
    order = sorted(range(len(means)), key=lambda k: means[k])
    assert [found[k] for k in order] == sorted(found)


@given(REWARDS, st.sampled_from([0.5, 1 / 3, 0.1]), st.sampled_from([0, 0.25, 0.5]))
def test_what_all_rewards_share_makes_no_advantage(means, scale, shift):
    moved = [exact(mean) * exact(scale) + exact(shift) for mean in means]
    assert advantages(moved) == pytest.approx(advantages([exact(mean) for mean in means]))


def test_advantages_by_hand():
    assert advantages([exact(x) for x in (0.0, 0.5, 1.0)]) == pytest.approx(
        [-sqrt(3 / 2), 0, sqrt(3 / 2)]
    )
    assert advantages([exact(x) for x in (1.0, 0, 0, 0)]) == pytest.approx(
        [sqrt(3), *[-1 / sqrt(3)] * 3]
    )


def test_means_that_tie_but_for_the_error_of_floats_are_no_advantage():
    plans, _ = scored([0, 0])
    scores = [
        PlanScore.of(plan.task_id, plan.id, rewards)
        for plan, rewards in zip(plans, ([1 / 12, 11 / 12], [0.1 + 0.2, 0.7]), strict=True)
    ]
    assert [a.advantage for a in scored_answers([task()], plans, scores, WORLD)] == [0, 0]


def test_every_sampled_plan_is_an_answer_a_repeated_one_as_often_as_it_was_drawn():
    plans, scores = scored([1.0, 0.0])
    drawn = [plans[0], plans[1], plans[0].model_copy(update={"sample": 2})]
    other, of_other = scored([0.5, 0.5], 1)
    answers = scored_answers([task(0), task(1)], [*drawn, *other], [*scores, *of_other], WORLD)
    assert [a.task_id for a in answers] == [task(0).id] * 3 + [task(1).id] * 2
    assert [a.completion[0]["content"] for a in answers[:3]] == [p.text for p in drawn]
    assert answers[0].prompt == PROMPTS.planner_messages(task(0).description)
    assert [a.score.plan_id for a in answers[:3]] == [p.id for p in drawn]
    assert [a.advantage for a in answers] == pytest.approx([sqrt(0.5), -sqrt(2), sqrt(0.5), 0, 0])


@given(st.lists(REWARDS, max_size=4))
def test_above_the_mean_are_the_plans_of_positive_advantage(means):
    tasks = [task(k) for k in range(len(means))]
    found = [scored(of_task, k) for k, of_task in enumerate(means)]
    plans, scores = ([x for pair in found for x in pair[side]] for side in (0, 1))
    picked = plans_above_mean(tasks, [*plans, *plans], scores)
    positive = {
        a.score.plan_id for a in scored_answers(tasks, plans, scores, WORLD) if a.advantage > 0
    }
    assert [plan.id for _, plan in picked] == [p.id for p in plans if p.id in positive]
    assert all(plan.task_id == of.id for of, plan in picked)


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.floats(-30, 0), st.floats(-30, 0), st.floats(-3, 3)), min_size=1, max_size=5
    ),
    st.floats(1.1, 10),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.2]),
)
def test_a_plans_loss_and_gradient_are_those_of_its_ratio(plans, cap, floor, beta):
    import torch

    now, before, gain = torch.tensor(plans, dtype=torch.float64).unbind(dim=1)
    now.requires_grad_()
    config = PgConfig(ratio_cap=cap, ratio_floor=floor, beta=beta)
    losses = pg.plan_losses(now, before, gain, config)
    losses.sum().backward()
    for k, (p, q, advantage) in enumerate(plans):
        ratio = min(exp(p - q), cap)
        weight = max(ratio, floor) if advantage > 0 else ratio
        reward = advantage - beta * (p - q)
        assert losses[k].item() == pytest.approx(-ratio * reward)
        assert now.grad[k].item() == pytest.approx(-weight * reward)


def a_row(advantage, answer="Step 1: Go.", **fields):
    return {
        "prompt": [{"role": "user", "content": "Plan for: go"}],
        "completion": [{"role": "assistant", "content": answer}],
        "advantage": advantage,
        **fields,
    }


def test_an_answer_is_read_from_the_suites_rows_and_from_a_file_of_ones_own(tmp_path):
    plans, scores = scored([1.0, 0.0])
    answers = scored_answers([task()], plans, scores, WORLD)
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(answer.model_dump_json() + "\n" for answer in answers))
    expected = [a.model_dump(include={"prompt", "completion", "advantage"}) for a in answers]
    assert pg.read_rows(file) == training_rows(file, "pg") == expected
    own = tmp_path / "own.json"
    own.write_text(json.dumps([{"instruction": "Plan", "output": "Step 1: Go.", "advantage": -2}]))
    [row] = training_rows(own, "pg")
    assert (row["completion"][0]["content"], row["advantage"]) == ("Step 1: Go.", -2)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "completion": "Step 1: Go."}, "advantage: missing"),
        (a_row("much"), "advantage: "),
        (a_row(float("nan")), "advantage: "),
        (
            a_row(1.0, completion=[{"role": r, "content": "x"} for r in ("assistant", "user")]),
            "completion: expected",
        ),
        ({"chosen": "a", "rejected": "b", "advantage": 1}, "prompt"),
    ],
)
def test_a_row_without_one_answer_and_its_advantage_is_refused(tmp_path, row, says):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=rf"row 1: .*{says}"):
        training_rows(file, "pg")


@pytest.mark.slow
def test_rows_that_teach_nothing_are_left_out_by_reason():
    tokenizer = make_tokenizer(["Plan for: go", "Step 1: Go."])
    template = of_tokenizer(tokenizer, "tiny", {})
    rows = [a_row(1.0), a_row(0.0), a_row(-1.0, " "), a_row(-1.0)]
    kept, dropped, cut = pg._tokenized(None, rows, tokenizer, template, 512)
    assert [row["advantage"] for row in kept] == [1.0, -1.0]
    assert dropped == {pg.NO_ADVANTAGE: 1, BLANK: 1} and cut == 0
    room = len(kept[0]["prompt_ids"])
    short, _, cut = pg._tokenized(None, rows, tokenizer, template, room + 1)
    assert [len(row["answer_ids"]) for row in short] == [1, 1] and cut == 2
    none, dropped, _ = pg._tokenized(None, rows, tokenizer, template, room)
    assert not none and dropped[TOO_LONG] == 2


FINE = {"ratio/capped": 0.1, "logratio/better": 0.5, "logratio/worse": -2.0, "kl": 0.05}


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({}, None),
        ({"logratio/better": -0.9}, None),
        ({"logratio/better": -2.0}, "collapsed, by 0.20 per token"),
        ({"ratio/capped": 0.6}, "60% of the plans' weights are at ratio_cap"),
        ({"kl": 0.7}, "0.70 nats a token"),
    ],
)
def test_a_planner_that_has_left_its_scored_plans_is_warned_of(figures, says):
    curve = [FINE] * 6 + [FINE | figures] * 2
    found = pg.warnings(curve, PgConfig(), Fit(0, {}, answer_tokens=10))
    assert [says in text for text in found] == ([True] if says else [])


def test_a_batch_of_worse_plans_alone_is_no_collapse():
    curve = [{k: v for k, v in FINE.items() if k != "logratio/better"}] * 4
    assert pg.warnings(curve, PgConfig(), Fit(0, {}, 10)) == []


def test_the_cap_is_above_one():
    assert log(PgConfig().ratio_cap) > 1
    with pytest.raises(ValueError, match="greater than 1"):
        PgConfig(ratio_cap=1)
