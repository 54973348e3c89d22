"""Sessions that share a few processes: who sits where, what is lost, when a process is replaced.

A host's processes are its `Pool`, a session's place among them its `Seat`; both deal with any
`Process`, such as those of `mpo_core.envs.line_process`.

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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from mpo_core.errors import EnvironmentLost


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
