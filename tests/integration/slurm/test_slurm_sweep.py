"""`mpo sweep --on slurm` on a real Slurm, which has accounting or has not."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.commandline import ROOT
from tests.processes import command_line
from tests.small_run import episodes, write_config
from tests.swept import NAMES, mlflow_runs

pytestmark = [pytest.mark.timeout(1200), pytest.mark.long]


def sweep(slurm, config, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", "sweep", config, "--over", "seed=0,1", *options],
        check=False,
        cwd=ROOT,
        env=slurm.environment,
        capture_output=True,
        text=True,
    )


LAUNCH = {"slurm": {"cpus_per_node": 4, "memory_gb": 2, "hours": 0.5}}
EVALUATION = {"splits": ["unseen"], "arms": ["none", "expert"], "bootstrap": 200}


@pytest.mark.parametrize("slurm", [True], indirect=True, ids=["with accounting"])
def test_slurms_accounting_sees_every_point(slurm, runs):
    config = write_config(runs, launch=LAUNCH, evaluation=EVALUATION, scoring={"repetitions": 1})
    assert sweep(slurm, config, "--on", "slurm").returncode == 0
    slurm.wait_for(lambda: slurm.run("squeue", "-h") == "", "end of both jobs", 400)
    assert sweep(slurm, config, "--on", "slurm", "--status").stdout.count("done") == 2
    listed = slurm.run("sacct", "-X", "-n", "-P", "--format=JobName,State").splitlines()
    assert listed == ["small|COMPLETED"] * 2


@pytest.mark.parametrize("slurm", [False], indirect=True, ids=["without accounting"])
def test_a_point_that_is_killed_goes_on_and_all_stand_under_one_run(slurm, runs):
    tracking = {"enabled": True}
    config = write_config(runs, launch=LAUNCH, evaluation=EVALUATION, tracking=tracking)
    started = sweep(slurm, config, "--on", "slurm")
    assert started.returncode == 0, started.stdout + started.stderr
    slurm.wait_for(lambda: len(episodes(runs / NAMES[0])) >= 3, "episodes", 400)
    [driver] = [p.pid for p in psutil.process_iter() if is_driver_of(p, NAMES[0])]
    os.kill(driver, signal.SIGKILL)
    slurm.wait_for(lambda: slurm.run("squeue", "-h") == "", "end of both jobs", 400)
    shown = sweep(slurm, config, "--on", "slurm", "--status")
    assert [word in shown.stdout for word in ("failed", "done")] == [True, True], shown.stdout

    again = sweep(slurm, config, "--on", "slurm")
    assert again.returncode == 0, again.stdout + again.stderr
    slurm.wait_for(lambda: slurm.run("squeue", "-h") == "", "end of the job", 400)
    assert sweep(slurm, config, "--on", "slurm").returncode == 0
    for name in NAMES:
        keys = [episode.key for episode in episodes(runs / name)]
        assert len(keys) == len(set(keys))
        assert (runs / name / "report" / "summary.json").is_file()
    finished = {"status": "FINISHED", "parent": "small"}
    assert mlflow_runs(runs) == {
        "small": {"status": "FINISHED", "parent": None},
        NAMES[0]: finished,
        NAMES[1]: finished,
    }


def is_driver_of(process: psutil.Process, point: str) -> bool:
    command = command_line(process)
    return (
        "jobs.pipeline" in command
        and any(point in word for word in command)
        and ("python" in command[0])
    )
