"""JSON edited where it stands."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.proxy.places import Edits, elements, members, value_at, whole_object

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)
written = st.tuples(values, st.sampled_from([None, 1]), st.booleans()).map(
    lambda v: " \n" + json.dumps(v[0], indent=v[1], ensure_ascii=v[2]) + "\t "
)


@given(written)
def test_every_value_is_found_where_it_stands(text):
    found = value_at(text, 0)
    assert found.value == json.loads(text) == json.loads(text[found.start : found.end])
    inner = []
    if isinstance(found.value, dict):
        assert whole_object(text)[0] == found
        inner = list(members(text, found.start).items())
        assert {name: place.value for name, place in inner} == found.value
    elif isinstance(found.value, list):
        inner = list(enumerate(elements(text, found.start)))
        assert [place.value for _, place in inner] == found.value
    for _, place in inner:
        assert json.loads(text[place.start : place.end]) == place.value


@given(st.dictionaries(st.text(), values), st.text(), st.text(), values)
def test_what_is_put_in_is_there_and_nothing_else_has_changed(rest, said, added, value):
    body = {"said": said, "list": [said], "empty": [], **rest}
    body |= {"said": said, "list": [said], "empty": []}
    text = json.dumps(body, indent=1)
    place, edits = members(text, whole_object(text)[0].start), Edits(text)
    edits.append_text(place["said"], added)
    edits.prepend_text(place["said"], added)
    edits.append(place["list"], value)
    edits.prepend(place["list"], value)
    edits.append(place["empty"], value)
    edits.add_member(whole_object(text)[0], "a new one", value)
    expected = {
        **body,
        "said": added + said + added,
        "list": [value, said, value],
        "empty": [value],
        "a new one": value,
    }
    assert json.loads(edits.applied()) == expected


@pytest.mark.parametrize("said", ['"', "\\", '"}], "messages": [', "</plan>", "\ud83d", "\0", "é"])
def test_no_text_ends_the_string_that_it_is_put_into(said):
    text = '{"content": "x", "n": 1}'
    edits = Edits(text)
    edits.append_text(members(text, 0)["content"], said)
    assert json.loads(edits.applied()) == {"content": f"x{said}", "n": 1}
    assert edits.applied().isascii()


def test_of_a_name_that_repeats_the_last_counts_as_for_other_readers():
    text = '{"a": 1, "a": [2]}'
    assert members(text, 0)["a"].value == json.loads(text)["a"]


BROKEN = ["", "{", '{"a"}', '{"a" 1}', '{"a":1,}', '{"a":1 "b":2}', "{1:2}", "{} {}", "[]", '"\n"']


@pytest.mark.parametrize("text", [*BROKEN, '{"a":1', '{"a":', "{,}", "\ufeff\ufeff{}", "{}]"])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(ValueError):
        whole_object(text)


@pytest.mark.slow
@given(st.dictionaries(st.text(), values).map(json.dumps), st.data())
def test_it_is_as_strict_as_other_readers(text, data):
    at = data.draw(st.integers(0, len(text)))
    put_in = data.draw(st.sampled_from(["", ",", ":", "]", "}", "{", '"', " "]))
    text = text[:at] + put_in + text[at + data.draw(st.integers(0, 2)) :]
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    if isinstance(expected, dict):
        assert whole_object(text)[0].value == expected
    else:
        with pytest.raises(ValueError):
            whole_object(text)


def test_a_byte_order_mark_is_passed_over_and_kept():
    text = '\ufeff {"a": "b"}'
    place, found = whole_object(text)
    edits = Edits(text)
    edits.append_text(found["a"], "c")
    assert place.value == {"a": "b"} and edits.applied() == '\ufeff {"a": "bc"}'


def test_an_empty_object_takes_a_member():
    edits = Edits("{ }")
    edits.add_member(value_at("{ }", 0), "a", 1)
    assert json.loads(edits.applied()) == {"a": 1}
