"""What the proxy counts, as Prometheus reads it.

With several workers, Prometheus's client keeps their counts in files of the folder that
`PROMETHEUS_MULTIPROC_DIR` names, and each worker answers for all.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

SHARED = "PROMETHEUS_MULTIPROC_DIR"
PLANNER_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40)
ADDED_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 20)


class Metrics:
    """The counts of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own: dict[str, Any] = {"namespace": "mpo_proxy", "registry": self._registry}
        self.requests = Counter(
            "requests",
            "Requests answered, by path, status and arm",
            ["path", "status", "arm"],
            **own,
        )
        self.in_flight = Gauge(
            "requests_in_flight", "Requests under way", multiprocess_mode="livesum", **own
        )
        self.added = Histogram(
            "added_seconds",
            "Seconds from a request's whole body to its call of the upstream",
            ["conversation"],
            buckets=ADDED_S,
            **own,
        )
        self.conversations = Counter("conversations", "Conversations begun, by arm", ["arm"], **own)
        self.plans = Counter(
            "plans",
            "Conversations that a plan was due to, by what came of it",
            ["arm", "outcome"],
            **own,
        )
        self.planner_seconds = Histogram(
            "planner_seconds",
            "Seconds that a plan took to write",
            ["arm"],
            buckets=PLANNER_S,
            **own,
        )
        self.failures = Counter(
            "failures",
            "What failed, by kind and arm: planner, proxy, upstream",
            ["kind", "arm"],
            **own,
        )
        self.tokens = Counter(
            "tokens", "Tokens, as the upstream counts them", ["kind", "arm"], **own
        )
        self.feedback = Counter("feedback", "Feedback, by what became of it", ["result"], **own)

    def page(self) -> tuple[bytes, str]:
        """The text that Prometheus reads, and its media type."""
        registry = self._registry
        if os.environ.get(SHARED):
            registry = CollectorRegistry()
            _forget_the_dead(Path(os.environ[SHARED]))
            MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST


def _forget_the_dead(folder: Path) -> None:
    """Leave out what was under way in workers that are no more; what they counted stays."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            # Another worker may be at it, too.
            with suppress(FileNotFoundError):
                mark_process_dead(pid, str(folder))
