"""Configs as files: the YAML that people write, in whatever encoding."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.configs import PRESETS, named_config
from mpo_core import strict_yaml
from mpo_core.config import load_config, save_config
from mpo_core.errors import InputError
from tests.commandline import ROOT


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such config file"):
        named_config(str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match=r"neither a \.yaml file.*demo"):
        named_config("dmeo")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(InputError, match="not readable as YAML"):
        named_config(str(tmp_path / "broken.yaml"))
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(InputError, match="expected a mapping"):
        named_config(str(tmp_path / "list.yaml"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: a\nseed: 1\nseed: 2\n", "seed is given twice in one mapping (line 2 and line 3)"),
        ("seed: 1\n'seed': 2\n", "seed is given twice in one mapping (line 1 and line 2)"),
        ("models:\n  a: {source: x, source: y}\n", "source is given twice in one mapping (line 2)"),
        ("a:\n- b: 1\n  b: 2\n", "b is given twice in one mapping (line 2 and line 3)"),
    ],
)
def test_a_key_given_twice_is_named_with_its_lines(tmp_path, text, says):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        named_config(str(path))
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("08", 8),
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1e-5", 1e-5),
        ("5.", 5.0),
        (".5E+3", 500.0),
        ("-.inf", float("-inf")),
        ("24:00:00", "24:00:00"),
        ("12:30.5", "12:30.5"),
        ("2026-01-01", "2026-01-01"),
        ("1.2.3", "1.2.3"),
        ("1_000", "1_000"),
        ("yes", True),
        ("~", None),
        ("=", "="),
    ],
)
def test_numbers_are_what_they_look_like_and_times_are_texts(text, value):
    assert (strict_yaml.load(text), type(strict_yaml.load(text))) == (value, type(value))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.from_regex(r"[-+.0-9eExo:_]{1,12}", fullmatch=True)
    | st.sampled_from(
        ["2026-01-01", "24:00:00", "1e-5", "010", "yes", "null", "<<", "=", "a: b #"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("a.1e:", max_size=5), inner)
    ),
    max_leaves=5,
)


@given(values)
def test_whatever_is_saved_is_read_again(value):
    assert strict_yaml.load(strict_yaml.dump(value)) == value


def test_what_a_mapping_takes_over_may_be_stated_anew():
    text = """
base: &base {lr: 1, beta: 2}
outer:
  inner: &inner
    <<: *base
    beta: 3
other: {<<: *inner, beta: 4}
"""
    tree = strict_yaml.load(text)
    assert tree["outer"]["inner"] == {"lr": 1, "beta": 3}
    assert tree["other"] == {"lr": 1, "beta": 4}


@pytest.mark.slow
@pytest.mark.parametrize("text", ["&a {b: *a}", "[" * 2000 + "]" * 2000])
def test_yaml_without_a_bottom_is_one_line(tmp_path, text):
    (tmp_path / "deep.yaml").write_text(text)
    with pytest.raises(InputError, match="not readable as YAML: a value holds itself"):
        named_config(str(tmp_path / "deep.yaml"))


keys = st.text("ab.é '\"-", min_size=1, max_size=3)


@given(st.lists(st.tuples(keys, st.integers()), min_size=1, max_size=5))
def test_a_mapping_is_read_if_and_only_if_its_keys_differ(pairs):
    text = "".join(f"{json.dumps(key)}: {value}\n" for key, value in pairs)
    if len(dict(pairs)) == len(pairs):
        assert strict_yaml.load(text) == dict(pairs)
    else:
        with pytest.raises(strict_yaml.KeyTwice):
            strict_yaml.load(text)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_is_read_in_its_own_encoding_whatever_the_locale(tmp_path, encoding, newline):
    text = PRESETS.joinpath("demo-llm.yaml").read_text() + "\ntracking: {experiment: prömpts}\n"
    (tmp_path / "mine.yaml").write_bytes(text.replace("\n", newline).encode(encoding))
    code = "import sys; from jobs.configs import named_config as load; "
    code += "print(ascii(load(sys.argv[1]).tracking.experiment))"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    if encoding == "utf-8":
        command = [sys.executable, "-c", code, str(tmp_path / "mine.yaml")]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT
        )
        assert done.stdout.strip() == ascii("prömpts")
    assert named_config(str(tmp_path / "mine.yaml")).tracking.experiment == "prömpts"


def test_a_file_in_another_encoding_is_one_line(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("name: prömpt\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"not readable as YAML: .*must be UTF-8") as caught:
        named_config(str(tmp_path / "latin.yaml"))
    assert "\n" not in str(caught.value)


def test_yaml_is_loaded_safely(tmp_path):
    (tmp_path / "evil.yaml").write_text("name: !!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match="not readable as YAML"):
        named_config(str(tmp_path / "evil.yaml"))


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["models.plannr.source=x"], r"models\.plannr: used by nothing \(did you mean planner\?\)"),
        (["models.zzz.endpoint=http://h/v1"], r"models\.zzz: used by nothing; the roles are"),
        (["models.big.endpoint=http://h/v1", "agent.model=big"], None),
        (["models.spare.timeout_s=5"], None),
    ],
)
def test_a_model_that_an_override_brings_has_a_role(tmp_path, overrides, fault):
    endpoint = {"endpoint": "http://127.0.0.1:1/v1"}
    tree = {
        "name": "mine",
        "envs": {"scienceworld": {}},
        "models": {"planner": endpoint, "agent": endpoint, "spare": endpoint},
        "planner": {"model": "planner"},
        "agent": {"model": "agent"},
    }
    file = tmp_path / "mine.yaml"
    file.write_text(strict_yaml.dump(tree))
    assert load_config(file).models.keys() == {"planner", "agent", "spare"}
    if fault is None:
        config = load_config(file, overrides)
        save_config(config, tmp_path / "saved.yaml")
        assert load_config(tmp_path / "saved.yaml", ["seed=1"]).models == config.models
        return
    with pytest.raises(InputError, match=fault):
        load_config(file, overrides)


def test_a_run_that_is_named_without_its_folder_is_pointed_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in ("sandbox-seed0", "demo"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "config.yaml").write_text("name: mine\n")
    with pytest.raises(InputError, match=r"^sandbox-seed0: .* by its folder: runs/sandbox-seed0$"):
        named_config("sandbox-seed0")
    assert named_config("demo").name == "demo"
