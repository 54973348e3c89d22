"""What a run logs for people to compare it by: written into its folder, and sent from there.

A pipeline run has runs under it: its rounds, its stages, its trainings. What is logged belongs to
the innermost one that is open. A run that is started again goes on in the same runs; where other
settings decide its results now, it is another run to MLflow.
"""

import json
import logging
import re
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

from mpo_core.config import TrackingConfig
from mpo_core.files import write_text
from mpo_core.inert import inert
from mpo_core.run_folder import RunFolder
from mpo_core.tracking.assets import Dataset, PlannerVersion
from mpo_core.tracking.faults import check_address
from mpo_core.tracking.known import IDENTITY, Known
from mpo_core.tracking.queue import Entry, Queue
from mpo_core.tracking.sender import Sender
from mpo_core.tracking.store import Address
from mpo_core.tracking.system import SystemMetrics
from mpo_core.types import content_hash

log = logging.getLogger(__name__)

Kind = Literal["round", "stage", "training"]
KIND = "mpo.kind"
"""The tag of an MLflow run that says what it is: run, sweep, round, stage or training."""
DESCRIPTION = "mlflow.note.content"
FIRST_ANSWER_S = 10
"""As long as a run waits at its start for a store to say whether it can be used."""
INTERRUPTED_WAIT_S = 5
NOT_IN_A_NAME = re.compile(r"[^\w./: -]", re.ASCII)
NOWHERE = ("", ".", "..")
"""Parts of a name that MLflow refuses, as of a path that leads elsewhere."""
LONGEST = {"name": 250, "param": 6000, "tag": 8000}
"""Characters that MLflow keeps."""


