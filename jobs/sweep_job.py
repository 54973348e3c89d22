"""What a sweep's job does: one point's whole loop, in a process of its own."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from submitit.helpers import Checkpointable

SUITE = Path(os.environ.get("MPO_HOME") or Path(__file__).parents[1])
"""The checkout that holds `slurm/`."""
# Slurm's warning comes 120 s ahead; what is not done by then has its last checkpoint anyway.
STOPPING_S = 100
PR_SET_PDEATHSIG = 1


class PointJob(Checkpointable):
    """Runs a config to its end. Warned, it stops at a safe point, and goes on when requeued."""

    def __init__(self, config: str, done: str, identity: str, *, on_slurm: bool) -> None:
        """`on_slurm`: whether this is a Slurm job of its own, not only started in the shell of
        one."""
        self.config = config
        self.done = done
        self.identity = identity
        self.on_slurm = on_slurm
        self._process: subprocess.Popen | None = None

    def __call__(self) -> None:
        """Raises RuntimeError where the run fails."""
        command = [sys.executable, "-m", "jobs.pipeline", self.config]
        if self.on_slurm:
            # Each node runs this; the script knows which one is the first.
            command = ["bash", str(SUITE / "slurm" / "ray_cluster.sh"), *command]
        environment = os.environ | {"MPO_HOME": str(SUITE)}
        process = subprocess.Popen(
            command,
            env=environment,
            preexec_fn=_end_with_parent,  # noqa: PLW1509  A job has one thread.
        )
        self._process = process
        try:
            # Not `wait`, which would hold the lock that `checkpoint` needs to wait.
            while process.poll() is None:
                time.sleep(0.5)
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        if process.returncode:
            name = Path(self.config).stem
            raise RuntimeError(f"{name}: ended with exit code {process.returncode}")
        if not self.on_slurm or os.environ.get("SLURM_PROCID", "0") == "0":
            Path(self.done).write_text(self.identity, encoding="utf-8")

    def checkpoint(self, *args, **kwargs):
        """Called by submitit ahead of the time limit or preemption."""
        if self._process is not None:
            self._ask_to_stop(self._process)
            try:
                self._process.wait(STOPPING_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._process = None
        return super().checkpoint(*args, **kwargs)

    def _ask_to_stop(self, process: subprocess.Popen) -> None:
        if not self.on_slurm:
            process.send_signal(signal.SIGUSR1)
            return
        logs = Path(os.environ.get("MPO_LOGS") or SUITE / "runs" / "slurm")
        attempt = f"attempt_{os.environ.get('SLURM_RESTART_COUNT', '0')}"
        (logs / os.environ["SLURM_JOB_ID"] / attempt / "stop").touch()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
