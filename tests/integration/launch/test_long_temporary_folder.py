import os
from pathlib import Path

import pytest

from tests.commandline import mpo
from tests.small_run import write_config

pytestmark = pytest.mark.timeout(300)


def test_a_private_cluster_runs_below_a_temporary_folder_with_a_long_path(tmp_path, monkeypatch):
    long = tmp_path / ("job-" + "x" * (111 - len(str(tmp_path))))
    long.mkdir()
    assert len(str(long)) >= 115
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    config = write_config(tmp_path)
    few = ["scoring.repetitions=1", "planner.per_task=2", "evaluation.arms=[none]"]
    links = {path for path in Path("/tmp").glob("mpo-*/t") if path.is_symlink()}
    done = mpo("run", str(config), *few, "tracking.enabled=false")
    assert done.returncode == 0, done.stdout + done.stderr
    [session] = (long / "ray").glob("session_2*")
    assert os.access(session / "logs", os.R_OK)
    left = {path for path in Path("/tmp").glob("mpo-*/t") if path.is_symlink()} - links
    assert not [path for path in left if path.resolve() == long.resolve()]
