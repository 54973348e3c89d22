"""Runs that log to MLflow, for tests of where that goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpo_core.config import TrackingConfig
from mpo_core.tracking import MlflowTracker


@contextmanager
def tracking(
    runs: Path, run: str = "mine", identity: str = "one", **config
) -> Iterator[MlflowTracker]:
    """A run that logs; all that it has logged is sent at the end."""
    (runs / run).mkdir(parents=True, exist_ok=True)
    params = {"identity": identity}
    config = TrackingConfig(system_metrics=False, **config)
    opened = MlflowTracker(config, runs, runs / run, params, identity)
    try:
        yield opened
    finally:
        opened.close()


def logged(runs: Path, run: str = "mine", identity: str = "one", **config) -> str:
    """A run that logs nothing; its id in MLflow."""
    with tracking(runs, run, identity, **config):
        pass
    return (runs / run / "mlflow_run_id").read_text()
