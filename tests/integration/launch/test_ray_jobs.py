"""Runs as jobs of a Ray cluster on this machine: `mpo run --on ray` and plain `ray job submit`."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from mpo_core.hardware import free_port
from tests.commandline import ROOT, mpo, mpo_here
from tests.small_run import episodes, write_config

TOKEN = "a-token-of-these-tests-alone-0123456789"
PROGRAMS = Path(sys.executable).parent
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", autouse=True)
def token():
    """What this Ray asks of its clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        yield


@pytest.fixture(scope="module")
def head(token, tmp_path_factory):
    """Address of the dashboard of a Ray head with four CPUs."""
    folder = tmp_path_factory.mktemp("head")
    port, dashboard = free_port(), free_port()
    command = [PROGRAMS / "ray", "start", "--head", "--block", "--num-cpus=4", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += ["--min-worker-port=0", "--max-worker-port=0"]
    command += [f"--ray-client-server-port={free_port()}"]
    command += ["--dashboard-agent-listen-port=0", "--dashboard-agent-grpc-port=0"]
    environment = os.environ | {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "RAY_TMPDIR": f"/tmp/mpo-test-{os.getpid()}",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    os.makedirs(environment["RAY_TMPDIR"], exist_ok=True)
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{dashboard}"
    deadline = time.monotonic() + 180
    try:
        while not answers(address):
            assert process.poll() is None, (folder / "head.log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEST_RAY_GCS", f"127.0.0.1:{port}")
            yield address
    finally:
        process.terminate()
        process.wait(60)


def answers(address: str) -> bool:
    asked = urllib.request.Request(
        f"{address}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_a_run_is_submitted_followed_and_finished(head, tmp_path):
    config = write_config(tmp_path)
    done = mpo("run", str(config), "--on", "ray", "--address", head, *installed())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCEEDED" in done.stdout
    assert f"report: {tmp_path / 'small' / 'report'}" in done.stdout.replace("\n", "")
    summary = json.loads((tmp_path / "small" / "report" / "summary.json").read_text())
    assert summary["episodes"] == len(episodes(tmp_path / "small")) + 12


def test_a_jobs_exit_code_is_that_of_the_run_wherever_the_environment_points(
    head, tmp_path, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", f"http://127.0.0.1:{free_port()}")
    config = write_config(tmp_path)
    mute = "models.planner.scripted=tests.scripted:mute"
    done = mpo("run", str(config), mute, "--on", "ray", "--address", head, *installed())
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"at {head}" in done.stdout and "FAILED" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(("setting", "code"), [("seed=1", 0), ("seed=one", 1)])
def test_plain_ray_job_submit_works_too(head, tmp_path, setting, code):
    evaluation = {"splits": ["unseen"], "arms": ["none"], "bootstrap": 200}
    config = write_config(tmp_path, scoring={"repetitions": 1}, evaluation=evaluation)
    submit = [PROGRAMS / "ray", "job", "submit", "--address", head, "--working-dir", ROOT, "--"]
    done = subprocess.run(
        [*submit, "python", "-m", "jobs.pipeline", config, setting],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert (tmp_path / "small" / "report" / "summary.json").exists() == (code == 0)


def test_who_has_not_the_clusters_token_is_told_so_in_one_line(head, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another-token")
    config = write_config(tmp_path)
    done = mpo("run", str(config), "--on", "ray", "--address", head, *installed())
    assert done.returncode == 2
    assert done.stderr.startswith("mpo: error: --address") and done.stderr.count("\n") == 1


def test_no_cluster_at_the_address_is_one_line(tmp_path):
    config = write_config(tmp_path)
    address = f"http://127.0.0.1:{free_port()}"
    done = mpo("run", str(config), "--on", "ray", "--address", address, *installed())
    assert done.returncode == 2
    assert done.stderr.startswith("mpo: error: --address") and done.stderr.count("\n") == 1


ADDRESSES = """
import sys
from cluster.address import Address
from cluster.reach import check_node, reach_cluster, reach_dashboard
from mpo_core.errors import InputError

dashboard, gcs = sys.argv[1:]
try:
    assert reach_cluster(Address(gcs, "RAY_ADDRESS")) == gcs
    check_node(Address(gcs, "RAY_ADDRESS"))
    for one in (gcs, dashboard, dashboard.removeprefix("http://")):
        assert reach_dashboard(Address(one, "RAY_ADDRESS")) == dashboard
except InputError as error:
    print(error)
else:
    print("reached")
"""


@pytest.mark.parametrize(("given", "says"), [(TOKEN, "reached\n"), ("another-token", "token")])
def test_a_clusters_own_address_and_its_dashboards_are_told_apart(head, monkeypatch, given, says):
    monkeypatch.setenv("RAY_AUTH_TOKEN", given)
    done = subprocess.run(
        [sys.executable, "-c", ADDRESSES, head, os.environ["TEST_RAY_GCS"]],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert says in done.stdout and done.stdout.count("\n") == 1, done.stdout + done.stderr


def test_a_dry_run_says_what_would_be_submitted(tmp_path):
    done = mpo_here("run", "demo-llm", f"runs_dir={tmp_path}", "--on", "ray", "--dry-run")
    assert done.returncode == 0
    assert f"python -m jobs.pipeline demo-llm runs_dir={tmp_path}" in done.stdout
    assert f"working_dir  {ROOT}" in done.stdout


def installed() -> tuple[str, str]:
    """The config's file is no part of the checkout, which the cluster has anyway."""
    return "launch.ray.working_dir=null", 'launch.ray.env_vars=["PYTHONPATH"]'
