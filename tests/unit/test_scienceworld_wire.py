from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.envs.scienceworld.patch import CLASS_NAME, with_hash_of_id
from mpo_core.envs.scienceworld.wire import Ref, Thrown, call, unescape, value_of


def original_class() -> bytes:
    [folder] = find_spec("scienceworld").submodule_search_locations
    with ZipFile(Path(folder) / "scienceworld.jar") as jar:
        return jar.read(f"{CLASS_NAME}.class")


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


def test_the_simulator_class_gains_one_method_and_keeps_the_rest():
    original = original_class()
    patched = with_hash_of_id(original)
    assert patched[:8] == original[:8]
    assert patched.count(b"\x88\xac") == original.count(b"\x88\xac") + 1
    assert 20 < len(patched) - len(original) < 120


def test_a_class_that_has_the_method_is_refused():
    with pytest.raises(ValueError, match="another version"):
        with_hash_of_id(with_hash_of_id(original_class()))


def test_what_is_no_class_file_is_refused():
    with pytest.raises(ValueError, match="not a Java class"):
        with_hash_of_id(b"PK\x03\x04 and more")
