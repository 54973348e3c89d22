"""Many ScienceWorld sessions in a few Java processes, for one asyncio loop."""

import logging
from dataclasses import dataclass
from pathlib import Path

from mpo_core.envs.base import Reset, Step
from mpo_core.envs.processes import Pool, Seat
from mpo_core.envs.scienceworld.jvm import JavaError, Jvm
from mpo_core.envs.scienceworld.simulator import Simulator, World
from mpo_core.errors import EnvironmentLost
from mpo_core.types import Task

log = logging.getLogger(__name__)

FIRST_LOOK = "look around"
ROUNDING = 1e-9
"""How far a float of the simulator's may be off; its shares of subgoals differ by far more."""


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
        self._pool = Pool(
            "ScienceWorld",
            self._start,
            processes=settings.jvms,
            sessions_per_process=settings.sessions_per_jvm,
            recycle_after=settings.recycle_after,
        )

    async def environment(self) -> "ScienceWorldEnvironment":
        """A new session; waits for room when `jvms` x `sessions_per_jvm` are open.

        Raises:
            InputError: Java cannot start.
            EnvironmentLost: it was killed while it started.
        """
        return ScienceWorldEnvironment(self.settings.simplification, await self._pool.seat())

    async def close(self) -> None:
        """End every process at once."""
        await self._pool.close()

    def pids(self) -> list[int]:
        """Process ids of the running Java processes."""
        return self._pool.pids()

    def _start(self) -> Simulator:
        settings = self.settings
        jvm = Jvm(settings.heap_gb, settings.call_timeout_s, settings.java)
        try:
            return Simulator(jvm)
        except EnvironmentLost as error:
            raise jvm.not_started(error) from error
        except BaseException:
            jvm.stop()
            raise


class ScienceWorldEnvironment:
    """A session: plays one task at a time."""

    def __init__(self, simplification: str, seat: Seat[Simulator]) -> None:
        self._simplification = simplification
        self._seat = seat
        self._world: World | None = None
        self._best = 0.0
        self._success = False

    async def reset(self, task: Task) -> Reset:
        """Load a task and look around, as the stock environment does."""
        await self._end_episode()

        def load(simulator: Simulator) -> tuple[World, str]:
            world = simulator.load(task.type, task.variation, self._simplification)
            return world, simulator.step(world, FIRST_LOOK).observation

        world, observation = await self._seat.run(load)
        self._world, self._best, self._success = world, 0.0, False
        return Reset(instruction=world.description, observation=observation)

    async def step(self, action: str) -> Step:
        """Do one action.

        The score is the simulator's own, a share of subgoals that is not rounded; the stock
        environment reports it in whole hundredths. The whole of it, but for `ROUNDING`, is success.
        A negative one means that the task is failed for good; it ends the episode and leaves the
        best score as it was.
        """
        world = self._playing()
        try:
            reply = await self._seat.run(lambda simulator: simulator.step(world, action))
        except JavaError as error:
            # A fault of the simulator's, which it repeats: an outcome, not a loss.
            log.warning("ScienceWorld failed at %r: %s", action, error)
            observation = f"The simulator failed: {str(error).splitlines()[0]}"
            return Step(observation, self._best, done=True, success=self._success)
        solved, failed = reply.score >= 1 - ROUNDING, reply.score < -ROUNDING
        self._best = max(self._best, 1.0 if solved else reply.score)
        self._success = self._success or solved
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
        return await self._seat.run(lambda simulator: simulator.valid_actions(world))

    async def expert_actions(self, task: Task) -> list[str]:
        """The simulator's own solution. Often longer than the step limit: it looks at everything
        on its way and waits where it need not.
        """
        await self._end_episode()

        def solve(simulator: Simulator) -> list[str]:
            world = simulator.load(task.type, task.variation, self._simplification, gold_path=True)
            simulator.discard(world)
            return simulator.gold_path()

        return await self._seat.run(solve)

    async def close(self) -> None:
        self._drop_world()
        self._seat.close()

    async def _end_episode(self) -> None:
        self._drop_world()
        await self._seat.renew()

    def _playing(self) -> World:
        self._seat.check()
        if self._world is None:
            raise RuntimeError("no episode: call reset first")
        return self._world

    def _drop_world(self) -> None:
        world, self._world = self._world, None
        if world and self._seat.process:
            self._seat.process.discard(world)
