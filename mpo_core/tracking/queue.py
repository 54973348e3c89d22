"""What a run has logged, in its order: lines of JSON in the run's folder, which wait to be sent.

Invariants:
- An entry is in the queue when its whole line, newline included, is in the file. A torn last line
  is cut off before the next append.
- One process at a time appends to a queue and sends it, held by a lock that ends with the process.
- An entry says what shall be so, not what is to be changed: carried out twice, it has the effect of
  once. So what a sender that was killed had sent and not yet noted is sent again.
- How far a store has them is noted after the store has acknowledged them, store by store: another
  store is sent all from the beginning.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import NoneType
from typing import Annotated, Any

from pydantic import Field

from mpo_core.append_file import append_whole, appending
from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.run_folder import RunFolder
from mpo_core.textfile import read_notes

Entry = dict[str, Any]
HOLDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "open": {"uri": (str, NoneType), "experiment": str, "runs_dir": str},
    "begin": {
        **{"run": str, "parent": (str, NoneType), "name": str, "kind": str, "at": int},
        **{"tags": dict, "params": dict},
    },
    "status": {"run": str, "status": str, "at": int},
    "metrics": {"run": str, "at": int, "step": (int, NoneType), "values": dict},
    "tags": {"run": str, "values": dict},
    "inputs": {"run": str, "datasets": list},
    "table": {"run": str, "name": str, "digest": str, "tables": list},
    "folder": {"run": str, "name": str, "path": str, "digest": str},
    "trace": {"run": str, "at": int, "id": str, "trace": dict},
    "model": {"run": str, "name": str, "digest": str, "planner": dict},
}
"""What an entry says is to be done (`op`) -> what else it holds."""
TAKEN_WAIT_S = 5
"""As long as a process that was told to end may hold the queue of the run that it was."""


class Queue:
    """The queue of one run's folder. Use as a context manager to append and send."""

    def __init__(self, run_dir: Path) -> None:
        self.path = RunFolder(run_dir).queue
        self._file: Any = None
        self._held = ExitStack()
        self._append_lock = threading.Lock()
        self._grown = threading.Condition()
        self._woken = False
        self.end = 0
        """Bytes of whole lines."""

    def __enter__(self) -> "Queue":
        """Raises InputError where it cannot be written, or another process does."""
        busy = "another process is writing or sending this run; wait for it or stop it"
        self._file = self._held.enter_context(appending(self.path, busy, TAKEN_WAIT_S))
        self.end = _whole_bytes(self.path)
        self._file.truncate(self.end)
        return self

    def __exit__(self, *_: object) -> None:
        self._file = None
        self._held.close()

    def append(self, entry: Entry) -> None:
        """Add an entry, from any thread. Raises InputError on a full disk; nothing of it stays."""
        line = json.dumps(entry).encode() + b"\n"
        with self._append_lock:
            append_whole(self._file, self.path, self.end, line, durable=False)
            with self._grown:
                self.end += len(line)
                self._grown.notify_all()

    def wait(self, beyond: int) -> bool:
        """Until there is more than so many bytes, or `wake`; whether there is more."""
        with self._grown:
            self._grown.wait_for(lambda: self._woken or self.end > beyond)
            return self.end > beyond

    def wake(self) -> None:
        """End all waiting for more."""
        with self._grown:
            self._woken = True
            self._grown.notify_all()

    def entries(self, start: int = 0) -> Iterator[tuple[Entry, int]]:
        """The entries from a byte on, each with the byte at which it ends.

        Raises:
            InputError: a line is damaged.
        """
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                start += len(line)
                yield _parsed(line, self.path), start

    def entry(self, start: int) -> Entry:
        """The one that begins at a byte."""
        entry, _ = next(self.entries(start))
        return entry


@dataclass
class Sent:
    """How far a store has a queue."""

    offset: Annotated[int, Field(ge=0)] = 0
    """Bytes of the queue that it has acknowledged."""
    top: str = ""
    """Key of the pipeline run that was begun last."""
    runs: dict[str, str] = field(default_factory=dict)
    """Run's key in the queue -> its id in MLflow."""
    aside: list[Annotated[int, Field(ge=0)]] = field(default_factory=list)
    """Where the entries begin, of those before, that it would not take."""

    @classmethod
    def load(cls, run_dir: Path, store: str) -> "Sent":
        """What is noted of a store; nothing where it was never sent to.

        Raises:
            InputError: the notes are damaged.
        """
        return read_notes(RunFolder(run_dir).sent, dict[str, Sent]).get(store) or cls()

    def save(self, run_dir: Path, store: str) -> None:
        """Note it. Raises InputError where it cannot be written."""
        path = RunFolder(run_dir).sent
        write_text(path, json.dumps(read_notes(path) | {store: asdict(self)}, indent=1))

    def unsent(self, queue: Queue) -> int:
        """How many of a queue's entries the store lacks."""
        return len(self.aside) + sum(1 for _ in queue.entries(self.offset))


def _whole_bytes(path: Path) -> int:
    end = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                end += len(line)
    return end


def _parsed(line: bytes, path: Path) -> Entry:
    try:
        entry = json.loads(line)
        for key, kind in HOLDS[entry["op"]].items():
            if not isinstance(entry[key], kind):
                raise TypeError(f"{key}: {entry[key]!r}")
        return entry
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{path}: a line is damaged; move the file away to log the run anew"
        ) from error
