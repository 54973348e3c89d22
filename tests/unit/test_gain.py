"""What a report opens with: the gain in a sentence, and two plans of one task side by side."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.evaluation import Attempt, compare, comparisons, task_results
from mpo_core.report.gain import example, gains, imitation, merged_example, opening
from mpo_core.report.page import against_reference, markdown, paired_rows
from tests.fakes import episode, request

SETTINGS = {"evaluation.plan_samples": 3, "planner.temperature": 0.8}
rewards_of = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=6)


def attempts(arm: str, rewards: list[float], *, sampled: bool = False, split: str = "unseen"):
    """An attempt a task, at a plan of the arm's own."""
    found = []
    for number, reward in enumerate(rewards, 0 if split == "unseen" else 10):
        asked = request(number, plan=f"Step 1: Go as {arm} does.")
        task = asked.task.model_copy(update={"split": split})
        played = episode(asked, reward, reward == 1)
        found.append(Attempt(arm, task, played, sampled, asked.plan.text))
    return found


def summary(*of_arms: list[Attempt], **changes) -> dict:
    played = [attempt for of_arm in of_arms for attempt in of_arm]
    return {
        "name": "mine",
        "seed": 1,
        "shuffled": False,
        "tasks": {"train": 3},
        "pair_rules": {},
        "settings": SETTINGS,
        **{"plans": 12, "episodes": 36, "pairs": 2},
        "example": example(played, seed=1),
        **compare(task_results(played, 1), 500),
        **changes,
    }


@pytest.mark.parametrize(
    ("mpo", "says"),
    [
        ([1.0, 1.0, 0.5, 1.0], "+0.875 [95% CI +0.625, +1.000] (a gain)"),
        ([0.0, 0.0, 0.0, 0.0], "+0.000 [95% CI +0.000, +0.000] (no gain is shown)"),
        ([1.0, 0.0, 0.0, 0.0], "(no gain is shown)"),
    ],
)
def test_the_first_line_says_the_gain_as_it_is(mpo, says):
    page = markdown(summary(attempts("sft", [0.0] * 4), attempts("mpo", mpo)))
    sentence = page.splitlines()[2]
    assert sentence.startswith(
        "On 4 unseen tasks of toy the mean reward of MPO plans minus that of SFT plans is "
    )
    assert says in sentence and sentence.endswith(" with one greedy plan a task.")


def test_a_loss_is_called_one():
    [sentence] = gains(summary(attempts("sft", [1.0] * 4), attempts("mpo", [0.0, 0, 0.5, 0])))
    assert "-0.875 [95% CI -1.000, -0.625] (a loss)" in sentence


def test_a_single_task_shows_neither_gain_nor_loss():
    for before, after in ((0.0, 1.0), (1.0, 0.0)):
        [sentence] = gains(summary(attempts("sft", [before]), attempts("mpo", [after])))
        assert "(no gain is shown)" in sentence
    [sentence] = imitation(summary(attempts("teacher", [1.0]), attempts("sft", [0.0])))
    assert sentence.startswith("SFT is not shown to differ from its teacher")


def test_the_first_line_has_the_gain_of_sampled_plans_too():
    found = summary(
        attempts("base", [0.0] * 4),
        [*attempts("base", [0.5] * 4, sampled=True), *attempts("mpo", [1.0] * 4)],
        attempts("mpo", [0.5] * 4, sampled=True),
    )
    [sentence] = gains(found)
    assert (
        "minus that of base planner's plans is +1.000 [95% CI +1.000, +1.000] (a gain) with one "
        in sentence
    )
    assert sentence.endswith(
        "and +0.000 [95% CI +0.000, +0.000] (no gain is shown) with 3 sampled plans a task."
    )


@pytest.mark.parametrize(
    ("sft", "drawn", "says"),
    [
        ([0.5] * 8, [0.5] * 8, "SFT is not shown to differ from its teacher on the unseen tasks"),
        ([0.0, *[0.5] * 7], [0.5] * 8, "SFT is not shown to differ from its teacher"),
        ([1.0] * 8, [0.5] * 8, "SFT does better than its teacher on the unseen tasks of toy: "),
        ([1.0] * 8, [0.0] * 8, "SFT falls short of its teacher"),
        ([0.0] * 8, [0.5] * 8, "SFT falls short of its teacher"),
        ([0.5] * 8, [0.25] * 8, "SFT falls short of its teacher"),
    ],
)
def test_sft_is_held_against_its_teacher_by_greedy_and_by_sampled_plans(sft, drawn, says):
    found = summary(
        attempts("teacher", [0.5] * 8),
        attempts("sft", sft),
        attempts("teacher", [0.5] * 8, sampled=True),
        attempts("sft", drawn, sampled=True),
    )
    [sentence] = imitation(found)
    assert sentence.startswith(says) and sentence in markdown(found)
    assert "SFT's plans minus the teacher's earn " in sentence and "-0.000" not in sentence
    for rewards in (sft, drawn):
        assert f"{sum(rewards) / 8 - 0.5:+.3f} [" in sentence


