"""Packages of other projects that the suite's files are made for, beside its own environment.

They need other versions of what the suite stands on, or another Python; they are installed into
a folder of their own, which only a process started for it imports from.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def installed(folder: Path, *arguments: str) -> Path:
    """A folder to import packages from, installed by uv; a test that needs one without a registry
    in reach is skipped and says so."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet"]
    command += ["--python", sys.executable, "--target", str(folder), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        said = " ".join(done.stderr.split())[-300:]
        pytest.skip(f"{' '.join(arguments)} cannot be installed: {said}")
    return folder


def run_with(folder: Path, script: str, *arguments: str) -> str:
    """What a script prints that imports from such a folder first."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
