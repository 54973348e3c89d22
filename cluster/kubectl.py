"""kubectl, as a process of its own; its complaints in one line."""

import json
import re
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from mpo_core.config import KubernetesConfig
from mpo_core.errors import InputError

# Between two looks at what goes on in the cluster.
POLL_S = 5


def run_kubectl(*arguments: str, stdin: str | None = None) -> str:
    """What kubectl prints. Raises InputError with its last line where it fails or is not there."""
    try:
        done = subprocess.run(
            ["kubectl", *arguments],
            check=False,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError as error:
        raise InputError("kubectl: not installed, or not on the PATH") from error
    if done.returncode == 0:
        return done.stdout
    complaint = [line for line in done.stderr.splitlines() if line.strip()]
    line = complaint[-1].strip() if complaint else f"exit code {done.returncode}"
    if 'doesn\'t have a resource type "rayjobs"' in line:
        line = "the cluster knows no RayJob; install the KubeRay operator (see k8s/README.md)"
    elif re.search(r"connection .*refused|unable to connect|dial tcp|current-context", line, re.I):
        line += "; is the cluster up, and launch.k8s.context (or kubectl's own) the right one?"
    raise InputError(f"kubectl {arguments[0]}: {line}")


class Kubectl:
    """kubectl with a config's context and namespace."""

    def __init__(self, config: KubernetesConfig) -> None:
        self._options = [f"--namespace={config.namespace}"]
        if config.context:
            self._options.append(f"--context={config.context}")

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """What a command prints. Raises InputError with its complaint, in one line."""
        return run_kubectl(*arguments, *self._options, stdin=stdin)

    def ray_job(self, name: str) -> dict[str, Any] | None:
        """The RayJob as it is in the cluster, None where there is none."""
        text = self("get", "rayjobs.ray.io", name, "--output=json", "--ignore-not-found")
        return json.loads(text) if text else None

    def log(self, name: str, since: str | None) -> subprocess.Popen:
        """Starts to show, on standard output, the log of the pod that submitted a RayJob."""
        command = ["kubectl", "logs", "--follow", f"job/{name}", *self._options]
        if since:
            command.append(f"--since-time={since}")
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)


class JobLog:
    """A RayJob's log on standard output, whole: begun again while its pod is not yet there, and
    where it broke off after a lost connection."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self._kubectl, self._name = kubectl, name
        self._process: subprocess.Popen | None = None
        self._attempt: str | None = None
        self._began = 0.0
        self._since: str | None = None

    def keep_up(self, attempt: str | None) -> None:
        """To be called now and then while the job runs; every attempt has a log of its own."""
        if attempt != self._attempt:
            self.close()
            self._attempt, self._since = attempt, None
        elif self._process and self._process.poll() in (None, 0):
            return
        elif self._process and time.monotonic() - self._began > 60:
            last_look = datetime.now(UTC) - timedelta(seconds=POLL_S)
            self._since = last_look.strftime("%Y-%m-%dT%H:%M:%SZ")
        self._process = self._kubectl.log(self._name, self._since)
        self._began = time.monotonic()

    def close(self) -> None:
        """Leaves the log a moment to end by itself, as it does when the pod has ended."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(POLL_S)
        self._process.terminate()
        self._process.wait()
        self._process = None
