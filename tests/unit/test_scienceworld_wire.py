import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.envs.scienceworld.wire import Ref, Thrown, call, unescape, value_of


@given(st.text())
def test_any_text_travels_in_one_line_and_comes_back(text: str):
    lines = call(Ref("o1"), "step", text).split("\n")
    assert lines[:3] == ["c", "o1", "step"]
    assert lines[-2:] == ["e", ""]
    assert len(lines) == 6
    assert unescape(lines[3][1:]) == text


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("!ysa\\nb", "a\nb"),
        ("!yi-3", -3),
        ("!yL5000000000", 5_000_000_000),
        ("!yd0.25", 0.25),
        ("!ybtrue", True),
        ("!ybfalse", False),
        ("!yv", None),
        ("!yn", None),
        ("!yro12", Ref("o12")),
        ("!xro13", Thrown("ro13")),
        ("!x", Thrown("")),
    ],
)
def test_answers_are_read(answer: str, value: object):
    assert value_of(answer) == value
