"""Sweeps through submitit on this machine: real processes, real MLflow, scripted models."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commandline import ROOT, mpo, mpo_here
from tests.processes import descendants
from tests.small_run import episodes, write_config
from tests.swept import NAMES, mlflow_runs

pytestmark = pytest.mark.timeout(900)


def sweep_command(folder: Path, *options: str) -> list[str]:
    cluster = {"enabled": False, "episodes_in_flight": 2}
    config = write_config(folder, cluster=cluster, tracking={"enabled": True})
    return ["sweep", str(config), "--over", "seed=0,1", *options]


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess, dict[str, int]]:
    """Folder of a sweep whose first point was killed; what the second call said, and how many
    episodes of each point were there before it."""
    folder = tmp_path_factory.mktemp("sweep")
    command = [sys.executable, "-m", "jobs.cli", *sweep_command(folder, "--on", "local")]
    first = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 300
    while len(episodes(folder / NAMES[0])) < 3:
        assert first.poll() is None, first.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for driver in descendants("jobs.pipeline", of=first.pid):
        driver.kill()
    output, _ = first.communicate(timeout=300)
    assert first.returncode == 1, output
    assert f"{NAMES[0]}: not done" in output
    before = {name: len(episodes(folder / name)) for name in NAMES}
    assert mpo_here(*sweep_command(folder, "--status")).returncode == 1
    return folder, mpo(*sweep_command(folder, "--on", "local")), before


def test_a_killed_point_goes_on_and_the_others_are_left_alone(swept):
    folder, again, before = swept
    assert again.returncode == 0, again.stdout + again.stderr
    assert 3 <= before[NAMES[0]] < 36
    for name in NAMES:
        keys = [episode.key for episode in episodes(folder / name)]
        assert len(keys) == len(set(keys))
        assert (folder / name / "report" / "summary.json").is_file()
    jobs = json.loads((folder / "sweeps" / "small" / "sweep.json").read_text())["jobs"]
    assert sorted(jobs) == NAMES
    logs = list((folder / "sweeps" / "small" / "jobs").rglob("*.out"))
    assert len(logs) == 3, "the point that was done did not run again"


def test_all_points_stand_under_one_run_in_mlflow(swept):
    folder, *_ = swept
    runs = mlflow_runs(folder)
    assert runs["small"] == {"status": "FINISHED", "parent": None}
    for name in NAMES:
        assert runs[name] == {"status": "FINISHED", "parent": "small"}
    assert len(runs) == 3


def test_a_sweep_that_is_done_starts_nothing_and_says_so(swept):
    folder, *_ = swept
    done = mpo_here(*sweep_command(folder, "--status"))
    assert done.returncode == 0
    assert done.stdout.count("done") == 2


def test_in_this_terminal_a_point_runs_with_its_output(tmp_path, monkeypatch):
    # A shell of salloc or srun is a terminal like any other.
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_PROCID", "1")
    config, *_ = sweep_command(tmp_path)[1:]
    few = ["tracking.enabled=false", "evaluation.arms=[none]", "scoring.repetitions=1"]
    done = mpo("sweep", config, *few, "--over", "seed=0", "--on", "debug")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report: " in done.stdout
