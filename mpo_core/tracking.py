"""MLflow, written by the driver alone: a run's parameters, metrics, tables and report.

A run that is started again goes on in the same MLflow run, found by the id kept in the run
directory; tables are written over, not appended to. Where that MLflow run was deleted, or holds
what another config came to, a new one is made, and all is logged into it anew.
"""

import logging
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from mpo_core.config import TrackingConfig
from mpo_core.errors import InputError, remedy
from mpo_core.files import write_text
from mpo_core.locks import lock_file
from mpo_core.run_folder import RunFolder
from mpo_core.tracking_store import ARTIFACTS, prepare, store_uri

log = logging.getLogger(__name__)
T = TypeVar("T")

IDENTITY = "mpo.identity"
"""The tag of an MLflow run that says which config's it is."""
STORE_WAIT_S = 600
"""As long as many runs that start together may take to open a store one after the other."""
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
"""MLflow's own variable: how often it asks a server again, waiting twice as long each time."""
AT_THE_START, LATER = "2", "5"
"""Some seconds for a server that is perhaps not there, half a minute for one that is started again;
by MLflow's own number it is two minutes."""
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "ENDPOINT_NOT_FOUND")
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
SERVERS = ("http", "postgresql", "mysql", "mssql", "databricks")
REFUSED_LOGIN = re.compile(r"\b40[13]\b|PERMISSION_DENIED|UNAUTHENTICATED")
PASSWORD = re.compile(r"(?<=://)[^/@]*@")


