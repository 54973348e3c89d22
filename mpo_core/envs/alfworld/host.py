"""Many ALFWorld sessions in a few worker processes, for one asyncio loop."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from mpo_core.envs.alfworld.games import game_file
from mpo_core.envs.alfworld.process import GameProcess
from mpo_core.envs.base import Reset, Step
from mpo_core.envs.processes import Pool, Seat
from mpo_core.types import Task


@dataclass(frozen=True)
class HostSettings:
    """How a host runs; see `ALFWorld.Config` for the fields."""

    root: Path
    """The data folder, with a folder for each split."""
    translations: Path | None
    """Where translations are kept."""
    workers: int
    sessions_per_worker: int
    recycle_after: int
    call_timeout_s: float


class ALFWorldHost:
    """The worker processes and the sessions in them."""

    def __init__(self, settings: HostSettings) -> None:
        self.settings = settings
        self._numbers = count()
        self._pool = Pool(
            "ALFWorld",
            lambda: GameProcess(settings.translations, settings.call_timeout_s),
            processes=settings.workers,
            sessions_per_process=settings.sessions_per_worker,
            recycle_after=settings.recycle_after,
        )

    async def environment(self) -> "ALFWorldEnvironment":
        """A new session; waits for room when `workers` x `sessions_per_worker` are open.

        Raises:
            InputError: a worker process cannot start.
            EnvironmentLost: it was killed while it started.
        """
        seat = await self._pool.seat()
        return ALFWorldEnvironment(self.settings.root, seat, next(self._numbers))

    async def close(self) -> None:
        """End every process at once."""
        await self._pool.close()

    def pids(self) -> list[int]:
        """Process ids of the running worker processes."""
        return self._pool.pids()


class ALFWorldEnvironment:
    """A session: plays one game at a time."""

    def __init__(self, root: Path, seat: Seat[GameProcess], number: int) -> None:
        self._root = root
        self._seat = seat
        self._number = number
        self._playing = False
        self._won = False

    async def reset(self, task: Task) -> Reset:
        """Start a task's game.

        Raises:
            InputError: it is no game that can be played.
        """
        start = await self._begin("load", task)
        self._playing, self._won = True, False
        return Reset(start["instruction"], start["observation"])

    async def step(self, action: str) -> Step:
        """Do one action. The score is 1 once the game is won, which ends it, and 0 until then."""
        answer = await self._call("step", action)
        self._won = self._won or answer["won"]
        return Step(
            observation=answer["observation"],
            score=float(self._won),
            done=self._won,
            success=self._won,
            understood=answer["understood"],
        )

    async def valid_actions(self) -> list[str]:
        """Every command that the game admits now, in its own words."""
        return await self._call("commands")

    async def expert_actions(self, task: Task) -> list[str]:
        """Commands that win the task's game."""
        return await self._begin("expert", task)

    async def close(self) -> None:
        if self._seat.process:
            self._seat.process.forget(self._number)
        self._seat.close()

    async def _begin(self, method: str, task: Task) -> Any:
        self._playing = False
        await self._seat.renew()
        game = game_file(self._root, task)
        return await self._seat.run(lambda process: process.call(method, self._number, str(game)))

    async def _call(self, method: str, *arguments: str) -> Any:
        self._seat.check()
        if not self._playing:
            raise RuntimeError("no episode: call reset first")
        return await self._seat.run(lambda process: process.call(method, self._number, *arguments))
