"""What a user gets wrong ends in one line on stderr and exit code 2, and leaves nothing behind."""

import json
import shutil
import socket
import subprocess
import time

import pytest

from jobs.configs import PRESETS
from mpo_core.hardware import free_port
from tests.commandline import mpo, mpo_here
from tests.small_run import HERE, episodes, start, write_config
from tests.tracking_server import tracking_server


def assert_one_line(answer: subprocess.CompletedProcess, says: str) -> None:
    lines = [line for line in answer.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("mpo: error: ")]
    assert answer.returncode == 2, answer.stderr
    assert len(errors) == 1 and errors[0] == lines[-1], answer.stderr
    assert says in errors[0]
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainng.beta=1", "trainng: unknown key"),
        ("models.smollm2.source=/no/such/model", "/no/such/model: no such model folder"),
        ("envs.scienceworld.split_files={train: /no/such/file.json}", "/no/such/file.json"),
        ("prompts_dir=/no/such/folder", "/no/such/folder: no such folder"),
        ("cluster.rollout_actors=500", "lower models.*.replicas or cluster.rollout_actors"),
        ("cluster.logical_cpus=1", "the cluster has 1 CPUs"),
        ("envs.scienceworld.task_types=[fly-to-the-moon]", "fly-to-the-moon"),
    ],
)
def test_a_config_that_cannot_run_is_refused_before_anything_starts(override, says, tmp_path):
    answer = mpo_here("run", "demo-llm", f"runs_dir={tmp_path / 'runs'}", override)
    assert_one_line(answer, says)
    assert not (tmp_path / "runs" / "demo-llm" / "plans").exists()


def test_a_split_file_of_another_kind_is_named(tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"a": 1}))
    answer = mpo_here("tasks", "scienceworld", "--split", "train", "--split-file", str(wrong))
    assert_one_line(answer, str(wrong))


def test_a_taken_port_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = mpo_here("run", "demo-llm", f"runs_dir={tmp_path}", f"cluster.http_port={port}")
    assert_one_line(answer, f"port {port} is taken")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing_and_the_same_command_goes_on(small_disk, tmp_path):
    arguments = ["run", str(write_config(tmp_path, runs_dir=str(small_disk), cluster=HERE))]
    filler = small_disk / "filler"
    filler.write_bytes(bytes(900 * 1024))
    answer = mpo(*arguments)
    assert_one_line(answer, "No space left on device")
    ledger = small_disk / "small" / "episodes" / "scoring.jsonl"
    kept = ledger.read_bytes()
    assert kept.endswith(b"\n") or not kept
    filler.unlink()
    answer = mpo(*arguments)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert ledger.read_bytes().startswith(kept)


def test_a_run_that_is_told_to_end_tidies_up_and_says_how_it_goes_on(tmp_path):
    from mlflow import MlflowClient

    process = start(write_config(tmp_path, tracking={"enabled": True}))
    run = tmp_path / "small"
    while not episodes(run):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in errors, errors[-2000:]
    assert "the same command goes on from there" in errors.splitlines()[-1]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [experiment] = [e.experiment_id for e in client.search_experiments() if e.name != "Default"]
    found = {run.info.run_name: run.info.status for run in client.search_runs([experiment])}
    assert found.pop(run.name) == "KILLED" and set(found.values()) <= {"KILLED", "FINISHED"}


@pytest.mark.long
def test_a_lost_tracking_server_costs_no_episode_and_no_report(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    config = write_config(tmp_path, cluster=HERE, tracking={"enabled": True})
    port, run = free_port(), tmp_path / "small"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    with tracking_server(tmp_path, port):
        process = start(config)
        while not (run / "episodes" / "scoring.jsonl").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    assert f"`mpo track sync {run}` sends them" in errors.splitlines()[-1]
    assert (run / "report" / "summary.json").is_file()

    with tracking_server(tmp_path, port) as url:
        assert mpo("track", "sync", str(run)).returncode == 0
        logged = MlflowClient(url).get_run((run / "mlflow_run_id").read_text())
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["mean_reward/expert"] == 1


def test_stages_without_what_they_stand_on_say_what_to_run_first(tmp_path):
    runs_dir = f"runs_dir={tmp_path}"
    assert_one_line(mpo_here("pairs", "demo-llm", runs_dir), "run `mpo rollout`")
    assert_one_line(mpo_here("train", "dpo", "demo-llm", runs_dir), "run `mpo pairs`")
    assert_one_line(mpo_here("rollout", "demo-llm", runs_dir), "run `mpo plans`")


def test_a_model_elsewhere_is_not_trained(tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    row = {"prompt": "a", "chosen": "Step 1: Look.", "rejected": "Step 1: Wait."}
    pairs.write_text(json.dumps(row) + "\n")
    answer = mpo_here(
        "train", "dpo", "endpoint", "--pairs", str(pairs), f"runs_dir={tmp_path / 'runs'}"
    )
    assert_one_line(answer, "models.llm has no source to train")


def test_the_doctor_finds_this_machine_fit_for_the_demo_and_says_what_is_not():
    answer = mpo("doctor", "demo-llm")
    assert answer.returncode == 0, answer.stdout
    assert "Java" in answer.stdout and "room on this machine" in answer.stdout
    answer = mpo_here("doctor", "demo-llm", "models.smollm2.source=/no/such/model")
    assert answer.returncode == 2
    assert "set models.smollm2.source" in " ".join(answer.stdout.split())


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path):
    answer = mpo_here("run", "demo-llm", f"runs_dir={tmp_path}", "--dry-run")
    assert answer.returncode == 0
    assert "6 train, 12 unseen" in answer.stdout and "48 scoring" in answer.stdout
    assert not list(tmp_path.iterdir())


def test_a_dry_run_changes_no_run_that_is_there(tmp_path):
    config = tmp_path / "mine" / "config.yaml"
    config.parent.mkdir()
    shutil.copy(PRESETS / "demo-llm.yaml", config)
    before = config.read_bytes()
    answer = mpo_here("run", str(config.parent), "scoring.repetitions=3", "--dry-run")
    assert answer.returncode == 0, answer.stderr
    assert [path.name for path in config.parent.iterdir()] == ["config.yaml"]
    assert config.read_bytes() == before
