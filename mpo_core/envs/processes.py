"""Sessions that share a few processes: who sits where, what is lost, when a process is replaced.

`LineProcess` is what the processes have in common; `Pool` and `Seat` deal with any `Process`.

Invariants:
- Each process has a thread of its own that starts it and makes every call on it, one at a time:
  the loop never waits for a process, and a process serves its sessions in turn.
- A session belongs to a process only from one episode's start to the next one's. So after a loss
  the next start finds a new process, and a process that has started its share of episodes is left
  by one session after the other and ends with the last.
- A lost process takes its sessions' episodes with it: each of their calls raises
  `EnvironmentLost`, and no score is made up.
"""

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from mpo_core.errors import EnvironmentLost, InputError

RECEIVE_BYTES = 1 << 16


class Process(Protocol):
    """A process and the line to it. One thread makes every call but `stop`."""

    @property
    def pid(self) -> int: ...

    @property
    def lost(self) -> str | None:
        """Why the process is gone; None while it serves."""
        ...

    def stop(self) -> None:
        """End the process at once (from any thread)."""
        ...


def launch(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a process, as `subprocess.Popen`.

    Raises:
        InputError: there is no such program, or it may not be run.
        EnvironmentLost: the machine has no memory or no process left for it.
    """
    try:
        return subprocess.Popen(command, **options)
    except OSError as error:
        what = f"cannot start {error.filename or command[0]}: {error.strerror}"
        if error.errno in (errno.EAGAIN, errno.ENOMEM):
            raise EnvironmentLost(what) from error
        raise InputError(what) from error


class LineProcess:
    """A process that answers calls over a socket, a line each.

    - One thread starts it and makes every call on it. `stop` may be called from any thread.
    - A call is sent once. Whatever goes wrong with the process or the line ends the process, and
      this and every later call raises `EnvironmentLost`: nothing is ever sent again in the hope
      that it was not executed.
    """

    name: ClassVar[str]
    """The environment's name."""
    _process: subprocess.Popen
    _socket: socket.socket

    def __init__(self, call_timeout_s: float) -> None:
        """What a subclass needs to start `_process`, which prints to `_log`, and open `_socket`."""
        self._call_timeout_s = call_timeout_s
        self._lost: str | None = None
        self._received = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def lost(self) -> str | None:
        """Why the process is gone; None while it serves."""
        return self._lost

    def stop(self) -> None:
        """End the process at once."""
        self._lost = self._lost or f"the {self.name} process was stopped"
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)

    def _exchange(self, calls: bytes, answers: int) -> list[bytes]:
        """Send calls in one write and receive their answers.

        Raises:
            EnvironmentLost: the process died, or did not answer in time and was killed.
        """
        if self._lost:
            raise EnvironmentLost(self._lost)
        try:
            # The limit is for all of it: a process that trickles is as lost as one that hangs.
            deadline = time.monotonic() + self._call_timeout_s
            self._socket.settimeout(self._call_timeout_s)
            self._socket.sendall(calls)
            return [self._read_line(deadline) for _ in range(answers)]
        except TimeoutError:
            raise EnvironmentLost(self._end("did not answer in time")) from None
        except OSError:
            raise EnvironmentLost(self._end("died")) from None

    def _read_line(self, deadline: float) -> bytes:
        while True:
            line, separator, rest = self._received.partition(b"\n")
            if separator:
                self._received = rest
                return line
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            more = self._receive()
            if not more:
                raise ConnectionResetError
            self._received += more

    def _receive(self) -> bytes:
        return self._socket.recv(RECEIVE_BYTES)

    def _not_started(self, error: Exception, advice: str) -> Exception:
        """End a process that failed while it started; returns what to raise instead.

        One that ended by itself would do so again: bad input. One that was killed, as by a kernel
        short of memory, or that hung, may well start another time.
        """
        if not isinstance(error, TimeoutError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
        code = self._process.poll()
        hung = isinstance(error, TimeoutError) and code is None
        what = self._end("did not start in time" if hung else "did not start")
        # What a shell or Java makes of a signal, where they pass it on, lies above 128.
        if code is None or code < 0 or code > 128:
            return EnvironmentLost(what)
        return InputError(f"{self.name}: {what}; {advice}")

    def _end(self, what: str) -> str:
        """End a process that went wrong; returns why it is lost."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        code = self._process.poll()
        self._process.kill()
        self._process.wait()
        status = "" if code is None else f" (exit status {code})"
        self._lost = self._lost or f"the {self.name} process {what}{status}{self._last_words()}"
        return self._lost

    def _last_words(self) -> str:
        """The end of what the process printed, as the end of a sentence."""
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), 600, max(0, size - 600)).decode(errors="replace")
        words = self._telling([line.strip() for line in tail.splitlines() if line.strip()])
        return f": {words}" if words else ""

    def _telling(self, lines: list[str]) -> str:
        """What to quote of the last lines that the process printed."""
        return lines[-1] if lines else ""


P = TypeVar("P", bound=Process)
T = TypeVar("T")


class Pool(Generic[P]):
    """The processes of a host, and the sessions in them."""

    def __init__(
        self,
        name: str,
        start: Callable[[], P],
        processes: int,
        sessions_per_process: int,
        recycle_after: int,
    ) -> None:
        """`start` starts a process (blocking); `recycle_after` are the episodes it may start."""
        self.name = name
        self._start = start
        self._processes = processes
        self._recycle_after = recycle_after
        self._workers: list[_Worker[P]] = []
        self._room = asyncio.Semaphore(processes * sessions_per_process)
        self._closed = False

    async def seat(self) -> "Seat[P]":
        """A place for one more session; waits for room.

        Raises:
            Exception: whatever `start` raises.
        """
        await self._room.acquire()
        try:
            worker = await self.place()
        except BaseException:
            self._room.release()
            raise
        return Seat(self, worker)

    async def close(self) -> None:
        """End every process at once."""
        self._closed = True
        workers, self._workers = self._workers, []
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))

    def pids(self) -> list[int]:
        """Process ids of the running processes."""
        return [worker.pid for worker in self._workers if worker.pid and not worker.lost]

    async def place(self) -> "_Worker[P]":
        """A running process with room for one more session, which it then counts."""
        if self._closed:
            raise EnvironmentLost(f"the {self.name} host was closed")
        for lost in [w for w in self._workers if w.lost]:
            self._forget(lost)
        fresh = [w for w in self._workers if not self.spent(w)]
        worker: _Worker[P] | None = min(fresh, key=lambda w: w.sessions, default=None)
        if worker is None or (worker.sessions and len(fresh) < self._processes):
            worker = _Worker(self.name, self._start)
            self._workers.append(worker)
        worker.sessions += 1
        try:
            await worker.started()
        except BaseException:
            self.leave(worker)
            raise
        return worker

    def leave(self, worker: "_Worker[P]") -> None:
        """Take a session off a process; the last one ends a process that is lost or spent."""
        worker.sessions -= 1
        if worker.sessions == 0 and (worker.lost or self.spent(worker)):
            self._forget(worker)

    def spent(self, worker: "_Worker[P]") -> bool:
        return worker.episodes >= self._recycle_after

    def seat_closed(self) -> None:
        self._room.release()

    def _forget(self, worker: "_Worker[P]") -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            asyncio.get_running_loop().run_in_executor(None, worker.stop)


class Seat(Generic[P]):
    """A session's place: in one process from one episode's start to the next one's."""

    def __init__(self, pool: Pool[P], worker: "_Worker[P]") -> None:
        self._pool = pool
        self._worker: _Worker[P] | None = worker
        self._closed = False

    @property
    def process(self) -> P | None:
        """The process that the session is in, if it is not lost."""
        return self._worker.process if self._worker and not self._worker.lost else None

    async def renew(self) -> None:
        """Be where an episode can start: elsewhere, where the process is lost or spent."""
        if self._closed:
            raise RuntimeError("the session was closed")
        if self._worker and (self._worker.lost or self._pool.spent(self._worker)):
            self._leave()
        if self._worker is None:
            self._worker = await self._pool.place()
        self._worker.episodes += 1

    async def run(self, function: Callable[[P], T]) -> T:
        """Call `function` with the process, in its thread."""
        self.check()
        if self._worker is None:
            raise RuntimeError("the session has no process: it was closed, or not renewed")
        return await self._worker.run(function)

    def check(self) -> None:
        """Raise `EnvironmentLost` where the process of the episode under way is gone."""
        if self._worker and self._worker.lost:
            raise EnvironmentLost(self._worker.lost)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._leave()
            self._pool.seat_closed()

    def _leave(self) -> None:
        if self._worker:
            worker, self._worker = self._worker, None
            self._pool.leave(worker)


class _Worker(Generic[P]):
    """A process and the thread that talks to it."""

    def __init__(self, name: str, start: Callable[[], P]) -> None:
        self.sessions = 0
        self.episodes = 0
        self.process: P | None = None
        self._name = name
        self._start_process = start
        self._failed: str | None = None
        self._stopped = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._starting = asyncio.ensure_future(self._in_thread(self._start))

    @property
    def lost(self) -> str | None:
        return self.process.lost if self.process else self._failed

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    async def started(self) -> P:
        # Several sessions may wait for one start, and one of them may be cancelled.
        return await asyncio.shield(self._starting)

    async def run(self, function: Callable[[P], T]) -> T:
        process = await self.started()
        return await self._in_thread(lambda: function(process))

    def stop(self) -> None:
        """End the process (blocking, from any thread)."""
        self._stopped = True
        if self.process:
            self.process.stop()
        self._thread.shutdown(wait=True)
        if self.process:
            self.process.stop()

    async def _in_thread(self, function: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except RuntimeError as error:
            if self._stopped:
                raise EnvironmentLost(f"the {self._name} process was stopped") from error
            raise

    def _start(self) -> P:
        if self._stopped:
            raise EnvironmentLost(f"the {self._name} host was closed")
        try:
            self.process = self._start_process()
        except BaseException as error:
            self._failed = f"the {self._name} process did not start: {error}"
            raise
        return self.process


@cache
def dying_with_parent() -> tuple[str, ...]:
    """What to put before a command so that the kernel ends it with the thread that starts it.

    Nothing, where there is no `setpriv` that can.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    prefix = (setpriv, "--pdeathsig", "KILL")
    works = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if works else ()
