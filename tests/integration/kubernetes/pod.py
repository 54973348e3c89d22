"""A place that looks like the manifests' pods to what runs in it: their paths and host names, a
network of its own with nothing but loopback, processes that end with it.

Linux namespaces, which take root. Of the machine's files all are seen but what is mounted over.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.commandline import ROOT

UNSHARE = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]


def _permitted() -> bool:
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    tried = subprocess.run([*UNSHARE, "true"], check=False, capture_output=True)
    return tried.returncode == 0


needs_namespaces = pytest.mark.skipif(
    not _permitted(), reason="namespaces of one's own (unshare) are not permitted here"
)


class Pod:
    """Runs commands inside."""

    def __init__(self, pid: int) -> None:
        self._enter = ["nsenter", f"--target={pid}", "--mount", "--pid", "--net", "--"]

    def start(
        self, command: Sequence[str], log: Path, env: dict[str, str] | None = None
    ) -> subprocess.Popen:
        """Start a process; what it says goes to a file."""
        with log.open("w") as file:
            return subprocess.Popen(
                [*self._enter, *command],
                env=_environment(env or {}),
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def run(self, *command: str, env: dict[str, str] | None = None, timeout: float = 600) -> str:
        """What a command prints; it must succeed."""
        done = subprocess.run(
            [*self._enter, *command],
            check=False,
            env=_environment(env or {}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    def wait_for(self, url: str, process: subprocess.Popen, log: Path, within_s: float) -> None:
        """Until a server answers with success."""
        probe = ["curl", "--silent", "--fail", "--max-time", "5", "--output", "/dev/null", url]
        deadline = time.monotonic() + within_s
        while subprocess.run([*self._enter, *probe], check=False).returncode:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.5)


@contextmanager
def pod(
    folder: Path, mounts: dict[str, Path], hosts: Sequence[str] = (), empty: Sequence[str] = ()
) -> Iterator[Pod]:
    """
    Args:
        folder: for what the pod itself needs.
        mounts: path in the pod below /mnt -> folder of this machine.
        hosts: names of services, all of them answered here.
        empty: paths where the pod has empty folders of its own.
    """
    for name in mounts:
        (folder / "mnt" / Path(name).relative_to("/mnt")).mkdir(parents=True)
    (folder / "hosts").write_text(f"127.0.0.1 localhost {' '.join(hosts)}\n")
    script = [
        "set -e",
        "ip link set lo up",
        f"mount --bind {folder}/hosts /etc/hosts",
        f"mount --bind {folder}/mnt /mnt",
        *(f"mount --bind {source} {name}" for name, source in mounts.items()),
        *(f"mkdir -p {path} && mount -t tmpfs -o mode=777 none {path}" for path in empty),
        f"touch {folder}/ready",
        "exec sleep infinity",
    ]
    outer = subprocess.Popen([*UNSHARE, "bash", "-c", "\n".join(script)])
    try:
        deadline = time.monotonic() + 30
        while not (folder / "ready").exists():
            assert outer.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        [inner] = psutil.Process(outer.pid).children()
        yield Pod(inner.pid)
    finally:
        # The first process of the namespace takes all others with it.
        outer.kill()
        outer.wait()


def container_environment(
    container: dict[str, Any], objects: Sequence[dict[str, Any]], secrets: dict[str, dict[str, str]]
) -> dict[str, str]:
    """A container's environment as Kubernetes would make it.

    Args:
        secrets: the secrets' content, by name and key.
    """
    maps = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
    environment: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            environment |= maps[source["configMapRef"]["name"]]
        elif source["secretRef"]["name"] in secrets or not source["secretRef"].get("optional"):
            environment |= secrets[source["secretRef"]["name"]]
    for variable in container.get("env", []):
        if "value" in variable:
            environment[variable["name"]] = variable["value"]
        else:
            wanted = variable["valueFrom"]["secretKeyRef"]
            environment[variable["name"]] = secrets[wanted["name"]][wanted["key"]]
    return environment


def _environment(given: dict[str, str]) -> dict[str, str]:
    """This process's, without what is this machine's alone."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "MPO_"))}
    return kept | {"PYTHONPATH": str(ROOT)} | given
