"""A real MLflow server on loopback, over a folder's SQLite store, to be stopped and started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


class TrackingServer:
    """Started anew, it has what it had."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "server.log"
        self._command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1"]
        self._command += [f"--port={port}", "--workers=1"]
        self._command += [f"--backend-store-uri=sqlite:///{folder}/server.db"]
        self._command += [f"--artifacts-destination={folder}/artifacts"]
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env=os.environ
                | {
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while not answers(f"{self.url}/health"):
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(0.2)

    def stop(self) -> None:
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def tracking_server(folder: Path, port: int) -> Iterator[str]:
    """The address of a server, while it is up."""
    server = TrackingServer(folder, port)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False
