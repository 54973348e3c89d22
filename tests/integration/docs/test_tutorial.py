"""The tutorial's commands, typed as they stand, do what it says."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.commandline import ROOT
from tests.documents import blocks

PAGE = "docs/tutorial.md"
SMALL = (
    "envs.alfworld.tasks.train=24 envs.alfworld.tasks.unseen=6 planner.per_task=4 "
    "scoring.repetitions=2 evaluation.plan_samples=0"
)
"""What makes a run one of minutes; the games, their names and the models stay the demo's."""
FEWER_ARMS = "planner.sft.epochs=1 evaluation.arms=[none,sft,mpo]"
KEY = re.compile(r"^ ([0-9a-f]{12,})", re.MULTILINE)
"""Of an episode or plan, cut to the width of the terminal."""


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A folder to type in, in which `mpo` is this checkout's."""
    program = tmp_path / "bin" / "mpo"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m jobs.cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(command: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def viewed(command: str) -> str:
    """The first page of a viewer that is then stopped as Ctrl-C does."""
    line = ["bash", "-c", f"exec {command}"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as viewer:
        assert viewer.stdout
        with urlopen(viewer.stdout.readline().strip()) as answer:
            page = answer.read().decode()
        viewer.send_signal(signal.SIGINT)
    assert viewer.returncode == 0
    return page


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_tutorials_commands_lead_from_the_demo_to_a_comparison(shell):
    said = {}
    for block in blocks(PAGE, "sh"):
        (command,) = block.splitlines()
        if command.startswith("mpo view"):
            said[command] = viewed(command)
            continue
        small = f" {SMALL}" if command.startswith("mpo run") else ""
        small += f" {FEWER_ARMS}" if command == "mpo run demo" else ""
        said[command] = typed(command + small)
    first, second = (Path("runs") / name for name in ("demo", "again"))
    assert (first / "report" / "index.html").is_file()
    assert "episodes" in said["mpo status demo"]
    assert "MPO plans" in said["mpo report demo"]
    assert "/episodes?run=demo" in said["mpo view demo"]
    assert Path("my-planner/model.safetensors").is_file()
    assert (second / "report" / "index.html").is_file()
    assert "my-planner" in said["mpo compare demo again"]

    (shown,) = (text for command, text in said.items() if command.startswith("mpo show"))
    assert "heat some egg" in shown
    (with_key,) = (line for line in blocks(PAGE, "") if "KEY" in line)
    keys = KEY.findall(shown)
    assert keys
    assert "heat some egg" in typed(with_key.replace("KEY", keys[-1]))
