"""MLflow, written by the driver alone: a run's parameters, metrics, tables and report.

A run that is started again goes on in the same MLflow run, found by the id kept in the run
directory; tables are written over, not appended to.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from mpo_core.config import TrackingConfig
from mpo_core.errors import InputError


class Tracker(Protocol):
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...
    def logged_steps(self, metric: str) -> set[int]: ...
    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def log_folder(self, folder: Path, name: str) -> None: ...
    def end(self, status: str) -> None: ...


class NoTracker:
    """Tracking switched off."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...
    def logged_steps(self, metric: str) -> set[int]:
        return set()

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def log_folder(self, folder: Path, name: str) -> None: ...
    def end(self, status: str) -> None: ...


class MlflowTracker:
    """One MLflow run. Every method raises InputError where its store cannot be reached."""

    def __init__(
        self, config: TrackingConfig, runs_dir: Path, run_dir: Path, params: Mapping[str, Any]
    ) -> None:
        """Open the run, or go on in it.

        Args:
            params: the resolved config, flat; set when the run is created.

        Raises:
            InputError: the tracking store cannot be reached or is of another version.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow  # Seconds of imports.

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self._mlflow = mlflow
        uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._uri = uri or f"sqlite:///{(runs_dir / 'mlflow.db').resolve()}"
        self._lost = ""
        with self._reached():
            # Runs that start together would each make the store's tables, and the experiment.
            with _alone(runs_dir / ".mlflow.lock"):
                self._client = mlflow.MlflowClient(tracking_uri=self._uri)
                experiment_id = self._experiment(config.experiment, runs_dir)
            self.run_id = self._resume(run_dir / "mlflow_run_id")
            if self.run_id is None:
                self.run_id = self._create(experiment_id, run_dir, params, config.parent)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        entries = [Metric(name, float(value), now, step or 0) for name, value in metrics.items()]
        with self._reached():
            for start in range(0, len(entries), 1000):  # MLflow's limit for one batch.
                self._client.log_batch(self.run_id, metrics=entries[start : start + 1000])

    def logged_steps(self, metric: str) -> set[int]:
        """Steps at which the run has a value of a metric."""
        with self._reached():
            return {point.step for point in self._client.get_metric_history(self.run_id, metric)}

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table of the run's artifacts, shown by MLflow; replaces one of the same name."""
        import pandas as pd

        if not rows:
            return
        file, frame = f"{name}.json", pd.DataFrame(list(rows))
        with self._reached():
            if file in {artifact.path for artifact in self._client.list_artifacts(self.run_id)}:
                # log_table would append to it.
                self._client.log_text(self.run_id, frame.to_json(orient="split", index=False), file)
            else:
                self._client.log_table(self.run_id, frame, file)

    def log_folder(self, folder: Path, name: str) -> None:
        with self._reached():
            self._client.log_artifacts(self.run_id, str(folder), name)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED, where the store can be reached."""
        if not self._lost:
            with self._reached():
                self._client.set_terminated(self.run_id, status)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Make a store's failure an InputError, and every later call fail at once by the same.

        MLflow has then tried for two minutes, which is not worth doing again for every metric.
        """
        if self._lost:
            raise InputError(self._lost)
        try:
            yield
        except self._mlflow.exceptions.MlflowException as error:
            self._lost = (
                f"tracking.uri: {self._uri}: {' '.join(str(error).split())[:200]}; check the "
                "address and its server, or set tracking.enabled=false"
            )
            raise InputError(self._lost) from error

    def _experiment(self, name: str, runs_dir: Path) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return experiment.experiment_id
        artifacts = (runs_dir / "mlartifacts").resolve().as_uri()
        local = self._uri.startswith("sqlite")
        return self._client.create_experiment(name, artifacts if local else None)

    def _resume(self, id_file: Path) -> str | None:
        if not id_file.is_file():
            return None
        run_id = id_file.read_text().strip()
        try:
            self._client.get_run(run_id)
        except self._mlflow.exceptions.MlflowException:
            return None  # Another store, or one that was cleared.
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _create(
        self, experiment_id: str, run_dir: Path, params: Mapping[str, Any], parent: str | None
    ) -> str:
        from mlflow.entities import Param

        tags = {"mlflow.parentRunId": parent} if parent else {}
        run = self._client.create_run(experiment_id, run_name=run_dir.name, tags=tags)
        run_id = run.info.run_id
        entries = [Param(key, str(value)[:6000]) for key, value in params.items()]
        for start in range(0, len(entries), 100):  # MLflow's limit for one batch.
            self._client.log_batch(run_id, params=entries[start : start + 100])
        (run_dir / "mlflow_run_id").write_text(run_id)
        return run_id


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping with dotted keys."""
    items: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            items |= flat(value, f"{prefix}{key}.")
        else:
            items[f"{prefix}{key}"] = value
    return items
