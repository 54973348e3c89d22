"""A run's entries, carried out in MLflow: each may come a second time and changes nothing then.

What MLflow itself does twice is looked for first: runs and versions of a planner, by the key in
their tag `mpo.key`. All else has a name by which MLflow replaces it: a metric's step and time, a
tag's name, a dataset's digest, a file's path, a trace's id.
"""

import json
import logging
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.locks import lock_file
from mpo_core.run_folder import RunFolder
from mpo_core.tracking.faults import Away, Refused, hidden, opening, sending
from mpo_core.tracking.queue import Entry, Queue, Sent
from mpo_core.tracking.registry import register
from mpo_core.tracking.store import ARTIFACTS, Address, prepare
from mpo_core.tracking.traces import spans_of, trace_info

log = logging.getLogger(__name__)

KEY = "mpo.key"
PARENT = "mlflow.parentRunId"
TABLES = "mlflow.loggedArtifacts"
"""MLflow's tag of what it shows as tables."""
STORE_WAIT_S = 600
"""As long as many runs that start together may take to open a store one after the other."""
AT_ONCE = {"metrics": 1000, "params": 100, "tags": 100}
"""MLflow's limits for one batch."""


class Gone(Exception):
    """The run was deleted in MLflow."""


class Delivery:
    """One run's folder and one store, which is open."""

    def __init__(self, address: Address, run_dir: Path, sent: Sent) -> None:
        """Open the store, and make the experiment where it is not there.

        Raises:
            Away: the store does not answer.
            InputError: it cannot be used, or the experiment was deleted.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow  # Seconds of imports.

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self._address, self._run_dir, self._sent = address, run_dir, sent
        with opening(address.uri), self._alone():
            # Runs that start together would each make the store's tables, and the experiment.
            prepare(address.uri, address.runs_dir, address.experiment)
            self._client = mlflow.MlflowClient(tracking_uri=address.uri)
            self._experiment = self._experiment_id()

    def carry_out(self, entries: Sequence[Entry]) -> None:
        """Do what entries of one kind and run say.

        Raises:
            Away: the store does not answer; what was done may be done again.
            Refused: it does not take one of them.
            Gone: their run, or the one above it, was deleted.
        """
        first = entries[0]
        do = getattr(self, f"_{first['op']}")
        try:
            with sending(self._address.uri):
                if first["op"] in ("table", "folder"):
                    # An artifact's store does not ask whether the run is there still.
                    self._require_there(first["run"])
                do(entries)
        except Refused:
            if first.get("run") in self._sent.runs:
                with sending(self._address.uri):
                    self._require_there(first["run"])
            raise

    def require_there(self, run: str) -> None:
        """Raises Gone where a run of that key was there and was deleted; Away as `carry_out`."""
        with sending(self._address.uri):
            if run in self._sent.runs:
                self._require_there(run)

    def answers(self) -> bool:
        """Whether the store can be asked for something else."""
        try:
            with sending(self._address.uri):
                self._client.get_experiment(self._experiment)
        except (Away, Refused):
            return False
        return True

    def _require_there(self, run: str) -> None:
        if self._state(self._sent.runs[run]) != "active":
            raise Gone(self._sent.runs[run])

    def _state(self, run_id: str) -> str | None:
        """`active` or `deleted`; None where the store has no such run."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id).info.lifecycle_stage
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    # ----------------------------------------------------------------- what entries say

    def _open(self, entries: Sequence[Entry]) -> None:
        pass  # Where this attempt sends: for whoever sends the rest.

    def _begin(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            tags = {}
            if entry["parent"]:
                tags[PARENT] = self._sent.runs[entry["parent"]]
            elif entry.get("under") and (above := self._under(entry["under"])):
                tags[PARENT] = above
            if entry["parent"]:
                run_id = self._ensured(entry, tags)
            else:
                with self._alone():
                    run_id = self._ensured(entry, tags)
            self._sent.runs[entry["run"]] = run_id
            if not entry["parent"]:
                self._is_top(entry["run"])

    def _is_top(self, run: str) -> None:
        self._sent.top = run
        write_text(RunFolder(self._run_dir).mlflow_run, self._sent.runs[run])

    def _ensured(self, entry: Entry, tags: dict[str, str]) -> str:
        """The id of the entry's run, which is made where it is not there."""
        tags = {**entry["tags"], **tags, KEY: entry["run"]}
        found = self._with_key(entry["run"])
        if found:
            run_id, *twice = found
            # A server that hung may have made it while it was asked a second time.
            for one in twice:
                self._client.delete_run(one)
            self._set_tags(run_id, tags)
        else:
            run = self._client.create_run(
                self._experiment, start_time=entry["at"], tags=tags, run_name=entry["name"]
            )
            run_id = run.info.run_id
        self._set_params(run_id, entry["params"])
        return run_id

    def _with_key(self, key: str) -> list[str]:
        found = self._client.search_runs([self._experiment], f"tags.`{KEY}` = '{key}'")
        return sorted(run.info.run_id for run in found)

    def _under(self, parent: str) -> str:
        """The MLflow run that this one stands under: one of that id, or a sweep's, by its folder;
        none where that folder is gone."""
        queue = Queue(Path(parent))
        begun = (entry for entry, _ in queue.entries() if entry["op"] == "begin")
        first = next(begun, None)
        if first is None:
            return "" if os.sep in parent else parent
        with self._alone():
            return self._ensured(first, {})

    def _status(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            run_id = self._sent.runs[entry["run"]]
            if entry["status"] == "RUNNING":
                self._client.update_run(run_id, status="RUNNING")
                if entry.get("top"):
                    self._is_top(entry["run"])
            elif self._state(run_id) == "active":
                # What is deleted by its user when all was logged is left deleted.
                self._client.set_terminated(run_id, entry["status"], end_time=entry["at"])

    def _metrics(self, entries: Sequence[Entry]) -> None:
        from mlflow.entities import Metric

        points = [
            Metric(name, value, entry["at"], entry["step"] or 0)
            for entry in entries
            for name, value in entry["values"].items()
        ]
        for some in _parts(points, AT_ONCE["metrics"]):
            self._client.log_batch(self._sent.runs[entries[0]["run"]], metrics=some)

    def _tags(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._set_tags(self._sent.runs[entry["run"]], entry["values"])

    def _inputs(self, entries: Sequence[Entry]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=given["name"],
                    digest=given["digest"],
                    source_type="local",
                    source=json.dumps({"uri": given["path"]}),
                    profile=json.dumps({"num_rows": given["rows"]}),
                ),
                [InputTag("mlflow.data.context", given["context"])],
            )
            for entry in entries
            for given in entry["datasets"]
        ]
        self._client.log_inputs(self._sent.runs[entries[0]["run"]], inputs)

    def _table(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            run_id = self._sent.runs[entry["run"]]
            path = RunFolder(self._run_dir).logged_table(entry["name"])
            self._client.log_artifact(run_id, str(_there(path)))
            shown = [{"path": f"{name}.json", "type": "table"} for name in entry["tables"]]
            self._set_tags(run_id, {TABLES: json.dumps(shown)})

    def _folder(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            path = _there(self._run_dir.joinpath(entry["path"]))
            self._client.log_artifacts(self._sent.runs[entry["run"]], str(path), entry["name"])

    def _trace(self, entries: Sequence[Entry]) -> None:
        from mlflow.tracing.client import TracingClient

        client, spans = TracingClient(self._address.uri), []
        for entry in entries:
            run_id = self._sent.runs[entry["run"]]
            info = trace_info(entry["trace"], entry["at"], self._experiment, run_id)
            client.start_trace(info)
            spans += spans_of(entry["trace"], entry["at"])
        client.log_spans(self._experiment, spans)

    def _model(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            register(self._client, entry["planner"], entry["run"], self._sent.runs[entry["run"]])

    # ----------------------------------------------------------------- the store itself

    def _set_tags(self, run_id: str, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        entries = [RunTag(key, value) for key, value in tags.items()]
        for some in _parts(entries, AT_ONCE["tags"]):
            self._client.log_batch(run_id, tags=some)

    def _set_params(self, run_id: str, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        entries = [Param(key, value) for key, value in params.items()]
        for some in _parts(entries, AT_ONCE["params"]):
            self._client.log_batch(run_id, params=some)

    def _experiment_id(self) -> str:
        """The experiment's id; it is made where there is none."""
        name, uri = self._address.experiment, self._address.uri
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            artifacts = (self._address.runs_dir / ARTIFACTS).resolve().as_uri()
            local = uri.startswith("sqlite")
            return self._client.create_experiment(name, artifacts if local else None)
        number = experiment.experiment_id
        if not number:
            raise InputError(
                f"tracking.uri: {hidden(uri)}: answers, but not as MLflow does; check the address, "
                "or set tracking.enabled=false"
            )
        if experiment.lifecycle_stage != "active":
            raise InputError(
                f"tracking.experiment: {name!r} was deleted in MLflow; restore it by "
                f"`MLFLOW_TRACKING_URI={shlex.quote(hidden(uri))} mlflow experiments restore "
                f"--experiment-id {number}`, or set tracking.experiment to another name"
            )
        return number

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self._address.runs_dir / ".mlflow.lock"
        try:
            with lock_file(lock, STORE_WAIT_S):
                yield
        except BlockingIOError as error:
            raise InputError(
                f"{lock}: other processes have held it for {STORE_WAIT_S // 60} minutes; stop what "
                "hangs, or set tracking.enabled=false"
            ) from error


def _there(path: Path) -> Path:
    if not path.exists():
        raise Refused(f"{path} is gone")
    return path


def _parts(entries: list[Any], most: int) -> Iterator[list[Any]]:
    return (entries[start : start + most] for start in range(0, len(entries), most))
