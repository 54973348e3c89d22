"""The versions of the planner that a proxy knows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.errors import InputError
from mpo_core.proxy.planners import (
    FILE,
    Canary,
    Planners,
    Source,
    free_version,
    read_planners,
    write_planners,
)
from tests.thoroughness import examples

V1 = '"v1": {"plans": "plans.jsonl"}'


def test_what_is_written_is_read(tmp_path):
    planners = Planners(
        current="v1",
        canary=Canary(version="v2", share=0.1),
        versions={
            "v1": Source(endpoint="http://h:1/v1", model="m"),
            "v2": Source(folder=tmp_path / "weights"),
        },
    )
    assert read_planners(tmp_path) is None
    write_planners(tmp_path, planners)
    assert read_planners(tmp_path) == planners


ONE = {"current": "v1", "versions": {"v1": {"plans": "plans.jsonl"}}}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "EOF"),
        (ONE | {"current": "v2"}, "'v2' is not among the versions"),
        (ONE | {"canary": {"version": "v2", "share": 0.1}}, "'v2' is not among"),
        (ONE | {"canary": {"version": "v1", "share": 0.1}}, "is the current version"),
        (ONE | {"versions": {"v1": {}}}, "give one of plans"),
        (ONE | {"versions": {"v1": {"endpoint": "http://h/v1"}}}, "belong together"),
        (ONE | {"versions": {"v1": {"folder": "f", "plans": "p"}}}, "give one of"),
        ({"current": "off", "versions": {"off": {"plans": "p"}}}, "can be called 'off'"),
        (ONE | {"old": 1}, "old: unknown key"),
        *(
            (ONE | {"current": name, "versions": {name: {"plans": "p"}}}, "printable ASCII")
            for name in ("v\n1", "v\r\nx-a: b", "v\u00e9", " v", "v\0")
        ),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, content, fault):
    (tmp_path / FILE).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=fault) as refused:
        read_planners(tmp_path)
    assert str(refused.value).startswith(str(tmp_path / FILE)) and "\n" not in str(refused.value)


NAMES = st.sets(
    st.sampled_from(["off", "base", "v01", "v0", "v1", "v2", "v7", f"v{10**9 - 1}", f"v{10**9}"])
    | st.text(max_size=4)
)


@examples(60)
@given(NAMES)
def test_a_free_name_is_nobodys_and_a_version_can_have_it(taken):
    name = free_version(taken)
    assert name not in taken and free_version({*taken, name}) != name
    assert (name == "v1") == (taken <= {"off"})
    Planners(current=name, versions={name: Source(plans="plans.jsonl")})
