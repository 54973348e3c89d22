from mpo_core.report.conduct import conduct, conduct_rows, conduct_warnings
from mpo_core.types import Turn
from tests.fakes import episode, request


def played(end, *faults, reply=""):
    turns = [
        Turn(reply=reply, action=None if fault else "go", observation="", score=0, fault=fault)
        for fault in faults
    ]
    return episode(request(), 0.0).model_copy(update={"end": end, "turns": turns})


def test_ends_and_unreadable_replies_are_counted_by_arm():
    rows = conduct(
        {
            "none": [played("done", "", "", "", "", ""), played("step_limit", "")],
            "mpo": [played("context", "empty", ""), played("context", "tool call", "empty")],
        }
    )
    assert rows[0] == {
        "arm": "none",
        "ends": {"done": 1, "step_limit": 1},
        "replies": 6,
        "unreadable": {},
        "first_unreadable": "",
        "not_understood": 0,
        "first_not_understood": "",
    }
    assert rows[1]["unreadable"] == {"empty": 2, "tool call": 1}
    header, none, mpo = conduct_rows(rows)
    assert header == ["plans", "done", "step limit", "context", "replies", "without an action"]
    assert none == ["no plan", "1", "1", "0", "6", "0"]
    assert mpo == ["MPO plans", "0", "0", "2", "4", "3 (2 empty, 1 tool call)"]


def test_an_arm_that_was_not_understood_is_warned_of():
    rows = conduct(
        {
            "none": [played("done", *[""] * 9, "empty")],
            "mpo": [played("invalid_limit", "empty", "empty", "", reply=" Hm\n")],
            "sft": [played("context", ""), played("done", "")],
        }
    )
    first, second = conduct_warnings(rows)
    assert first.startswith(
        "MPO plans: 67% of the agent's replies hold no action (mostly: empty; the first: 'Hm')"
    )
    assert second.startswith("SFT plans: 1 of 2 episodes ended because")


def test_actions_that_no_environment_knows_are_warned_of():
    strange = Turn(reply="", action="your action", observation="", score=0, understood=False)
    known = strange.model_copy(update={"understood": True})
    base = played("step_limit")
    groups = {
        "none": [base.model_copy(update={"turns": [strange, known]})],
        "mpo": [base.model_copy(update={"turns": [strange, known, known]})],
    }
    [warning] = conduct_warnings(conduct(groups))
    assert warning.startswith("no plan: 1 of the agent's 2 actions are none that the environment")
    assert "'your action'" in warning


def test_nothing_played_is_nothing_to_warn_of():
    assert conduct_warnings(conduct({"none": []})) == []
