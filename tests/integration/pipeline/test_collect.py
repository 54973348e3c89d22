"""`mpo collect` on real environments: by rules, by a model, again, and killed in between."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.collect import experts_as_agent
from jobs.configs import named_config
from jobs.plans import collect_plans
from jobs.run import Run
from jobs.sweep import begin_with_copy
from jobs.tasks import load_tasks
from mpo_core.abstraction import RULES
from mpo_core.demonstrations import of_episode
from mpo_core.ledger import read_records
from mpo_core.types import Episode, Plan, Task
from tests.commandline import ROOT, mpo, mpo_here

TASKS = 6
OVERRIDES = [
    "name=small",
    "cluster.enabled=false",
    "models.agent.scripted=tests.scripted:agent",
    "planner.model=agent",
    "agent.model=agent",
    "envs.scienceworld.tasks={train: 3, seen: 0, unseen: 1}",
    "envs.alfworld.generated={train: 12, seen: 0, unseen: 12}",
    "envs.alfworld.tasks={train: 3, seen: 0, unseen: 1}",
    "evaluation.arms=[none]",
    # One at a time, so that there is a middle to be killed in.
    "cluster.episodes_in_flight=1",
]
BY_MODEL = [
    "models.teacher.scripted=tests.scripted:slow_teacher",
    "seeds.teacher=teacher",
    "seeds.per_task=2",
]


def arguments(runs_dir: Path, *overrides: str) -> list[str]:
    return ["collect", "demo-llm", f"runs_dir={runs_dir}", *OVERRIDES, *overrides]


def collect(runs_dir: Path, *overrides: str) -> str:
    """Run to the end; what was printed."""
    done = mpo(*arguments(runs_dir, *overrides))
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def kill_when_begun(runs_dir: Path, ledger: str, *overrides: str) -> bytes:
    """Kill the command once the ledger has its first record; what the ledger held then."""
    path = runs_dir / "small" / ledger
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *arguments(runs_dir, *overrides)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not path.exists() or b"\n" not in path.read_bytes():
            assert process.poll() is None, "it ended before it had begun"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    return path.read_bytes()


def records(runs_dir: Path) -> tuple[list[Episode], list[Plan]]:
    run = runs_dir / "small"
    return (
        read_records(run / "episodes" / "expert.jsonl", Episode),
        read_records(run / "plans" / "seeds-train.jsonl", Plan),
    )


def copied(runs_dir: Path, folder: Path) -> Path:
    """A runs folder of one's own whose run begins with what another has collected."""
    begin_with_copy(runs_dir / "small", folder / "small")
    return folder


@pytest.fixture(scope="module")
def collected(tmp_path_factory) -> tuple[Path, str]:
    runs_dir = tmp_path_factory.mktemp("collected")
    return runs_dir, collect(runs_dir)


def test_every_experts_episode_gives_a_general_plan(collected):
    runs_dir, output = collected
    episodes, plans = records(runs_dir)
    assert [episode.reward for episode in episodes] == [1.0] * TASKS
    assert {plan.task_id for plan in plans} == {episode.task_id for episode in episodes}
    assert len(plans) == TASKS and {plan.origin for plan in plans} == {RULES}
    assert {plan.task_id.split("/")[0] for plan in plans} == {"scienceworld", "alfworld"}
    for plan in plans:
        for k, line in enumerate(plan.text.splitlines(), 1):
            assert re.fullmatch(rf"Step {k}: [A-Z]\D+\.", line)
    assert f"{TASKS} plans in" in output and "0 tasks without a plan" in output


def test_collecting_again_does_nothing(collected):
    runs_dir, output = collected
    kept = ("episodes/expert.jsonl", "plans/seeds-train.jsonl", "timings.json", "tasks/train.jsonl")
    files = {name: (runs_dir / "small" / name).read_bytes() for name in kept}
    assert collect(runs_dir) == output
    assert {name: (runs_dir / "small" / name).read_bytes() for name in kept} == files


def test_killed_twice_it_ends_as_if_undisturbed(collected, tmp_path):
    begun = kill_when_begun(tmp_path, "episodes/expert.jsonl", *BY_MODEL)
    assert 1 <= begun.count(b"\n") < TASKS
    begun_plans = kill_when_begun(tmp_path, "plans/seeds-train.jsonl", *BY_MODEL)
    assert 1 <= begun_plans.count(b"\n") < 2 * TASKS
    output = collect(tmp_path, *BY_MODEL, "seeds.price_per_million_prompt_tokens=1")
    # What was there is neither lost nor made again.
    run = tmp_path / "small"
    whole = begun[: begun.rindex(b"\n") + 1]
    assert (run / "episodes" / "expert.jsonl").read_bytes().startswith(whole)
    whole = begun_plans[: begun_plans.rindex(b"\n") + 1]
    assert (run / "plans" / "seeds-train.jsonl").read_bytes().startswith(whole)
    assert f"{2 * TASKS} plans in" in output and "completion tokens" in output

    undisturbed = copied(collected[0], tmp_path / "undisturbed")
    collect(undisturbed, *BY_MODEL)
    episodes, plans = records(tmp_path)
    expected_episodes, expected_plans = records(undisturbed)
    assert {e.key: e.reward for e in episodes} == {e.key: e.reward for e in expected_episodes}
    by_model = {plan.model_dump_json() for plan in expected_plans if plan.origin != RULES}
    assert {plan.model_dump_json() for plan in plans} == by_model and len(by_model) == 2 * TASKS


def test_no_plan_at_all_is_one_line_and_exit_code_2(collected, tmp_path):
    mute = ["models.mute.scripted=tests.scripted:mute", "seeds.teacher=mute", "seeds.resamples=0"]
    done = mpo_here(*arguments(copied(collected[0], tmp_path), *mute))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"mpo: error: seeds: none of the {TASKS} tasks gave a plan: too few of the teacher's "
        "answers held a plan (refusal). The model refuses: change the teacher's prompt, or take "
        "another model"
    )


def test_experts_can_speak_as_the_agent_would(collected, tmp_path):
    runs_dir = copied(collected[0], tmp_path)
    config = named_config("demo-llm", [f"runs_dir={runs_dir}", *OVERRIDES, "agent.list_actions=3"])
    with Run(config) as run:
        episodes = list(experts_as_agent(run, load_tasks(run, "train")))
    assert len(episodes) == TASKS and all(episode.success for episode in episodes)
    for episode in episodes:
        shown = of_episode(episode)
        assert "Here is an example." in shown.prompt[0]["content"]
        assert "Some possible actions: " in shown.prompt[-1]["content"]
        answers = [m["content"] for m in shown.completion if m["role"] == "assistant"]
        assert [f"Action: {turn.action}" for turn in episode.turns] == answers


def test_plans_sampled_elsewhere_are_taken_from_their_file(collected, tmp_path):
    file = tmp_path / "alfworld_metaplan_train_sampled.jsonl"
    tasks = read_records(collected[0] / "small" / "tasks" / "train.jsonl", Task)
    rows = [
        {"id": k, "task": task.description, "workflow": [f"Step 1: Do {task.id}.", "Step 1: Wait."]}
        for k, task in enumerate(tasks)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [f"runs_dir={copied(collected[0], tmp_path)}", *OVERRIDES, f"planner.sampled=[{file}]"]
    with Run(named_config("demo-llm", given)) as run:
        plans = collect_plans(run, "base", "train", load_tasks(run, "train"))
    assert [(plan.task_id, plan.text) for plan in plans] == [
        (task.id, text) for task in tasks for text in (f"Step 1: Do {task.id}.", "Step 1: Wait.")
    ]
