"""Paths as people write them, in YAML, on the command line and in variables."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import cli
from jobs.configs import named_config
from mpo_core.config import Config, load_config, save_config
from mpo_core.envs.alfworld import ALFWorld, ALFWorldConfig
from mpo_core.errors import InputError
from mpo_core.paths import homes_filled_in

HOME = "/home/me"


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.delenv("MPO_CACHE", raising=False)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("runs_dir", "~/runs"),
        ("prompts_dir", "~/prompts"),
        ("prompts_dir", "~"),
        ("launch.ray.working_dir", "~/here"),
        ("launch.k8s.overlay", "~/overlay"),
        ("launch.slurm.options.output", "~/logs/%j"),
        ("models.smollm2.source", "~/model"),
        ("models.smollm2.engine_kwargs.chat_template", "~/template.jinja"),
        ("envs.alfworld.data", "~/games"),
        ("envs.scienceworld.java", "~/jdk/bin/java"),
        ("envs.scienceworld.split_files.train", "~/train.json"),
        ("tracking.uri", "~/mlruns"),
    ],
)
def test_a_home_folder_is_filled_in_wherever_a_path_is_set(tmp_path, key, path):
    full = path.replace("~", HOME)
    for written in (path, full):
        config = named_config("demo-llm", [f"{key}='{written}'"])
        save_config(config, tmp_path / "config.yaml")
        for found in (config, load_config(tmp_path / "config.yaml")):
            value = found
            for name in key.split("."):
                value = value[name] if isinstance(value, dict) else getattr(value, name)
            assert str(value) == full


def test_home_folders_are_filled_in_within_lists():
    overrides = [
        "planner.sampled=[~/a.jsonl, b.jsonl]",
        "evaluation.plan_files={mine: [~/c.jsonl]}",
        "evaluation.arms=[none, mine]",
        "tracking.uri=sqlite:///~/mlflow.db",
    ]
    config = named_config("demo-llm", overrides)
    assert config.planner.sampled == [Path(HOME, "a.jsonl"), Path("b.jsonl")]
    assert config.evaluation.plan_files == {"mine": [Path(HOME, "c.jsonl")]}
    assert config.tracking.uri == f"sqlite:///{HOME}/mlflow.db"
    assert named_config("demo-llm", ["runs_dir=~root/runs"]).runs_dir == Path("/root/runs")


TREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from("~/a$ .:"), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(TREE)
def test_only_texts_that_start_in_a_home_folder_change_and_only_once(tree):
    try:
        once = homes_filled_in(tree)
    except InputError as error:
        assert "no home folder is known for this" in str(error)  # Of a user called `a`.
        return
    assert homes_filled_in(once) == once
    assert ("~" in repr(tree)) or once == tree
    assert not any(text.startswith("~/") or text == "~" for text in texts(once))


def texts(tree):
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, list | dict):
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from texts(inner)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("runs_dir=~nobody-here/runs", "runs_dir: ~nobody-here/runs: no home folder is known"),
        ("envs.alfworld.data=~nobody-here", r"envs.*data: ~nobody-here: no home"),
        ("models.smollm2.source=~nobody-here/m", r"models.*smollm2\.source: ~nobody-here/m: no h"),
        ("runs_dir=~", "runs_dir: "),
        ("runs_dir=$SCRATCH/runs", r"runs_dir: \$SCRATCH/runs: variables are not filled in"),
        ("prompts_dir='/x/${USER}/p'", r"prompts_dir: /x/\$\{USER\}/p: variables are not filled"),
        ("planner.sampled=[$HOME/a]", r"planner\.sampled: \$HOME/a: variables are not filled in"),
        ("runs_dir=s3://bucket/runs", "runs_dir: s3://bucket/runs: a URL, where a file or folder"),
        ("prompts_dir=file:///x/p", "prompts_dir: file://x/p: a URL"),
        ("planner.sampled=['hf://datasets/a/b.json']", r"planner\.sampled: hf://datasets/a/b.*URL"),
        (r'runs_dir="a\0b"', r"runs_dir: 'a\\x00b': no name that a file can have"),
        (r'prompts_dir="\ud83d"', r"prompts_dir: '\\ud83d': no name that a file can have"),
    ],
)
def test_a_path_that_cannot_be_is_one_line_that_names_the_key(override, says):
    with pytest.raises(InputError, match=says) as caught:
        named_config("demo-llm", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["a~b", "./~", "price$", "a$b/c", "$/x", "ü ?#%", "a:", "x/s3:/a"])
def test_other_paths_stay_as_they_are(path):
    assert named_config("demo-llm", [f"runs_dir='{path}'"]).runs_dir == Path(path)


def test_variables_that_name_paths_may_start_at_home(monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", "~/games")
    assert ALFWorld(ALFWorldConfig())._data == Path(HOME, "games")
    monkeypatch.delenv("ALFWORLD_DATA")
    assert ALFWorld(ALFWorldConfig())._data == Path(HOME, ".cache/alfworld")


def test_the_command_line_fills_in_what_a_shell_leaves(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_config(named_config("demo-llm", ["name=mine"]), tmp_path / "mine.yaml")
    with pytest.raises(SystemExit) as ended:
        cli.main(["config", "~/mine.yaml", "runs_dir=~/runs"])
    assert ended.value.code == 0
    assert f"runs_dir = {tmp_path}/runs" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", "~/none", "--out=~/x"])
    assert ended.value.code == 2
    assert f"mpo: error: {tmp_path}/none" in capsys.readouterr().err


def test_a_saved_config_names_no_home(tmp_path):
    config: Config = named_config("demo-llm", ["runs_dir=~/runs"])
    save_config(config, tmp_path / "config.yaml")
    assert "~" not in (tmp_path / "config.yaml").read_text(encoding="utf-8")
