import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.errors import InputError
from mpo_core.textfile import read_notes


def test_a_run_that_has_noted_nothing_has_no_notes(tmp_path):
    assert read_notes(tmp_path / "timings.json") == {}


@given(st.dictionaries(st.text(), st.floats(allow_nan=False) | st.text()), st.data())
def test_notes_are_read_whole_or_named_as_damaged(tmp_path_factory, notes, data):
    path = tmp_path_factory.mktemp("run") / "timings.json"
    text = json.dumps(notes)
    path.write_text(text, encoding="utf-8")
    assert read_notes(path) == notes
    path.write_text(text[: data.draw(st.integers(0, len(text) - 1))], encoding="utf-8")
    with pytest.raises(InputError, match=rf"^{path}: damaged .*; delete it"):
        read_notes(path)


@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b"\0\0\0\0", b"[" * 100_000])
def test_what_is_no_note_is_one_line(tmp_path, content):
    (tmp_path / "training.json").write_bytes(content)
    with pytest.raises(InputError, match="damaged") as said:
        read_notes(tmp_path / "training.json")
    assert "\n" not in str(said.value)