class Tracker(Protocol):
    """Where a run's figures are written down; its own files are the truth.

    A store that is away is no error. Raises InputError where the run's folder cannot be written.
    """

    def nested(
        self, name: str, kind: Kind, *, alone: bool = False
    ) -> AbstractContextManager[object]:
        """A run under the one that is open, which takes what is logged until it ends. It is made
        when something is; by the same name in the same place it is the same one.

        Args:
            alone: whether the name is no other's in the whole pipeline run.
        """
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Numbers by name: points of curves at a step, or single figures."""
        ...

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """What is known of the run in words or single numbers, by name; the last value counts."""
        ...

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of the same keys, as a table of that name; it replaces one of the same name."""
        ...

    def log_folder(self, folder: Path, name: str) -> None:
        """The files of a folder, under a name."""
        ...

    def log_inputs(self, datasets: Sequence[Dataset]) -> None:
        """What the run has read."""
        ...

    def log_trace(self, trace: dict[str, Any]) -> None:
        """An episode, as `mpo_core.tracking.traces.trace_of` gives it."""
        ...

    def log_planner(self, planner: PlannerVersion) -> None:
        """A trained planner, for the registry."""
        ...

    @property
    def key(self) -> str:
        """The pipeline run's, in the tag `mpo.key`."""
        ...

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED, and send what is not sent yet."""
        ...


class NoTracker:
    """Tracking switched off."""

    key = ""

    def nested(
        self, name: str, kind: Kind, *, alone: bool = False
    ) -> AbstractContextManager[object]:
        return nullcontext()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None: ...
    def log_tags(self, tags: Mapping[str, Any]) -> None: ...
    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def log_folder(self, folder: Path, name: str) -> None: ...
    def log_inputs(self, datasets: Sequence[Dataset]) -> None: ...
    def log_trace(self, trace: dict[str, Any]) -> None: ...
    def log_planner(self, planner: PlannerVersion) -> None: ...
    def end(self, status: str) -> None: ...


@dataclass
class _Open:
    """A run that takes what is logged."""

    key: str
    name: str
    kind: str
    entered_ms: int
    running: bool = False
    """Whether something was logged since it was entered."""


class MlflowTracker:
    """Writes a queue, which a thread sends to MLflow; see `Tracker`."""

    def __init__(
        self,
        config: TrackingConfig,
        runs_dir: Path,
        run_dir: Path,
        params: Mapping[str, Any],
        identity: str = "",
        *,
        tags: Mapping[str, Any] | None = None,
        kind: Literal["run", "sweep"] = "run",
    ) -> None:
        """Open the run, or go on in it.

        Args:
            params: the resolved config, flat; set when the run is created.
            identity: of all that decides the results; an MLflow run of another is not gone on in.
            tags: likewise, of when the run is created.

        Raises:
            InputError: the address or the login is wrong, the store is a file that cannot be used,
                the experiment was deleted, or another process writes this run.
        """
        address = Address.of(config.uri, config.experiment, runs_dir)
        check_address(address.uri)
        self._config, self._run_dir = config, run_dir
        with ExitStack() as opened:
            self._queue = opened.enter_context(Queue(run_dir))
            self._known = Known()
            for entry, _ in self._queue.entries():
                self._known.new(entry)
            self._begin(address, params, identity, tags or {}, kind)
            self._sender = Sender(self._queue, run_dir, address)
            opened.callback(self._sender.abandon)
            self._sender.start()
            self._sender.require_usable(FIRST_ANSWER_S)
            opened.pop_all()
        self._system = SystemMetrics(self._log_system) if config.system_metrics else None
        if self._system:
            # A run of its own: on the pipeline run, MLflow would show the load before the results.
            host = f"machine {socket.gethostname()}"
            self._machine = _Open(content_hash(self.key, host, length=32), host, "stage", _now())
            self._system.start()

    @property
    def key(self) -> str:
        return self._known.top

    @property
    def run_id(self) -> str:
        """The run's id in MLflow; empty until MLflow has it."""
        return self._sender.run_id(self.key)

    @contextmanager
    def nested(self, name: str, kind: Kind, *, alone: bool = False) -> Iterator[None]:
        above, name = self.key if alone else self._runs[-1].key, inert(name)
        self._runs.append(_Open(content_hash(above, name, length=32), name, kind, _now()))
        try:
            yield
        except BaseException as error:
            # An interrupt comes into asynchronous code as a cancellation.
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            self._leave(self._runs.pop(), status)
            raise
        self._leave(self._runs.pop(), "FINISHED")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {_name(name): float(v) for name, v in metrics.items()}
        self._log({"op": "metrics", "step": step, "values": values})

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        self._log({"op": "tags", "values": _short(tags, "tag")})

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        columns = list(rows[0])
        data = [[_cell(row[column]) for column in columns] for row in rows]
        text = json.dumps({"columns": columns, "data": data})
        path = RunFolder(self._run_dir).logged_table(name)
        write_text(path, text)
        tables = list(dict.fromkeys([*self._known.tables, name]))
        digest = content_hash(text)
        self._log({"op": "table", "name": name, "digest": digest, "tables": tables})

    def log_folder(self, folder: Path, name: str) -> None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digest = content_hash(
            [(str(p.relative_to(folder)), sha256(p.read_bytes()).hexdigest()) for p in files]
        )
        where = str(folder.resolve().relative_to(self._run_dir.resolve()))
        self._log({"op": "folder", "name": name, "path": where, "digest": digest})

    def log_inputs(self, datasets: Sequence[Dataset]) -> None:
        told = [{k: _cell(v) for k, v in asdict(dataset).items()} for dataset in datasets]
        self._log({"op": "inputs", "datasets": told})

    def log_trace(self, trace: dict[str, Any]) -> None:
        self._log({"op": "trace", "id": trace["id"], "trace": trace}, of=self._runs[0])

    def log_planner(self, planner: PlannerVersion) -> None:
        said = asdict(planner) | {"folder": str(planner.folder.resolve())}
        self._log(
            {
                "op": "model",
                "name": planner.model,
                "digest": content_hash(repr(said)),
                "planner": said,
            },
            of=self._runs[0],
        )

    def end(self, status: str) -> None:
        while self._runs:
            self._leave(self._runs.pop(), status)
        # Who interrupts a run is not to wait, and may kill it soon.
        wait_s = self._config.wait_s
        self.close(wait_s if status == "FINISHED" else min(wait_s, INTERRUPTED_WAIT_S))

    def close(self, wait_s: float | None = None) -> None:
        """Wait for what is not sent yet, at most so long or `tracking.wait_s`, and say what is left
        then."""
        if self._system:
            self._system.stop()
            self._leave(self._machine, "FINISHED")
        unsent, why = self._sender.stop(self._config.wait_s if wait_s is None else wait_s)
        self._queue.__exit__()
        if unsent:
            log.warning(
                "MLflow: %d entries are not sent (%s); `mpo track sync %s` sends them",
                unsent,
                why,
                self._run_dir,
            )

    def _begin(
        self,
        address: Address,
        params: Mapping[str, Any],
        identity: str,
        tags: Mapping[str, Any],
        kind: str,
    ) -> None:
        """Begin the pipeline run, or go on with it where it is the same."""
        known, now = self._known, _now()
        self._queue.append({"op": "open", "at": now, **address.noted(self._run_dir)})
        same = bool(known.top) and known.identity == identity
        top = known.top if same else uuid.uuid4().hex
        self._runs = [_Open(top, self._run_dir.name, kind, now, running=True)]
        if same:
            status = {"op": "status", "run": top, "status": "RUNNING", "at": now, "top": True}
            self._append(status)
            return
        if known.top:
            log.warning("MLflow: %s: other settings; all is logged into a new run", self._run_dir)
        self._append(
            {
                "op": "begin",
                "run": top,
                "parent": None,
                "under": self._config.parent,
                "name": inert(self._run_dir.name)[: LONGEST["name"]],
                "kind": kind,
                "at": now,
                "tags": _short({**tags, KIND: kind, IDENTITY: identity}, "tag"),
                "params": _short(params, "param"),
            }
        )

    def _log(self, entry: Entry, of: _Open | None = None) -> None:
        """Log what is new of an entry for a run, by default the innermost one."""
        of = of or self._runs[-1]
        new = self._known.new(entry | {"run": of.key, "at": _now()})
        if new:
            above = self._runs[0].key
            for one in self._runs[: self._runs.index(of) + 1]:
                self._enter(one, above)
                above = one.key
            self._queue.append(new)

    def _enter(self, one: _Open, above: str) -> None:
        if one.running:
            return
        one.running = True
        if one.key in self._known.runs:
            self._append({"op": "status", "run": one.key, "status": "RUNNING", "at": _now()})
            return
        self._append(
            {
                "op": "begin",
                "run": one.key,
                "parent": above,
                "name": one.name,
                "kind": one.kind,
                "at": one.entered_ms,
                "tags": {KIND: one.kind},
                "params": {},
            }
        )

    def _leave(self, one: _Open, status: str) -> None:
        if one.running:
            self._append({"op": "status", "run": one.key, "status": status, "at": _now()})

    def _append(self, entry: Entry) -> None:
        new = self._known.new(entry)
        assert new is not None, entry
        self._queue.append(new)

    def _log_system(self, metrics: Mapping[str, float], step: int) -> None:
        """The machine's, from a thread of its own."""
        self._enter(self._machine, self.key)
        values, run = dict(metrics), self._machine.key
        self._queue.append(
            {"op": "metrics", "run": run, "at": _now(), "step": step, "values": values}
        )


def _now() -> int:
    return time.time_ns() // 1_000_000


def _short(values: Mapping[str, Any], kind: str) -> dict[str, str]:
    """As MLflow keeps them, with no text that has an effect where it is shown."""
    return {_name(key): inert(str(value))[: LONGEST[kind]] for key, value in values.items()}


def _name(given: str) -> str:
    """Of a metric, a tag or a parameter, as MLflow takes it: of some characters alone, and with no
    part, between slashes, that would lead elsewhere in a path."""
    parts = NOT_IN_A_NAME.sub("_", given).split("/")
    name = "/".join("_" if part in NOWHERE else part for part in parts)
    if len(name) <= LONGEST["name"]:
        return name
    return name[: LONGEST["name"]].rstrip("./") or "_"


def _cell(value: Any) -> Any:
    return inert(value) if isinstance(value, str) else value