def test_without_a_teacher_nothing_is_said_of_it():
    assert imitation(summary(attempts("sft", [0.0]), attempts("mpo", [1.0]))) == []


def test_the_gain_is_that_on_unseen_tasks_where_there_are_such():
    seen = [attempts(arm, [0.5], split="seen") for arm in ("sft", "mpo")]
    assert gains(summary(*seen))[0].startswith("On 1 seen tasks of toy")
    both = summary(*seen, *(attempts(arm, [0.5, 1.0]) for arm in ("sft", "mpo")))
    assert [sentence[:28] for sentence in gains(both)] == ["On 2 unseen tasks of toy the"]


def test_a_plan_that_is_not_greedy_is_not_called_so():
    found = summary(attempts("sft", [0.0]), attempts("mpo", [1.0]))
    found["settings"] = SETTINGS | {"planner.evaluation_temperature": 0.5}
    assert "greedy plan a task" not in markdown(found)


@pytest.mark.parametrize("arms", [["none", "base", "expert"], ["mpo"], ["sft", "rft"]])
def test_without_a_trained_planner_and_another_there_is_no_gain_to_tell(arms):
    found = summary(*(attempts(arm, [0.0, 1.0]) for arm in arms))
    assert (gains(found), found["example"], opening(found)) == ([], None, [])
    assert markdown(found).splitlines()[2].startswith("3 training tasks")


def test_two_plans_of_the_first_task_that_the_better_has_won_stand_side_by_side():
    found = summary(
        attempts("none", [1.0] * 4),
        attempts("sft", [1.0, 0.0, 0.5, 0.0]),
        attempts("mpo", [0.0, 0.5, 1.0, 1.0]),
    )
    assert found["example"] == {
        **{"arm_a": "mpo", "arm_b": "sft", "split": "unseen", "seed": 1},
        **{"tasks": 4, "won": 2, "lost": 1, "task_id": "toy/door/2", "task": "Open door 2."},
        **{"plan_a": "Step 1: Go as mpo does.", "reward_a": 1.0},
        **{"plan_b": "Step 1: Go as sft does.", "reward_b": 0.5},
    }
    page = markdown(found)
    assert (
        "Of 4 unseen tasks, MPO plans won 2 that SFT plans did not, and 1 the other way round. "
        "The first of the 2, `toy/door/2`: Open door 2.\n\n"
        "| SFT plans: reward 0.500 | MPO plans: reward 1.000 |\n|---|---|\n"
        "| Step 1: Go as sft does. | Step 1: Go as mpo does. |\n"
    ) in page
    assert page.index("toy/door/2") < page.index("training tasks")


def test_where_no_plan_has_won_so_the_report_says_it():
    found = summary(attempts("sft", [1.0, 0.0]), attempts("mpo", [0.0, 0.5]))
    assert found["example"]["task_id"] is None
    assert (
        "Of 2 unseen tasks, MPO plans won none that SFT plans did not (1 the other way round), so "
        "there are no two plans to show."
    ) in markdown(found)


def test_a_plan_stands_in_its_cell_whatever_it_holds():
    played = [*attempts("sft", [0.0]), *attempts("mpo", [1.0])]
    text = "Step 1: Take <b>a | b</b> & go.\n  Step 2: Enter."
    played[1] = replace(played[1], plan=text)
    [row] = [line for line in opening(summary(played)) if "Step 2" in line]
    assert row.endswith("| Step 1: Take &lt;b>a \\| b&lt;/b> &amp; go.<br>Step 2: Enter. |")


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 2), min_size=1, max_size=6))
def test_the_example_counts_every_task_once(pairs):
    sft, mpo = map(list, zip(*pairs, strict=True))
    found = example([*attempts("sft", sft), *attempts("mpo", mpo)], seed=0)
    assert found["tasks"] == len(pairs)
    won = [k for k, (one, other) in enumerate(pairs) if other == 1 > one]
    assert (found["won"], found["lost"]) == (
        len(won),
        sum(one == 1 > other for one, other in pairs),
    )
    assert found["task_id"] == (f"toy/door/{won[0]}" if won else None)
    mirrored = example([*attempts("sft", mpo), *attempts("mpo", sft)], seed=0)
    assert (mirrored["won"], mirrored["lost"]) == (found["lost"], found["won"])


