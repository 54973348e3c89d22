"""The three kinds of chat models: told by one key, each with its own settings, and no others."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.configs import named_config
from mpo_core.config import (
    KINDS,
    Config,
    deciding,
    identity,
    kind_of,
    load_config,
    parse_config,
    save_config,
    settings,
)
from mpo_core.errors import InputError
from mpo_core.setup import model

SAVED = Path(__file__).parents[1] / "saved" / "all_keys.yaml"
"""A config whose models hold the keys of all kinds, those of other kinds null or at their
defaults."""
SAVED_IDENTITY = "bcf90ce87618d1315dc9"
OWN = {
    "source": {"replicas": 2, "max_model_len": 4096, "engine_kwargs": {"max_num_seqs": 4}},
    "endpoint": {"name": "m", "omit": ["seed"], "prefill": "ask", "extra_headers": {"X": "y"}},
    "scripted": {},
}
SHARED = {"reasoning": "off", "extra_body": {"top_k": 5}, "retries": 1, "concurrency": 8}
VALUES = {
    "source": "org/model",
    "endpoint": "http://127.0.0.1:8000/v1",
    "scripted": "tests.scripted:agent",
}


def config_with(**given: Any) -> Config:
    """A config with a model `m` besides those that it needs."""
    needed = {"endpoint": "http://127.0.0.1:8000/v1"}
    tree = {"name": "n", "envs": {"alfworld": {}}, "models": {"llm": needed, "m": given}}
    return parse_config(tree | {"planner": {"model": "llm"}, "agent": {"model": "llm"}})


def test_a_config_with_all_keys_is_read_and_is_the_same_run(tmp_path):
    config = load_config(SAVED)
    kinds = {name: type(one).KEY for name, one in config.models.items()}
    assert kinds == {"writer": "source", "player": "endpoint", "stand-in": "scripted"}
    assert identity(config) == SAVED_IDENTITY
    save_config(config, tmp_path / "config.yaml")
    again = load_config(tmp_path / "config.yaml")
    assert again == config and identity(again) == SAVED_IDENTITY
    assert "null" not in (tmp_path / "config.yaml").read_text().partition("models:")[2][:900]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_its_settings_and_shares_those_of_requests(kind):
    shared = {} if kind == "scripted" else SHARED
    found = config_with(**{kind: VALUES[kind]}, **OWN[kind], **shared).models["m"]
    assert type(found) is KINDS[kind] and getattr(found, kind) == VALUES[kind]
    for key, value in (OWN[kind] | shared).items():
        assert getattr(found, key) == value


@given(st.sets(st.sampled_from(sorted(VALUES))), st.sets(st.sampled_from(sorted(VALUES))))
def test_there_is_a_model_where_exactly_one_key_says_its_kind(given_keys, nulls):
    tree = dict.fromkeys(nulls) | {key: VALUES[key] for key in given_keys}
    if len(given_keys) == 1:
        assert kind_of(tree) == next(iter(given_keys))
        assert type(config_with(**tree).models["m"]).KEY in given_keys
        return
    with pytest.raises(InputError) as caught:
        config_with(**tree)
    said = str(caught.value)
    assert said.startswith("config: models.m: give exactly one of source, endpoint, scripted")
    assert all(key in said.partition("(got")[2] for key in given_keys)
    assert "\n" not in said


FOREIGN = [
    (kind, key, other)
    for kind in KINDS
    for other in KINDS
    for key in KINDS[other].model_fields.keys() - KINDS[kind].model_fields.keys() - {other}
]


@pytest.mark.parametrize(("kind", "key", "other"), sorted(FOREIGN))
def test_a_setting_of_another_kind_is_refused_by_name(kind, key, other):
    says = rf"models\.m: {key}: only for a model with .*{other}.*, and this one has {kind}$"
    with pytest.raises(InputError, match=says):
        config_with(**{kind: VALUES[kind], key: KINDS[other].model_fields[key].get_default()})


@pytest.mark.parametrize(("kind", "key", "other"), sorted(FOREIGN))
def test_a_null_takes_along_what_belongs_to_it(kind, key, other):
    tree = {kind: VALUES[kind], other: None, key: KINDS[other].model_fields[key].get_default()}
    assert config_with(**tree).models["m"] == config_with(**{kind: VALUES[kind]}).models["m"]


def test_a_presets_model_becomes_one_of_another_kind_by_two_settings():
    asked = ["models.smollm2.source=", "models.smollm2.endpoint=http://a:1/v1", "planner.sft="]
    config = named_config("demo-llm", [*asked, "evaluation.arms=[none,base]"])
    assert type(config.models["smollm2"]) is KINDS["endpoint"]


def test_configs_of_different_kinds_have_the_same_deciding_settings():
    served, asked = (
        deciding(config_with(**{kind: VALUES[kind]})) for kind in ("source", "endpoint")
    )
    assert served.keys() == asked.keys()
    assert {key for key in served if served[key] != asked[key]} == {"models.m.source"}


def test_a_listing_holds_what_a_model_has_and_no_more():
    for kind in KINDS:
        shown = [one.key for one in settings(config_with(**{kind: VALUES[kind]}))]
        own = {key.removeprefix("models.m.") for key in shown if key.startswith("models.m.")}
        assert own == KINDS[kind].model_fields.keys()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"endpiont": "http://a/v1"}, r"models\.m\.endpiont: unknown key \(did you mean endpoint"),
        ({"zzz": 1}, r"models\.m: give exactly one of source"),
        ({"endpoint": "http://a/v1", "retires": 1}, r"m\.retires: unknown key .*mean retries"),
        ({"source": "a/b", "replica": 1}, r"m\.replica: unknown key \(did you mean replicas"),
        ({"scripted": "a:b", "replica": 1}, r"m\.replica: unknown key$"),
        ({"source": 5}, r"models\.m\.source: expected a text"),
        ({"source": ""}, r"models\.m\.source: expected a text of printable signs, found ''"),
        ({"source": "a\tb"}, r"models\.m\.source: expected a text of printable signs"),
        ({"scripted": "planner"}, r"models\.m\.scripted: 'planner' is not written module:function"),
        ({"endpoint": "http://a/v1", "name": " "}, r"models\.m\.name: expected a text of print"),
        ({"endpoint": "http://a b/v1"}, r"models\.m\.endpoint: .* is not a whole URL"),
        ({"endpoint": "http://a:99999/v1"}, r"models\.m\.endpoint: .*[Pp]ort"),
        ({"source": "a/b", "max_lora_rank": 12}, r"m\.max_lora_rank: .* one of 1, 8, 16.*found 12"),
        ({"source": "a/b", "engine_kwargs": {"max_model_len": 9}}, r"own setting max_model_len"),
        ({"source": "a/b", "engine_kwargs": {"x": float("nan")}}, "engine_kwargs: cannot be sent"),
        ({"endpoint": "http://a/v1", "extra_body": {"a": date(2026, 1, 1)}}, "not JSON serializ"),
        ({"endpoint": "http://a/v1", "extra_body": {"n": 4}}, r"m\.extra_body: n is decided by"),
        ({"endpoint": "http://a/v1", "extra_body": {"temperature": 1}}, "temperature is decided"),
        ({"endpoint": "http://a/v1", "extra_headers": {"X Y": "a"}}, "'X Y' cannot be the name"),
        ({"endpoint": "http://a/v1", "omit": ["sede"]}, r"'sede' is none .*did you mean seed\?"),
        ({"endpoint": "http://a/v1", "omit": ["messages"]}, "'messages' is none of the fields"),
    ],
)
def test_odd_settings_of_a_model_are_one_line_that_names_the_key(given, says):
    with pytest.raises(InputError, match=says) as caught:
        config_with(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("planner.max_tokens=4096", r"planner\.max_tokens 4096: leaves no room .*models\.smollm2"),
        ("agent.max_tokens=5000", r"agent\.max_tokens 5000: leaves no room for a prompt"),
        ("models.smollm2.max_model_len=16", r"max_model_len 16; lower it, or raise the latter"),
    ],
)
def test_a_served_model_has_room_for_a_prompt_beside_its_longest_answer(override, says):
    with pytest.raises(InputError, match=says):
        named_config("demo-llm", [override])


@pytest.mark.parametrize("name", ["qwen:7b", "a#b", "a b", "-a", "ü"])
def test_a_served_models_name_is_one_that_an_engine_can_have(name):
    asked = [f'models."{name}"={{source: org/m}}', f"agent.model='{name}'"]
    with pytest.raises(InputError, match="a served model's name is of letters"):
        named_config("demo-llm", asked)
    elsewhere = [f'models."{name}"={{endpoint: "http://a/v1"}}', f"agent.model='{name}'"]
    assert named_config("demo-llm", elsewhere).agent.model == name


def test_a_nameless_model_is_refused():
    nameless = ['models={"": {source: a/b}}', "agent.model=''", "planner.model=''"]
    with pytest.raises(InputError, match="models: '' cannot be a model's name"):
        named_config("demo-llm", nameless)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "model: give exactly one of source, endpoint, scripted$"),
        ({"source": "a/b", "endpoint": "http://a/v1"}, r"\(got source, endpoint; leave one out"),
        ({"source": "a/b", "omit": ["seed"]}, "omit: only for a model with endpoint"),
        ({"scripted": lambda messages, seed: "", "retries": 1}, "retries: only for a model with"),
        ({"source": "a/b", "retires": 1}, r"retires: unknown key \(did you mean retries\?\)"),
    ],
)
def test_models_made_in_a_program_are_of_one_kind_too(given, says):
    with pytest.raises(InputError, match=says):
        model(**given)
