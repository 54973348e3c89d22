"""The machine's load over time, as MLflow's own monitors measure it.

MLflow's thread that would do this sends by itself, and ends for good where the store is away once.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from mpo_core.errors import InputError

INTERVAL = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
"""MLflow's own variable."""


class SystemMetrics:
    """A thread that hands on a measurement every few seconds: processor, memory, disk and network
    of this machine, and its GPUs."""

    def __init__(self, log: Callable[[Mapping[str, float], int], None]) -> None:
        """
        Args:
            log: given the numbers by name, and the step: the time in seconds, which rises also over
                several attempts at a run.
        """
        self._log = log
        self._ended = threading.Event()
        self._interval_s = float(os.environ.get(INTERVAL) or 10)
        self._thread = threading.Thread(target=self._measure, name="system metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No measurement comes after this."""
        self._ended.set()
        self._thread.join()

    def _measure(self) -> None:
        monitors = _monitors()
        while not self._ended.is_set():
            for monitor in monitors:
                monitor.collect_metrics()
            if self._ended.wait(self._interval_s):
                return
            found: dict[str, float] = {}
            for monitor in monitors:
                found |= monitor.aggregate_metrics()
                monitor.clear_metrics()
            named = {f"system/{name}": value for name, value in found.items()}
            try:
                self._log(named, int(time.time()))
            except InputError:
                return  # The disk is full, which the run itself will say.


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with suppress(ImportError, RuntimeError):  # No GPU that NVIDIA's library knows.
        monitors.append(GPUMonitor())
    return monitors
