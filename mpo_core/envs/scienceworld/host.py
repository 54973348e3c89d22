"""Many ScienceWorld sessions in a few Java processes, for one asyncio loop.

Invariants:
- Each process has a thread of its own that makes every call on it, one at a time: the loop never
  waits for Java, and a process serves its sessions in turn.
- A session belongs to a process only from one `reset` to the next. So after a loss the next
  `reset` finds a new process, and a process that has loaded its share of tasks is left by one
  session after the other and ends with the last.
- A lost process takes its sessions' episodes with it: each of their calls raises
  `EnvironmentLost`, and no score is made up.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mpo_core.envs.base import Reset, Step
from mpo_core.envs.scienceworld.jvm import JavaError, Jvm
from mpo_core.envs.scienceworld.simulator import Simulator, World
from mpo_core.errors import EnvironmentLost
from mpo_core.types import Task

T = TypeVar("T")
log = logging.getLogger(__name__)

FIRST_LOOK = "look around"


@dataclass(frozen=True)
class HostSettings:
    """How a host runs; see `ScienceWorld.Config` for the fields."""

    simplification: str
    jvms: int
    heap_gb: float
    sessions_per_jvm: int
    recycle_after: int
    call_timeout_s: float
    java: Path | None


class ScienceWorldHost:
    """The Java processes and the sessions in them."""

    def __init__(self, settings: HostSettings) -> None:
        self.settings = settings
        self._workers: list[Worker] = []
        self._room = asyncio.Semaphore(settings.jvms * settings.sessions_per_jvm)
        self._closed = False

    async def environment(self) -> "ScienceWorldEnvironment":
        """A new session; waits for room when `jvms` x `sessions_per_jvm` are open.

        Raises:
            InputError: Java cannot start.
        """
        await self._room.acquire()
        try:
            worker = await self.place()
        except BaseException:
            self._room.release()
            raise
        return ScienceWorldEnvironment(self, worker)

    async def close(self) -> None:
        """End every process at once."""
        self._closed = True
        workers, self._workers = self._workers, []
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))

    def pids(self) -> list[int]:
        """Process ids of the running Java processes."""
        return [worker.pid for worker in self._workers if worker.pid and not worker.lost]

    async def place(self) -> "Worker":
        """A running worker with room for one more session, which it then counts."""
        if self._closed:
            raise EnvironmentLost("the ScienceWorld host was closed")
        for worker in [w for w in self._workers if w.lost]:
            self._forget(worker)
        fresh = [w for w in self._workers if not self.spent(w)]
        worker = min(fresh, key=lambda w: w.sessions, default=None)
        if worker is None or (worker.sessions and len(fresh) < self.settings.jvms):
            worker = Worker(self.settings)
            self._workers.append(worker)
        worker.sessions += 1
        try:
            await worker.started()
        except BaseException:
            self.leave(worker)
            raise
        return worker

    def leave(self, worker: "Worker") -> None:
        """Take a session off a worker; the last one ends a worker that is lost or spent."""
        worker.sessions -= 1
        if worker.sessions == 0 and (worker.lost or self.spent(worker)):
            self._forget(worker)

    def spent(self, worker: "Worker") -> bool:
        return worker.loads >= self.settings.recycle_after

    def session_closed(self) -> None:
        self._room.release()

    def _forget(self, worker: "Worker") -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            asyncio.get_running_loop().run_in_executor(None, worker.stop)


class Worker:
    """A Java process, its simulator and the thread that talks to them."""

    def __init__(self, settings: HostSettings) -> None:
        self.sessions = 0
        self.loads = 0
        self._settings = settings
        self._jvm: Jvm | None = None
        self._simulator: Simulator | None = None
        self._stopped = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scienceworld")
        self._starting = asyncio.ensure_future(self._in_thread(self._start))

    @property
    def lost(self) -> str | None:
        return self._jvm.lost if self._jvm else None

    @property
    def pid(self) -> int | None:
        return self._jvm.pid if self._jvm else None

    async def started(self) -> None:
        # Several sessions may wait for one start, and one of them may be cancelled.
        await asyncio.shield(self._starting)

    async def run(self, function: Callable[[Simulator], T]) -> T:
        """Call `function` with the simulator in the worker's thread."""
        return await self._in_thread(lambda: function(self._simulator))

    def discard(self, world: World) -> None:
        if not self.lost:
            self._simulator.discard(world)

    def stop(self) -> None:
        """End the process (blocking, from any thread)."""
        self._stopped = True
        if self._jvm:
            self._jvm.stop()
        self._thread.shutdown(wait=True)
        if self._jvm:
            self._jvm.stop()

    async def _in_thread(self, function: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except RuntimeError as error:
            if self._stopped:
                raise EnvironmentLost("the ScienceWorld process was stopped") from error
            raise

    def _start(self) -> None:
        if self._stopped:
            raise EnvironmentLost("the ScienceWorld host was closed")
        settings = self._settings
        self._jvm = Jvm(settings.heap_gb, settings.call_timeout_s, settings.java)
        self._simulator = Simulator(self._jvm)


class ScienceWorldEnvironment:
    """A session: plays one task at a time."""

    def __init__(self, host: ScienceWorldHost, worker: Worker) -> None:
        self._host = host
        self._worker: Worker | None = worker
        self._world: World | None = None
        self._best = 0.0
        self._success = False
        self._closed = False

    async def reset(self, task: Task) -> Reset:
        """Load a task and look around, as the stock environment does."""
        worker = await self._worker_for_reset()
        worker.loads += 1
        simplification = self._host.settings.simplification

        def load(simulator: Simulator) -> tuple[World, str]:
            world = simulator.load(task.type, task.variation, simplification)
            return world, simulator.step(world, FIRST_LOOK).observation

        self._world, observation = await worker.run(load)
        self._best, self._success = 0.0, False
        return Reset(instruction=self._world.description, observation=observation)

    async def step(self, action: str) -> Step:
        """Do one action.

        The score is in whole hundredths, as the stock environment reports it. A negative one means
        that the task is failed for good; it ends the episode and leaves the best score as it was.
        """
        world = self._playing()
        try:
            reply = await self._worker.run(lambda simulator: simulator.step(world, action))
        except JavaError as error:
            # A fault of the simulator's, which it repeats: an outcome, not a loss.
            log.warning("ScienceWorld failed at %r: %s", action, error)
            observation = f"The simulator failed: {str(error).splitlines()[0]}"
            return Step(observation, self._best, done=True, success=self._success)
        percent = round(100 * reply.score)
        failed = percent < 0
        self._best = max(self._best, percent / 100)
        self._success = self._success or (percent >= 100 and not failed)
        return Step(
            observation=reply.observation,
            score=self._best,
            done=failed or reply.completed,
            success=self._success,
            understood=reply.understood,
        )

    async def valid_actions(self) -> list[str]:
        """Every action that the simulator would carry out now. Costs as much as many steps."""
        world = self._playing()
        return await self._worker.run(lambda simulator: simulator.valid_actions(world))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._leave()
        self._host.session_closed()

    async def _worker_for_reset(self) -> Worker:
        if self._closed:
            raise RuntimeError("the session was closed")
        if self._worker and (self._worker.lost or self._host.spent(self._worker)):
            self._leave()
        if self._worker is None:
            self._worker = await self._host.place()
        self._drop_world()
        return self._worker

    def _playing(self) -> World:
        if self._worker and self._worker.lost:
            raise EnvironmentLost(self._worker.lost)
        if self._world is None:
            raise RuntimeError("no episode: call reset first")
        return self._world

    def _leave(self) -> None:
        self._drop_world()
        if self._worker:
            self._host.leave(self._worker)
            self._worker = None

    def _drop_world(self) -> None:
        if self._world:
            self._worker.discard(self._world)
            self._world = None
