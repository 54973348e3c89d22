"""Trainings without Ray, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

# Several trainings in one pair of processes, since importing takes longer than training here.
ALL_JOBS = """
import sys
from accelerate.state import AcceleratorState
from mpo_core.training.__main__ import main
from mpo_core.training.engine import leave
from mpo_core.training.run import Stopped
for job in sys.argv[1:]:
    try:
        main(job)
    except Stopped as stop:
        print(stop)
    AcceleratorState._reset_state()
leave(0)
"""


def write_job(folder: Path, model: Path, rows: Path, config: dict, **fields) -> Path:
    folder.mkdir(exist_ok=True)
    job = {
        "rows": str(rows),
        "model": str(model),
        "out": str(folder / "planner"),
        "work": str(folder / "work"),
        "seed": 3,
        "config": config,
    }
    (folder / "job.json").write_text(json.dumps(job | fields))
    return folder / "job.json"


def run(*arguments, **environment):
    """A finished Python process."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=os.environ | environment,
    )


def run_all(folder: Path, jobs: list[Path]) -> None:
    """Run the jobs one after the other, each by two workers."""
    program = folder / "all_jobs.py"
    program.write_text(ALL_JOBS)
    done = run(*TORCHRUN, program, *jobs)
    assert done.returncode == 0, done.stderr[-3000:]
