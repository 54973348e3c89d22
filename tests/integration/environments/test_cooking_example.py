"""The environment in `examples/`, as a third party's package: installed, found, played."""

import asyncio
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import main
from mpo_core.abstraction import abstract
from mpo_core.config import load_config, validated
from mpo_core.envs.base import suite_class
from mpo_core.errors import InputError
from mpo_core.ledger import read_records
from mpo_core.plan_text import read_plan
from mpo_core.prompts import load_prompts
from mpo_core.types import Episode, Plan, PreferencePair, Task

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "cooking"
TASKS = {"train": 1, "seen": 0, "unseen": 2}


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """The package in a folder of its own, without network; this environment stays as it is."""
    folder = tmp_path_factory.mktemp("cooking")
    site = folder / "site"
    # Building leaves files beside the source.
    left = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    shutil.copytree(EXAMPLE, folder / "source", ignore=left)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    command = [*pip, *offline, "--target", str(site), str(folder / "source")]
    subprocess.run(command, check=True, capture_output=True, text=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
        patch.setenv("MPO_CACHE", str(folder / "cache"))
        importlib.invalidate_caches()
        yield site
    for name in [name for name in sys.modules if name.partition(".")[0] == "mpo_cooking"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def suite():
    kind = suite_class("cooking")
    return kind(validated(kind.Config, {"tasks": TASKS}, "envs.cooking"))


def test_the_package_is_found_by_its_entry_point_and_brings_all_of_it(installed):
    kind = suite_class("cooking")
    assert Path(sys.modules[kind.__module__].__file__).is_relative_to(installed)
    prompts = load_prompts("cooking")
    assert "cook in a text game" in prompts.agent and "{trajectory}" in prompts.teacher
    assert prompts.example("cook")[-1]["content"].endswith("Action: eat meal")
    lines = [len(path.read_text().splitlines()) for path in (EXAMPLE / "mpo_cooking").rglob("*.py")]
    assert len(lines) >= 4 and sum(lines) < 250


def test_its_settings_are_checked_like_the_suites_own():
    with pytest.raises(InputError, match=r"envs\.cooking\.spice: unknown key"):
        load_config(EXAMPLE / "config.yaml", ["envs.cooking.spice=1"])
    with pytest.raises(InputError, match=r"envs\.cooking\.tasks\.train"):
        load_config(EXAMPLE / "config.yaml", ["envs.cooking.tasks.train=-1"])
    assert load_config(EXAMPLE / "config.yaml").envs["cooking"].tasks.train == 12


def test_the_whole_loop_runs_on_it(tmp_path, capsys):
    config = {
        "name": "cooking",
        "runs_dir": str(tmp_path),
        "envs": {"cooking": {"tasks": TASKS}},
        "models": {
            "planner": {"scripted": "tests.cook:planner"},
            "agent": {"scripted": "tests.cook:agent"},
        },
        "planner": {"model": "planner", "per_task": 4},
        "agent": {"model": "agent", "list_actions": 50, "max_steps": 12},
        "scoring": {"repetitions": 1},
        "validation": 0,
        "evaluation": {
            "splits": ["unseen"],
            "arms": ["none", "base", "oracle", "expert"],
            "bootstrap": 10,
        },
        "cluster": {"enabled": False},
        "tracking": {"enabled": False},
    }
    path = tmp_path / "cooking.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as ended:
        main(["run", str(path)])
    assert not ended.value.code, capsys.readouterr().err
    run = tmp_path / "cooking"

    tasks = read_records(run / "tasks" / "train.jsonl", Task)
    assert [task.id for task in tasks] == ["cooking/cook/train-0"]
    assert all("Ingredients:" in task.description for task in tasks)
    pairs = read_records(run / "pairs" / "pairs.jsonl", PreferencePair)
    assert pairs and all("Take the" in pair.chosen[-1]["content"] for pair in pairs)
    # What the rules make of the expert's episodes is all that this agent needs.
    summary = json.loads((run / "report" / "summary.json").read_text())
    rewards = {name: arm["mean_reward"] for name, arm in summary["arms"].items()}
    assert rewards["expert"] == rewards["oracle"] == 1.0 > rewards["base"] >= rewards["none"] == 0
    plans = read_records(run / "plans" / "seeds-unseen.jsonl", Plan)
    assert {plan.origin for plan in plans} == {"rules-1"} and len(plans) == 2
    scored = read_records(run / "episodes" / "scoring.jsonl", Episode)
    assert all("Here is an example." in episode.messages[0]["content"] for episode in scored)


def test_sessions_side_by_side_see_what_each_sees_alone(suite):
    tasks = [*suite.tasks("train"), *suite.tasks("unseen")]

    async def play(host, task):
        environment = await host.environment()
        actions = ["quit", "dance", *await environment.expert_actions(task)]
        seen = [await environment.reset(task)]
        for action in actions:
            seen.append(await environment.step(action))
            await asyncio.sleep(0)
        await environment.close()
        return seen

    async def together():
        return await asyncio.gather(*(play(suite.host(), task) for task in tasks))

    for task, seen in zip(tasks, asyncio.run(together()), strict=True):
        assert seen == asyncio.run(play(suite.host(), task))
        assert seen[0].instruction == task.description
        assert not seen[1].understood and not seen[2].understood
        assert seen[-1].success and seen[-1].score == 1.0 and seen[-1].done
        scores = [step.score for step in seen[1:]]
        assert scores == sorted(scores)


def test_a_spoiled_ingredient_ends_the_episode_in_failure(suite):
    [task] = [task for task in suite.tasks("unseen") if task.type == "cook"]

    async def play():
        environment = await suite.host().environment()
        actions = await environment.expert_actions(task)
        cook = next(action for action in actions if action.startswith("cook"))
        await environment.reset(task)
        for action in actions[: actions.index(cook) + 1]:
            await environment.step(action)
        assert cook in await environment.valid_actions()
        burnt = await environment.step(cook)
        await environment.close()
        return burnt

    burnt = asyncio.run(play())
    assert burnt.done and not burnt.success and 0 < burnt.score < 1


def test_a_game_that_cannot_be_made_is_one_clear_line(suite, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MPO_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cooking/cook/train-0 cannot be made: .*Not a directory"):
        suite.tasks("train")


FOODS = st.sampled_from(["red apple", "egg", "pork chop", "knife"])
PLACES = st.sampled_from(["fridge", "counter", "plain door"])
ACTIONS = st.one_of(
    st.sampled_from(["inventory", "examine cookbook", "go east", "prepare meal", "eat meal", "?"]),
    st.builds("take {} from {}".format, FOODS, PLACES),
    st.builds("take {}".format, FOODS),
    st.builds("open {}".format, PLACES),
    st.builds("cook {} with {}".format, FOODS, st.sampled_from(["stove", "oven", "BBQ"])),
    st.builds("{} {} with knife".format, st.sampled_from(["chop", "slice", "dice"]), FOODS),
)


@given(actions=st.lists(ACTIONS, max_size=30))
def test_whatever_was_done_the_rules_give_a_plan_that_is_read_as_it_stands(actions, suite):
    task = Task(id="cooking/cook/train-0", env="cooking", type="cook", split="train")
    plan = abstract(suite, task, actions)
    assert plan is None or read_plan(plan).text == plan
