import os

import pytest

from mpo_core.cache import default_cache
from tests.commandline import mpo
from tests.small_run import write_config

pytestmark = pytest.mark.timeout(300)


def test_a_private_cluster_runs_where_home_cannot_be_written(tmp_path, monkeypatch):
    """Its temporary folder is not there yet, and has a space in its name."""
    monkeypatch.setenv("MPO_CACHE", str(default_cache()))
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a b"))
    # What other tests of this process have set, the alfworld package too.
    ray = ("RAY_TMPDIR", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")
    for variable in ("ALFWORLD_DATA", *ray):
        monkeypatch.delenv(variable, raising=False)
    config = write_config(tmp_path)
    few = ["scoring.repetitions=1", "planner.per_task=2", "evaluation.arms=[none]"]
    done = mpo("run", str(config), *few, "tracking.enabled=false")
    assert done.returncode == 0, done.stdout + done.stderr
    assert os.path.isfile(tmp_path / "small" / "report" / "summary.json")
