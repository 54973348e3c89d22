"""A private cluster whose node is not up within Ray's half minute, as on a busy machine."""

import subprocess
import sys

import pytest

STOPPED_RAYLET = """
import logging, threading, time
import psutil, ray
from cluster.private import start_private_cluster

stopped = []

def stop_the_first_raylet():
    while not stopped:
        for process in psutil.Process().children(recursive=True):
            try:
                if process.name() == "raylet":
                    process.suspend()
                    stopped.append(process)
            except psutil.Error:
                pass
        time.sleep(0.01)

threading.Thread(target=stop_the_first_raylet, daemon=True).start()
undo = start_private_cluster(2, log_to_driver=False, logging_level=logging.ERROR)
assert not stopped[0].is_running()
assert ray.get(ray.remote(lambda: 42).remote()) == 42
ray.shutdown()
undo()
"""


@pytest.mark.long
def test_a_node_that_is_not_up_in_time_is_started_again():
    command = [sys.executable, "-c", STOPPED_RAYLET]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
