"""The emulated cluster, with KubeRay's resource definitions and the suite's namespace."""

import json
import subprocess
from collections.abc import Callable

import pytest

from tests.integration.kubernetes.apiserver import Cluster, api_server
from tests.integration.kubernetes.manifests import K8S
from tests.integration.kubernetes.schemas import definition


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """An emulated API server that kubectl talks to, here and in this test's processes."""
    with api_server() as server:
        (tmp_path / "kubeconfig").write_text(server.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        # kubectl keeps what it has discovered, by the server's address.
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))
        yield server


@pytest.fixture
def kubectl() -> Callable[..., str]:
    """Runs kubectl and returns what it says."""

    def run(*arguments: str, stdin: str | None = None, code: int = 0) -> str:
        done = subprocess.run(
            ["kubectl", *arguments], check=False, input=stdin, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def operator_installed(cluster, kubectl) -> None:
    """KubeRay's resource definitions."""
    for plural in ("rayjobs", "rayservices"):
        kubectl("create", "--filename=-", stdin=json.dumps(definition(plural)))


@pytest.fixture
def ready(cluster, operator_installed, kubectl) -> Cluster:
    """A cluster with the operator's definitions and the suite's namespace."""
    kubectl("apply", "--filename", str(K8S / "namespace.yaml"))
    return cluster
