import os
import sys
from pathlib import Path

import pytest

from tests.commandline import ROOT
from tests.integration.slurm import accounting
from tests.integration.slurm.cluster import Slurm, last_lines, missing


@pytest.fixture(scope="module", params=[pytest.param(False, id="")])
def slurm(request, tmp_path_factory):
    """A Slurm of two nodes, whose jobs find this checkout, its programs and the tests' models;
    with accounting where its parameter says so."""
    lack = missing() or (accounting.missing() if request.param else None)
    if lack:
        pytest.skip(lack)
    folder = tmp_path_factory.mktemp("slurm")
    cluster = Slurm(folder, accounting.Accounting(folder) if request.param else None)
    cluster.environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "MPO_HOME": str(ROOT),
        "MPO_LOGS": str(folder / "logs"),
        "HF_HUB_OFFLINE": "1",
    }
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def runs(tmp_path, request):
    """Folder for a test's runs; shown where the test fails."""
    yield tmp_path
    if getattr(request.node, "failed", False):
        print(last_lines(sorted(tmp_path.rglob("*.log")) + sorted(tmp_path.rglob("*.out"))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.failed = report.failed
    return report
