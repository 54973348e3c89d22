"""The manifests' MLflow server for real: its command and environment as rendered, PostgreSQL behind
it, and a run that is logged to it under its name in the cluster."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.kubernetes.manifests import needs_kubectl, one, overlay
from tests.integration.kubernetes.pod import Pod, container_environment, needs_namespaces, pod

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
pytestmark = [
    needs_kubectl,
    needs_namespaces,
    pytest.mark.skipif(not POSTGRES, reason="PostgreSQL (Debian: postgresql) is not installed"),
]
SECRETS = {"mpo-postgres": {"password": "p4ss"}}
# What initdb and the server write to, besides PGDATA.
OF_POSTGRES = ("/var/lib/postgresql", "/var/run/postgresql")


@pytest.fixture(scope="module")
def objects():
    return overlay("cpu")


@pytest.fixture(scope="module")
def inside(tmp_path_factory) -> Pod:
    folder = tmp_path_factory.mktemp("pod")
    (folder / "artifacts").mkdir()
    mounts = {"/mnt/artifacts": folder / "artifacts"}
    with pod(folder, mounts, ("mlflow", "postgres"), OF_POSTGRES) as made:
        yield made


@pytest.fixture(scope="module")
def database(inside, objects, tmp_path_factory) -> None:
    """PostgreSQL as its image sets it up: a database and its user, whose password it asks for."""
    template = one(objects, "StatefulSet", "postgres")["spec"]["template"]
    [container] = template["spec"]["containers"]
    env = container_environment(container, objects, SECRETS)
    folder = POSTGRES[-1].parent
    script = [
        "set -e",
        f"echo $POSTGRES_PASSWORD > {OF_POSTGRES[0]}/password",
        f"{folder}/initdb --username=$POSTGRES_USER --auth-host=scram-sha-256 "
        f"--pwfile={OF_POSTGRES[0]}/password",
        f"exec {folder}/postgres -c listen_addresses='*'",
    ]
    log = tmp_path_factory.mktemp("log") / "postgres"
    process = inside.start(as_user("postgres", "bash", "-c", "\n".join(script)), log, env)
    [probe] = {tuple(container[p]["exec"]["command"]) for p in container if p.endswith("Probe")}
    try_until(inside, [f"{folder}/{probe[0]}", "--username=mlflow"], process, log)
    inside.run(*as_user("postgres", f"{folder}/createdb", "--username=mlflow", "mlflow"), env=env)
    inside.run(f"{folder}/{probe[0]}", *probe[1:])


@pytest.fixture(scope="module")
def server(inside, objects, database, tmp_path_factory) -> None:
    [container] = one(objects, "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    env = container_environment(container, objects, SECRETS)
    log = tmp_path_factory.mktemp("log") / "mlflow"
    command = [
        str(Path(sys.executable).parent / container["command"][0]),
        *container["command"][1:],
    ]
    # Of the container's files it can write to its mounts alone.
    assert container["securityContext"]["readOnlyRootFilesystem"]
    inside.run("mount", "--bind", "/tmp", "/tmp")
    inside.run("mount", "-o", "remount,bind,ro", "/")
    process = inside.start(command, log, env)
    probe = container["startupProbe"]["httpGet"]
    [port] = [port["containerPort"] for port in container["ports"] if port["name"] == probe["port"]]
    within_s = (
        container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]
    )
    inside.wait_for(f"http://127.0.0.1:{port}{probe['path']}", process, log, within_s)


def as_user(name: str, *command: str) -> list[str]:
    return ["setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups", *command]


def try_until(inside: Pod, command: list[str], process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            inside.run(*command)
            return
        except AssertionError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)


def test_a_run_logs_to_the_server_by_its_name_in_the_cluster(inside, objects, server, tmp_path):
    env = one(objects, "ConfigMap", "mpo-environment")["data"]
    script = str(Path(__file__).with_name("log_a_run.py"))
    printed = inside.run(sys.executable, script, str(tmp_path), env=env)
    assert json.loads(printed.splitlines()[-1]) == {
        "name": "tracked",
        "status": "FINISHED",
        "params": {"training.beta": "0.1"},
        "loss": [3.0, 2.0, 1.0],
        "artifacts": ["pairs.json", "report"],
        "report": "# Done\n",
    }


def test_the_run_is_in_postgres_and_its_files_on_the_artifacts_volume(inside, server):
    env = {"PGPASSWORD": SECRETS["mpo-postgres"]["password"]}
    query = "select name, status from runs"
    psql = [str(POSTGRES[-1].with_name("psql")), "--host=postgres", "--username=mlflow", "mlflow"]
    assert inside.run(*psql, "-Atc", query, env=env).strip() == "tracked|FINISHED"
    found = inside.run("find", "/mnt/artifacts", "-name", "report.md")
    assert found.strip().startswith("/mnt/artifacts/")


def test_a_request_under_another_name_is_refused(inside, server):
    """As a browser would send it whose page has made its own name point here."""
    asked = [
        "curl",
        "--silent",
        "http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1",
    ]
    assert "experiments" in inside.run(*asked)
    assert "Invalid Host header" in inside.run(*asked, "--header", "Host: evil.example:5000")
