"""A config file that begins with others: `extends`."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.configs import named_config
from mpo_core.config import load_config, save_config
from mpo_core.config.reading import _over
from mpo_core.errors import InputError

BASE = {
    "name": "base",
    "envs": {"alfworld": {"tasks": {"train": 4}}},
    "models": {"llm": {"endpoint": "http://127.0.0.1:8000/v1"}},
    "planner": {"model": "llm", "per_task": 3},
    "agent": {"model": "llm"},
    "evaluation": {"arms": ["none", "base", "expert"]},
    "cluster": {"enabled": False},
}


def write(path: Path, tree: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree))
    return path


def test_a_files_own_keys_go_over_those_of_the_files_that_it_extends(tmp_path):
    write(tmp_path / "base.yaml", BASE)
    write(tmp_path / "parts" / "more.yaml", {"planner": {"per_task": 7, "temperature": 0.5}})
    own = {
        "extends": ["base.yaml", "parts/more.yaml"],
        "name": "own",
        "envs": {"alfworld": {"tasks": {"unseen": 2}}},
        "planner": {"temperature": 0.6},
        "evaluation": {"arms": ["none"]},
    }
    found = load_config(write(tmp_path / "own.yaml", own), ["agent.max_tokens=9"])
    assert (found.name, found.planner.model, found.agent.max_tokens) == ("own", "llm", 9)
    assert (found.planner.per_task, found.planner.temperature) == (7, 0.6)
    tasks = found.envs["alfworld"].tasks
    assert (tasks.train, tasks.unseen) == (4, 2)
    assert found.evaluation.arms == ["none"]


def test_the_saved_config_of_a_run_stands_alone(tmp_path):
    config = named_config("scienceworld-llama3.1-8b-lora")
    save_config(config, tmp_path / "config.yaml")
    assert "extends" not in (tmp_path / "config.yaml").read_text()
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("extends", "says"),
    [
        ("gone.yaml", r"own\.yaml: extends: .*gone\.yaml: not readable as YAML: .*No such file"),
        ("own.yaml", r"own\.yaml: extends: own\.yaml itself extends this file"),
        ("round.yaml", r"round\.yaml: extends: own\.yaml itself extends this file"),
        (7, r"own\.yaml: extends: expected a file's name, or a list of such"),
        (["base.yaml", 7], r"own\.yaml: extends: expected a file's name"),
        (None, r"own\.yaml: extends: expected a file's name"),
        ("list.yaml", r"list\.yaml: expected a mapping of settings"),
        ("folder", r"own\.yaml: extends: .*folder: not readable"),
        ("faulty.yaml", r"own\.yaml: planner\.per_tusk: unknown key \(did you mean per_task\?\)"),
    ],
)
def test_what_cannot_be_extended_is_one_line(tmp_path, extends, says):
    (tmp_path / "folder").mkdir()
    write(tmp_path / "base.yaml", BASE)
    write(tmp_path / "round.yaml", {"extends": "own.yaml"})
    (tmp_path / "list.yaml").write_text("- a\n")
    write(tmp_path / "faulty.yaml", BASE | {"planner": {"model": "llm", "per_tusk": 1}})
    with pytest.raises(InputError, match=says) as refused:
        load_config(write(tmp_path / "own.yaml", {"extends": extends, "name": "own"}))
    assert "\n" not in str(refused.value)


TREES = st.recursive(
    st.none() | st.integers() | st.lists(st.integers()),
    lambda below: st.dictionaries(st.sampled_from("abc"), below),
    max_leaves=8,
)
SECTIONS = st.dictionaries(st.sampled_from("abc"), TREES)


@given(SECTIONS, SECTIONS)
def test_over_a_tree_all_own_settings_hold_and_the_others_stay(base, own):
    both = _over(base, own)
    assert both.keys() == base.keys() | own.keys()
    assert _over(both, own) == both and _over({}, own) == own and _over(base, {}) == base
    for key in base.keys() - own.keys():
        assert both[key] == base[key]
    for key, value in own.items():
        if not isinstance(value, dict):
            assert both[key] == value
