"""Sends a run's queue to MLflow: a thread beside the run, and `mpo track sync` after it.

A store that is away is asked again, first after a second and then ever more seldom. What a store
does not take is set aside, so that it holds up nothing, and `mpo track sync` tries it once more.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mpo_core.errors import InputError
from mpo_core.tracking.delivery import AT_ONCE, Delivery, Gone
from mpo_core.tracking.faults import Away, Failing, Refused
from mpo_core.tracking.queue import Entry, Queue, Sent
from mpo_core.tracking.store import Address

log = logging.getLogger(__name__)

TOGETHER_S = 1.0
"""What is logged within this time is sent together."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
TRIES = 3
"""Of one entry that a store fails at while it answers otherwise."""
TRACES_AT_ONCE = 10
Chunk = list[tuple[Entry, int, int]]
"""Entries, each with the bytes at which it begins and ends."""


class Delivered:
    """A queue on its way to one store."""

    def __init__(self, queue: Queue, run_dir: Path, address: Address) -> None:
        self._queue, self._run_dir, self._address = queue, run_dir, address
        self.sent = Sent.load(run_dir, address.label)
        if self.sent.offset > queue.end or queue.end <= max(self.sent.aside, default=-1):
            self.sent = Sent()  # Of a queue that somebody has moved away.
        self._delivery: Delivery | None = None
        self._failed_at, self._failures = -1, 0

    def reached(self) -> Delivery:
        """The store, opened where it is not yet. Raises Away or InputError."""
        if self._delivery is None:
            self._delivery = Delivery(self._address, self._run_dir, self.sent)
            try:
                self._delivery.require_there(self.sent.top)
            except Gone as gone:
                self._begin_anew(gone)
        return self._delivery

    def send(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Send what there is, and note what the store has.

        Raises:
            Away: the store does not answer.
            InputError: it cannot be used.
        """
        delivery = self.reached()
        while go_on() and (chunk := self._chunk()):
            try:
                delivery.carry_out([entry for entry, _, _ in chunk])
            except Gone as gone:
                self._begin_anew(gone)
                continue
            except Refused:
                self._one_by_one(delivery, chunk)
            except Away as away:
                if not self._is_poison(chunk, delivery):
                    raise
                self._set_aside(chunk[0], away)
                chunk = chunk[:1]
            if go_on():
                self.sent.offset = chunk[-1][2]
                self._save()

    def retry(self) -> None:
        """Send once more what was set aside. Raises as `send` does."""
        delivery, again = self.reached(), list(self.sent.aside)
        for start in again:
            try:
                delivery.carry_out([self._queue.entry(start)])
            except (Refused, Gone, Away) as refused:
                if isinstance(refused, Away) and not delivery.answers():
                    raise
                log.warning("MLflow does not take an entry: %s", refused)
                continue
            self.sent.aside.remove(start)
            self._save()

    def unsent(self) -> int:
        """How many entries the store lacks."""
        return self.sent.unsent(self._queue)

    def _chunk(self) -> Chunk:
        """The next entries that can be carried out together."""
        chunk: Chunk = []
        start, size = self.sent.offset, 0
        for entry, end in self._queue.entries(start):
            if chunk and (entry["op"], entry.get("run")) != _kind(chunk[0][0]):
                break
            size += len(entry["values"]) if entry["op"] == "metrics" else 1
            chunk.append((entry, start, end))
            start = end
            if size >= (AT_ONCE["metrics"] if entry["op"] == "metrics" else TRACES_AT_ONCE):
                break
        return chunk

    def _one_by_one(self, delivery: Delivery, chunk: Chunk) -> None:
        for entry, start, end in chunk:
            try:
                delivery.carry_out([entry])
            except Refused as refused:
                if entry["op"] == "begin":
                    # Nothing can be logged of a run that is not there.
                    raise Away(str(refused)) from refused
                self._set_aside((entry, start, end), refused)

    def _set_aside(self, one: tuple[Entry, int, int], why: Exception) -> None:
        entry, start, _ = one
        log.warning("MLflow does not take a %s, which is set aside: %s", entry["op"], why)
        self.sent.aside = sorted({*self.sent.aside, start})

    def _is_poison(self, chunk: Chunk, delivery: Delivery) -> bool:
        """Whether it is these entries that a store fails at, time and again."""
        if self._failed_at != chunk[0][1]:
            self._failed_at, self._failures = chunk[0][1], 0
        self._failures += 1
        return self._failures >= TRIES and chunk[0][0]["op"] != "begin" and delivery.answers()

    def _begin_anew(self, gone: Gone) -> None:
        log.warning("MLflow: run %s was deleted; all is logged into a new one", gone)
        self.sent.offset, self.sent.aside = 0, []
        self.sent.runs.clear()
        self._save()

    def _save(self) -> None:
        self.sent.save(self._run_dir, self._address.label)


class Sender:
    """The thread that sends a run's queue while the run goes on."""

    def __init__(self, queue: Queue, run_dir: Path, address: Address) -> None:
        self._queue = queue
        self._way = Delivered(queue, run_dir, address)
        self._answered, self._closing = threading.Event(), threading.Event()
        self._left = False
        self._fault: InputError | None = None
        self._trouble = ""
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def require_usable(self, wait_s: float) -> None:
        """Wait for the store's first answer.

        Raises:
            InputError: it cannot be used. One that does not answer is only warned of.
        """
        import mlflow  # noqa: F401  The thread's seconds of imports do not count.

        if self._answered.wait(wait_s) and self._fault:
            raise self._fault
        if self._trouble:
            log.warning(
                "MLflow does not answer (%s); the run goes on, and what it logs is sent when it "
                "does",
                self._trouble,
            )

    def run_id(self, key: str) -> str:
        """A run's id in MLflow; empty until MLflow has it."""
        return self._way.sent.runs.get(key, "")

    def stop(self, wait_s: float) -> tuple[int, str]:
        """Send what is left, and end.

        Returns:
            How many entries are not sent when the time is over, and why.
        """
        self._closing.set()
        self._queue.wake()
        self._thread.join(wait_s)
        hangs = self._thread.is_alive()
        self.abandon()
        return self._way.unsent(), self._trouble or (
            f"no answer within {wait_s:g} s" if hangs else "not taken"
        )

    def abandon(self) -> None:
        """A thread that hangs does nothing more when it comes back."""
        self._left = True
        self._closing.set()
        self._queue.wake()

    def _work(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._left:
            closing = self._closing.is_set()
            try:
                self._way.reached()
                self._answered.set()
                self._way.send(lambda: not self._left)
                self._trouble, pause = "", FIRST_PAUSE_S
            except InputError as fault:
                self._fault, self._trouble = fault, str(fault)
            except Away as away:
                self._trouble = str(away)
            except Exception:
                log.exception("MLflow: nothing more is sent")
                self._trouble = "a fault of this program, shown above"
                closing = True
            self._answered.set()
            if closing:
                return
            if self._trouble:
                self._closing.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            elif self._queue.wait(self._way.sent.offset):
                self._closing.wait(TOGETHER_S)


def _kind(entry: Entry) -> tuple[str, str | None]:
    return entry["op"], entry.get("run")


def _send_all(way: Delivered) -> None:
    """Send what there is, with some tries at an entry that the store fails at.

    Raises:
        Away: the store does not answer, or fails at what cannot be set aside, the begin of a run.
    """
    failed_at, tries = -1, 0
    while True:
        try:
            way.send()
            return
        except Away as away:
            start = way.sent.offset
            failed_at, tries = start, tries + 1 if start == failed_at else 1
            if way.unsent() == 0 or not way.reached().answers():
                raise
            if tries >= TRIES:
                raise Failing(str(away)) from away
        time.sleep(FIRST_PAUSE_S)


def sync(run_dir: Path, uri: str | None) -> tuple[int, int]:
    """Send what a run's folder has logged and MLflow lacks.

    Args:
        uri: of another store than the run was logged to.

    Returns:
        How many entries were sent, and how many the store does not take.

    Raises:
        InputError: nothing was logged, the store does not answer or cannot be used, or another
            process writes or sends the run.
    """
    if not Queue(run_dir).path.is_file():
        raise InputError(f"{run_dir}: nothing was logged there for MLflow")
    with Queue(run_dir) as queue:
        opened = [entry for entry, _ in queue.entries() if entry["op"] == "open"]
        if not opened:
            raise InputError(f"{run_dir}: nothing was logged there for MLflow")
        address = Address.as_noted(opened[-1], run_dir, uri)
        way = Delivered(queue, run_dir, address)
        before = way.unsent()
        try:
            _send_all(way)
            way.retry()
        except Away as away:
            raise InputError(
                f"{run_dir}: MLflow {away.how} ({away}); {way.unsent()} entries wait, send them "
                "later by the same command"
            ) from away
        left = way.unsent()
    return before - left, left
