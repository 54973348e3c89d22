"""The paper's whole loop in two rounds: real environments, Ray, vLLM, TRL and DeepSpeed, with a
tiny planner and an agent that acts at random; killed after its first training."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mpo_core.ledger import read_records
from mpo_core.types import Demonstration, Episode, Plan, PreferencePair
from tests.commandline import ROOT, mpo, mpo_here
from tests.tiny_chat import make_planner

SFT = {
    "lora": {"rank": 4, "alpha": 8},
    "learning_rate": 1e-3,
    "batch_size": 4,
    "micro_batch_size": 2,
    "max_length": 1024,
    "workers": 2,
    "save_steps": 2,
}
# Five trainings and two engine starts, each a minute or two of imports on two slow cores.
pytestmark = pytest.mark.timeout(2400)
ARMS = ["none", "sft", "rft", "mpo", "oracle", "expert"]
PLANNERS = ["sft", "rft", "mpo"]


def config(root: Path, tiny: dict) -> dict:
    return {
        "name": "loop",
        "runs_dir": str(root),
        "prompts_dir": str(root / "prompts"),
        "envs": {
            "scienceworld": {
                "task_types": ["find-animal", "find-plant"],
                "tasks": {"train": 6, "seen": 0, "unseen": 2},
            },
            "alfworld": {
                "generated": {"train": 6, "seen": 0, "unseen": 6},
                "tasks": {"train": 4, "seen": 0, "unseen": 2},
            },
        },
        "models": {
            "tiny": tiny,
            "walker": {"scripted": "tests.scripted:agent"},
        },
        "planner": {
            "model": "tiny",
            "per_task": 3,
            "max_tokens": 64,
            "resamples": 10,
            "sft": SFT | {"epochs": 2},
        },
        "agent": {"model": "walker", "max_steps": 8, "example": False},
        "scoring": {"repetitions": 3},
        # By one worker, DPO; by two, in `test_training_ray.py`.
        "training": SFT | {"max_steps": 3, "workers": 1},
        "rounds": 2,
        "validation": 0.3,
        "evaluation": {
            "splits": ["unseen"],
            "arms": ARMS,
            "plan_samples": 2,
            "bootstrap": 200,
        },
    }


def start(root: Path, *overrides: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.pipeline", str(root / "loop.yaml"), *overrides],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0"},
        stdout=subprocess.DEVNULL,
        stderr=(root / "errors.txt").open("a"),
    )


def kill_when(root: Path, there: Path) -> None:
    process = start(root)
    while not there.exists():
        assert process.poll() is None, (root / "errors.txt").read_text()[-3000:]
        time.sleep(0.2)
    process.kill()
    process.wait()


def finish(root: Path, *overrides: str) -> None:
    assert start(root, *overrides).wait(1200) == 0, (root / "errors.txt").read_text()[-3000:]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of the run: killed after SFT, then left to end."""
    root = tmp_path_factory.mktemp("loop")
    (root / "loop.yaml").write_text(yaml.safe_dump(config(root, make_planner(root))))
    folder = root / "loop"
    kill_when(root, folder / "planner" / "sft" / "training.json")
    trained = (folder / "planner" / "sft" / "training.json").read_bytes()
    finish(root)
    assert (folder / "planner" / "sft" / "training.json").read_bytes() == trained
    return folder


def summary_of(run: Path) -> dict:
    return json.loads((run / "report" / "summary.json").read_text())


def training_of(run: Path, version: str) -> dict:
    return json.loads((run / "planner" / version / "training.json").read_text())


def test_the_table_has_every_arm_in_both_environments(run):
    table = summary_of(run)["table"]
    assert [(row["env"], row["split"], row["arm"]) for row in table] == [
        (env, "unseen", arm) for env in ("alfworld", "scienceworld") for arm in ARMS
    ]
    for row in table:
        assert row["n"] == 2 and row["seed"] == 42
        assert row["ci95"][0] <= row["mean_reward"] <= row["ci95"][1]


def test_every_planner_is_measured_by_samples_too(run):
    sampled = summary_of(run)["sampled"]
    assert [(row["env"], row["arm"], row["n"], row["n_episodes"]) for row in sampled["table"]] == [
        (env, arm, 2, 4) for env in ("alfworld", "scienceworld") for arm in PLANNERS
    ]
    for row in sampled["paired"]:
        assert row["ci95"][0] <= row["diff"] <= row["ci95"][1]
    page = (run / "report" / "report.md").read_text()
    assert "On 2 unseen tasks of alfworld the mean reward of MPO plans minus" in page


def test_every_episode_was_played_once(run):
    for name in ("expert", "scoring", "validation", "evaluation"):
        keys = [e.key for e in read_records(run / "episodes" / f"{name}.jsonl", Episode)]
        assert keys and len(set(keys)) == len(keys)


