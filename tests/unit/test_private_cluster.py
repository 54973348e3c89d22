"""A private Ray cluster that the machine is too busy for is started again."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray

from cluster.private import STARTS, _until_it_stands
from mpo_core.errors import InputError


class Starts:
    """Starts that leave a process behind; the first of them are too slow."""

    def __init__(self, slow: int, said: str = "The current node timed out during startup.") -> None:
        self.slow = slow
        self.said = said
        self.left: list[psutil.Process] = []

    def __call__(self) -> None:
        program = [sys.executable, "-c", "import time; time.sleep(60)"]
        process = subprocess.Popen([*program, f"{Path(ray.__file__).parent}/raylet"])
        self.left.append(psutil.Process(process.pid))
        while "raylet" not in "".join(self.left[-1].cmdline()):
            time.sleep(0.01)  # It is still a copy of this process.
        if len(self.left) <= self.slow:
            raise Exception(self.said)

    def running(self) -> list[bool]:
        return [process.is_running() for process in self.left]


@pytest.fixture
def other():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def starts_of():
    made: list[Starts] = []

    def make(*args) -> Starts:
        made.append(Starts(*args))
        return made[-1]

    yield make
    for process in (process for starts in made for process in starts.left):
        if process.is_running():
            process.kill()
            process.wait()


def test_what_a_slow_start_leaves_is_ended_and_nothing_else(starts_of, other):
    starts = starts_of(2)
    _until_it_stands(starts)
    assert starts.running() == [False, False, True]
    assert other.poll() is None


def test_a_machine_that_stays_too_busy_is_said_so(starts_of):
    starts = starts_of(STARTS)
    with pytest.raises(InputError, match="a private Ray cluster does not start") as said:
        _until_it_stands(starts)
    assert f"{STARTS} times" in str(said.value)
    assert starts.running() == [False] * STARTS


def test_another_failure_is_not_tried_again(starts_of):
    starts = starts_of(1, "no space left")
    with pytest.raises(Exception, match="no space left"):
        _until_it_stands(starts)
    assert len(starts.left) == 1