class Tracker(Protocol):
    """Where a run's figures are written down for people to compare runs by.

    Logging raises InputError where the store is lost; the run's own files are the truth.
    """

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Numbers by name, of a training's step or of the whole run."""
        ...

    def logged_steps(self, metric: str) -> set[int]:
        """The steps that a metric is known of."""
        ...

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of the same keys, as a table of that name."""
        ...

    def log_folder(self, folder: Path, name: str) -> None:
        """The files of a folder, under a name."""
        ...

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        ...


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
        self,
        config: TrackingConfig,
        runs_dir: Path,
        run_dir: Path,
        params: Mapping[str, Any],
        identity: str = "",
    ) -> None:
        """Open the run, or go on in it.

        Args:
            params: the resolved config, flat; set when the run is created.
            identity: of all that decides the results; an MLflow run of another is not gone on in.

        Raises:
            InputError: the tracking store cannot be reached, cannot be written or is of another
                version, or the experiment was deleted.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow  # Seconds of imports.

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self._uri = store_uri(config.uri, runs_dir)
        _check_address(self._uri)
        self._config, self._runs_dir, self._run_dir = config, runs_dir, run_dir
        self._params, self._identity = params, identity
        self._lost = ""
        with self._reached(AT_THE_START):
            # Runs that start together would each make the store's tables, and the experiment.
            with self._alone():
                prepare(self._uri, runs_dir, config.experiment)
                self._client = mlflow.MlflowClient(tracking_uri=self._uri)
                experiment_id = self._experiment()
            self.run_id = self._resume(experiment_id) or self._create(experiment_id)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        entries = [Metric(name, float(value), now, step or 0) for name, value in metrics.items()]
        for start in range(0, len(entries), 1000):  # MLflow's limit for one batch.
            batch = entries[start : start + 1000]
            self._in_run(partial(self._client.log_batch, metrics=batch))

    def logged_steps(self, metric: str) -> set[int]:
        """Steps at which the run has a value of a metric."""
        found = self._in_run(lambda run: self._client.get_metric_history(run, metric))
        return {point.step for point in found}

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table of the run's artifacts, shown by MLflow; replaces one of the same name."""
        import pandas as pd

        if not rows:
            return
        file, frame = f"{name}.json", pd.DataFrame(list(rows))

        def write(run: str) -> None:
            if file in {artifact.path for artifact in self._client.list_artifacts(run)}:
                # log_table would append to it.
                self._client.log_text(run, frame.to_json(orient="split", index=False), file)
            else:
                self._client.log_table(run, frame, file)

        self._in_run(write)

    def log_folder(self, folder: Path, name: str) -> None:
        self._in_run(lambda run: self._client.log_artifacts(run, str(folder), name))

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED, where the store can be reached."""
        if not self._lost:
            with self._reached():
                if self._state(self.run_id) == "active":
                    self._client.set_terminated(self.run_id, status)

    def _in_run(self, action: Callable[[str], T]) -> T:
        """Do something with the MLflow run, or with a new one where it was deleted."""
        with self._reached():
            if self._state(self.run_id) != "active":
                self._say_deleted(self.run_id)
                with self._alone():
                    experiment_id = self._experiment()
                self.run_id = self._create(experiment_id)
            return action(self.run_id)

    @contextmanager
    def _reached(self, retries: str = LATER) -> Iterator[None]:
        """Make a store's failure an InputError, and every later call fail at once by the same.

        MLflow has then tried for a while, which is not worth doing again for every metric.
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        if self._lost:
            raise InputError(self._lost)
        try:
            with _retries(retries):
                yield
        except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
            what = " ".join(str(error).split())
            # An HTTP client says all that it tried, and last what it failed of.
            what = (what.partition("(Caused by ")[2] or what)[:200]
            self._lost = PASSWORD.sub(
                "***@", f"tracking.uri: {self._uri}: {what}; {_advice(error, self._uri)}"
            )
            raise InputError(self._lost) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self._runs_dir / ".mlflow.lock"
        try:
            with lock_file(lock, STORE_WAIT_S):
                yield
        except BlockingIOError as error:
            raise InputError(
                f"{lock}: other processes have held it for {STORE_WAIT_S // 60} minutes; stop what "
                "hangs, or set tracking.enabled=false"
            ) from error

    def _experiment(self) -> str:
        """The experiment's id; it is made where there is none."""
        name = self._config.experiment
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            artifacts = (self._runs_dir / ARTIFACTS).resolve().as_uri()
            local = self._uri.startswith("sqlite")
            return self._client.create_experiment(name, artifacts if local else None)
        number = experiment.experiment_id
        if not number:
            uri = PASSWORD.sub("***@", self._uri)
            raise InputError(
                f"tracking.uri: {uri}: answers, but not as MLflow does; check the address, or set "
                "tracking.enabled=false"
            )
        if experiment.lifecycle_stage != "active":
            raise InputError(
                f"tracking.experiment: {name!r} was deleted in MLflow; restore it by "
                f"`MLFLOW_TRACKING_URI={shlex.quote(PASSWORD.sub('***@', self._uri))} mlflow "
                f"experiments restore --experiment-id {number}`, or set tracking.experiment to "
                "another name"
            )
        return number

    def _resume(self, experiment_id: str) -> str | None:
        """The MLflow run to go on in, set running again; None where a new one must be made."""
        id_file = RunFolder(self._run_dir).mlflow_run
        run_id = id_file.read_text("utf-8", "replace").strip() if id_file.is_file() else ""
        state = self._state(run_id) if run_id else None
        if state == "deleted":
            self._say_deleted(run_id)
        if state != "active":
            return None  # Another store, or one that was cleared.
        found = self._client.get_run(run_id)
        if found.data.tags.get(IDENTITY, self._identity) != self._identity:
            log.warning("MLflow: run %s is of other settings; all is logged into a new one", run_id)
            return None
        if found.info.experiment_id != experiment_id:
            return None
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _state(self, run_id: str) -> str | None:
        """`active` or `deleted`; None where the store has no such run."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id).info.lifecycle_stage
        except MlflowException as error:
            if error.error_code in NOT_THERE:
                return None
            raise

    def _say_deleted(self, run_id: str) -> None:
        log.warning("MLflow: run %s was deleted; all is logged into a new one", run_id)

    def _create(self, experiment_id: str) -> str:
        from mlflow.entities import Param

        tags = {IDENTITY: self._identity} if self._identity else {}
        if self._config.parent:
            tags["mlflow.parentRunId"] = self._config.parent
        run = self._client.create_run(experiment_id, run_name=self._run_dir.name, tags=tags)
        run_id = run.info.run_id
        entries = [Param(key, str(value)[:6000]) for key, value in self._params.items()]
        for start in range(0, len(entries), 100):  # MLflow's limit for one batch.
            self._client.log_batch(run_id, params=entries[start : start + 100])
        write_text(RunFolder(self._run_dir).mlflow_run, run_id)
        return run_id


@contextmanager
def _retries(number: str) -> Iterator[None]:
    """As often is a server asked again, where the environment does not say how often."""
    said = os.environ.get(RETRIES)
    os.environ[RETRIES] = said or number
    try:
        yield
    finally:
        if said is None:
            del os.environ[RETRIES]


def _check_address(uri: str) -> None:
    """Raises InputError for a server's address without a host, or a login that cannot be sent."""
    if not uri.startswith(("http:", "https:")):
        return
    try:
        host = urlsplit(uri).hostname
    except ValueError:
        host = None
    if not host:
        raise InputError(
            f"tracking.uri: {PASSWORD.sub('***@', uri)}: no host in it; set it to http://HOST:PORT"
        )
    for name in LOGIN:
        if not os.environ.get(name, "").isprintable():
            raise InputError(
                f"{name}: holds a line break or another sign that cannot be sent; set it anew"
            )


def _advice(error: Exception, uri: str) -> str:
    """What to do about a store's failure, by its cause."""
    if isinstance(error, ImportError):
        return "install what it needs"
    if isinstance(error, OSError):
        return remedy(error)
    if REFUSED_LOGIN.search(str(error)):
        return (
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
            "to what the server accepts"
        )
    if "sqlite3." in str(error):
        return "mend that, or set tracking.uri to another store, or tracking.enabled=false"
    if not uri.startswith(SERVERS):
        return "set tracking.uri to http://HOST:PORT or sqlite:///FILE, or leave it out"
    return "check the address and its server, or set tracking.enabled=false"


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping with dotted keys."""
    items: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            items |= flat(value, f"{prefix}{key}.")
        else:
            items[f"{prefix}{key}"] = value
    return items