def test_each_round_goes_on_from_the_planner_before(run):
    first, *others = json.loads((run / "rounds.json").read_text())
    assert (first["start"], first["planner"], first["kept"]) == ("sft", "mpo", True)
    [second] = others
    assert (second["start"], second["planner"]) == ("mpo", "mpo-2")
    if second["pairs"]:
        assert second["kept"] == (second["validation_reward"] > first["validation_reward"])
    for outcome in (first, second):
        if outcome["pairs"]:
            trained = json.loads(
                (run / "planner" / outcome["planner"] / "training.json").read_text()
            )
            assert Path(trained["start"]).name == outcome["start"]
            assert trained["engine"] == "DeepSpeedEngine"


def test_nothing_is_trained_on_the_validation_tasks(run):
    held_out = {e.task_id for e in read_records(run / "episodes" / "validation.jsonl", Episode)}
    assert {task.split("/")[0] for task in held_out} == {"scienceworld", "alfworld"}
    shown = [
        record.task_id
        for folder, name, kind in (
            ("demonstrations", "sft", Demonstration),
            ("demonstrations", "rft", Demonstration),
            ("pairs", "pairs", PreferencePair),
        )
        for record in read_records(run / folder / f"{name}.jsonl", kind)
    ]
    assert shown and not held_out & set(shown)
    measured = read_records(run / "demonstrations" / "sft-validation.jsonl", Demonstration)
    assert {record.task_id for record in measured} == held_out
    trained = training_of(run, "sft")
    assert [row["step"] for row in trained["validation"]][-1] == trained["steps"]


def test_rft_imitates_the_best_scored_plans_of_the_fine_tuned_planner(run):
    plans = {(p.task_id, p.text) for p in read_records(run / "plans" / "sft-train.jsonl", Plan)}
    shown = read_records(run / "demonstrations" / "rft.jsonl", Demonstration)
    assert {(one.task_id, one.completion[0]["content"]) for one in shown} <= plans
    assert json.loads((run / "planner" / "rft" / "training.json").read_text())["n_rows"] == len(
        shown
    )


def test_run_again_it_finds_everything_done(run):
    before, timings = summary_of(run), json.loads((run / "timings.json").read_text())
    finish(run.parent)
    after = summary_of(run)
    same = ("table", "paired", "sampled", "example", "rounds", "trainings")
    assert {k: after[k] for k in same} == {k: before[k] for k in same}
    # No engine was started, no worker, no environment.
    assert json.loads((run / "timings.json").read_text()) == timings


def assert_curves_stand_in(store: str, run: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(store)
    run_id = (run / "mlflow_run_id").read_text().strip()
    found = client.search_runs([client.get_run(run_id).info.experiment_id])
    trainings = {
        one.info.run_name: one.info.run_id
        for one in found
        if one.data.tags["mpo.kind"] == "training"
    }

    def steps(version: str, name: str) -> list[int]:
        history = client.get_metric_history(trainings[f"train {version}"], name)
        return [metric.step for metric in history]

    for version, name in (("sft", "loss"), ("rft", "loss"), ("mpo", "rewards/margins")):
        last = training_of(run, version)["steps"]
        assert steps(version, name) == list(range(1, last + 1))
    assert steps("mpo", "rewards/accuracies") and steps("sft", "eval_loss")
    assert client.get_run(run_id).data.metrics["mean_reward/mpo"] >= 0


def test_curves_stand_in_mlflow_whole_although_the_driver_was_killed(run):
    assert_curves_stand_in(f"sqlite:///{run.parent}/mlflow.db", run)


def test_curves_follow_a_run_to_another_tracking_server(run):
    store = f"sqlite:///{run.parent}/another.db"
    finish(run.parent, f"tracking.uri={store}")
    assert_curves_stand_in(store, run)


def test_a_published_file_of_pairs_trains_directly(run):
    exported = run.parent / "published"
    done = mpo_here("export", "data", str(run), "--out", str(exported))
    assert done.returncode == 0, done.stderr[-2000:]
    file = exported / "sciworld_metaplan_preference_pairs.json"
    pairs = json.loads(file.read_text())
    assert pairs and all(pair["chosen"]["value"].startswith("Step 1: ") for pair in pairs)
    done = mpo("train", "dpo", str(run), "training.max_steps=1", "--pairs", str(file))
    assert done.returncode == 0, done.stderr[-2000:]
    trained = json.loads((run.parent / file.stem / "planner" / "mpo" / "training.json").read_text())
    assert (trained["n_rows"], trained["steps"]) == (len(pairs), 1)
    # The run itself is as it was.
    assert training_of(run, "mpo")["tag"] != trained["tag"]


def test_a_planner_is_exported_whole(run):
    folder = run.parent / "exported"
    done = mpo_here("export", "planner", str(run), "--version", "sft", "--out", str(folder))
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        f.name for f in folder.iterdir()
    }
    again = mpo_here("export", "planner", str(run), "--out", str(folder))
    assert again.returncode == 2 and "exists already" in again.stderr
