"""A setting that is a text, given on the command line: whatever YAML makes of such signs."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.proxy import proxy_settings
from mpo_core.config import Config
from mpo_core.errors import InputError
from mpo_core.overrides import apply_override
from tests.thoroughness import examples

KEY = "proxy.task_regex"


def read(override):
    tree = {}
    apply_override(tree, override, Config)
    return tree["proxy"]["task_regex"]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("TASK: (?P<task>.*)", "YAML makes a mapping"),
        ("[Tt]", "YAML makes a list"),
        ("[Tt]ask", "not YAML"),
        (r"Task #(\d+)", "YAML makes a part"),
        ("[Tt]ask (.*)", "not YAML"),
        ("*task", "not YAML"),
        ("{task}: (", "not YAML"),
        ("@task", "not YAML"),
    ],
)
def test_a_text_that_yaml_takes_for_something_else_is_told_how_it_is_quoted(text, made):
    with pytest.raises(InputError, match=made) as refused:
        read(f"{KEY}={text}")
    [written] = shlex.split(str(refused.value).rpartition("quotes of its own, as ")[2])
    assert read(written) == text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
@examples(100)
def test_a_text_is_taken_whole_or_refused_with_a_way_to_write_it(text):
    try:
        value = read(f"{KEY}={text}")
    except InputError as refused:
        [written] = shlex.split(str(refused).rpartition("quotes of its own, as ")[2])
        assert read(written) == text
        return
    # Numbers, switches and what is in quotes are read as everywhere.
    in_quotes = text.lstrip()[:1] in ("'", '"', "|", ">")
    assert not isinstance(value, dict | list)
    assert not isinstance(value, str) or in_quotes or value == text.strip()


@pytest.mark.parametrize("text", ['"TASK: (?P<task>.*)"', "'TASK: (?P<task>.*)'"])
def test_the_rule_of_the_documentation_is_read(text):
    assert proxy_settings([f"{KEY}={text}"]).task_regex == "TASK: (?P<task>.*)"


@pytest.mark.parametrize("override", ["envs.alfworld={}", "tags={a: b}", "proxy.redact=[a, b]"])
def test_what_is_no_text_is_read_as_before(override):
    apply_override({}, override, Config)
