import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.view.steps import reached, steps_of
from mpo_core.inert import inert, shortened

PLAN = steps_of(
    """Step 1: Look for a fork, first in the drawers; open those that are closed.
Step 2: Take the fork.
Step 3: Go to the sinkbasin and clean the fork with it.
Step 4: Put the fork on a countertop."""
)


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        (
            ["go to drawer 1", "open drawer 1", "take fork 1 from drawer 1", "go to sinkbasin 1"],
            [0, 2, 3, None],
        ),
        (["go to shelf 1", None, "look"], [None, None, None, None]),
        (["take fork 1 from sinkbasin 1", "move fork 1 to countertop 2"], [None, 0, None, 1]),
        ([], [None, None, None, None]),
    ],
)
def test_a_step_is_reached_where_an_action_says_the_same(actions, expected):
    assert reached(PLAN, actions) == expected


@given(st.lists(st.text()), st.lists(st.none() | st.text()))
def test_steps_are_reached_one_after_the_other(steps, actions):
    found = [turn for turn in reached(steps, actions) if turn is not None]
    assert found == sorted(set(found)) and all(turn < len(actions) for turn in found)


@given(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\x1b\x07\u202e\u2066\0"))
)
def test_no_control_or_direction_reaches_the_page(text):
    shown = inert(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t" for c in shown)
    assert inert(shown) == shown


def test_a_long_text_says_how_much_is_left_out():
    assert shortened("x" * 30, 10) == "x" * 10 + " [... 20 more characters]"
    assert shortened("x" * 10, 10) == "x" * 10