def test_seeds_show_the_first_example_there_is_and_count_all():
    none = example([*attempts("sft", [0.0]), *attempts("mpo", [0.5])], seed=1)
    some = example([*attempts("sft", [0.0, 1.0]), *attempts("mpo", [1.0, 0.0])], seed=2)
    other = example([*attempts("base", [0.0]), *attempts("mpo", [1.0])], seed=3)
    found = merged_example([none, None, some, other])
    assert (found["seed"], found["task_id"]) == (2, "toy/door/0")
    assert (found["tasks"], found["won"], found["lost"]) == (3, 1, 1)
    assert merged_example([none])["task_id"] is None
    assert merged_example([None]) is None
    page = markdown(
        summary(attempts("sft", [0.0]), attempts("mpo", [1.0]), example=found, runs={"a": 1})
    )
    assert "Of 3 unseen tasks of all seeds, MPO plans won 1" in page
    assert "The first of the 1, seed 2, `toy/door/0`" in page


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        (["none", "sft", "rft", "mpo"], ["none-sft", "rft-sft", "mpo-sft", "mpo-rft"]),
        (["sft", "rft", "pg", "expert"], ["rft-sft", "pg-sft", "expert-sft", "pg-rft"]),
        (["sft", "rft", "mpo-2"], ["rft-sft", "mpo-2-sft", "mpo-2-rft"]),
        (["sft", "rft", "mpo-mine"], ["rft-sft", "mpo-mine-sft"]),
        (["rft", "mpo"], ["mpo-rft"]),
        (["none", "base", "mpo"], ["none-base", "mpo-base"]),
        (["base", "sft", "mpo"], ["base-sft", "mpo-sft", "mpo-base"]),
        (
            ["base", "sft", "rft", "mpo"],
            ["base-sft", "rft-sft", "mpo-sft", "mpo-rft", "mpo-base"],
        ),
    ],
)
def test_what_learns_more_from_scores_is_compared_with_rft_too(arms, expected):
    assert [f"{one}-{other}" for one, other in comparisons(arms)] == expected
    found = summary(*(attempts(arm, [0.0, 1.0]) for arm in arms))
    assert [f"{row['arm_a']}-{row['arm_b']}" for row in found["paired"]] == expected
    reference = expected[0].rsplit("-", 1)[1]
    assert {row["arm_b"] for row in against_reference(found["paired"])} == {reference}


@given(rewards_of, rewards_of)
def test_greedy_and_sampled_results_never_enter_each_other(greedy, sampled):
    tasks = min(len(greedy), len(sampled))
    arms = [attempts(arm, greedy[:tasks]) for arm in ("sft", "mpo")]
    drawn = [attempts(arm, sampled[:tasks], sampled=True) for arm in ("sft", "mpo")]
    plain, both = summary(*arms), summary(*arms, *drawn)
    assert {key: both[key] for key in plain} == plain
    alone = summary(*(attempts(arm, sampled[:tasks]) for arm in ("sft", "mpo")))
    assert both["sampled"] == {key: alone[key] for key in both["sampled"]}


def test_differences_of_sampled_plans_stand_beside_the_others():
    found = summary(
        attempts("none", [0.0, 0.0]),
        attempts("sft", [0.0, 0.5]),
        attempts("sft", [0.5, 0.5], sampled=True),
        attempts("expert", [1.0, 1.0]),
    )
    header, none, expert = paired_rows(found["paired"], found["sampled"]["paired"])
    assert header[3:5] == ["difference [95% CI]", "sampled plans"]
    assert none[4] == "-0.500 [-0.500, -0.500]" and expert[4] == "+0.500 [+0.500, +0.500]"
    page = markdown(found)
    assert "## Sampled plans\n" in page and "Mean reward over 3 plans a task" in page
    assert "| toy unseen | SFT plans | 0.500 [0.500, 0.500] |" in page
