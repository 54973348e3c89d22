"""Sessions of the games, in one thread: TextWorld's parser is made for one, and steps are quick."""

import asyncio
import re
import warnings
from typing import Any

from mpo_cooking.games import game_file, notes
from mpo_core.envs.base import Reset, Step
from mpo_core.types import Task

# Of the engine's other verbs, some stop it and some take steps back.
VERBS = "chop close cook dice drink drop eat examine go inventory look open prepare put slice take"
STATUS = re.compile(r"\n>\s+-= .*\Z", re.DOTALL)


class Kitchen:
    """One session."""

    _game: Any = None

    async def reset(self, task: Task) -> Reset:
        await self.close()
        instruction, _ = await asyncio.to_thread(notes, task.id)
        self._game = _started(str(game_file(task.id)))
        self._state, self._score = self._game.reset(), 0.0
        # Before it stand a banner and the game's own words of what is asked.
        _, _, seen = self._state.feedback.partition(self._state.objective)
        return Reset(instruction, _plain(seen))

    async def step(self, action: str) -> Step:
        verb, *_ = words = action.lower().split() or [""]
        if verb not in VERBS.split():
            return Step("There is no such action.", self._score, False, False, understood=False)
        self._state, points, done = self._game.step(" ".join(words))
        self._score = max(self._score, points / self._state.max_score)
        return Step(_plain(self._state.feedback), self._score, done, self._state.won)

    async def valid_actions(self) -> list[str]:
        return self._state.admissible_commands

    async def expert_actions(self, task: Task) -> list[str]:
        _, solution = await asyncio.to_thread(notes, task.id)
        return solution

    async def close(self) -> None:
        if self._game is not None:
            self._game.close()
            self._game = None


class Kitchens:
    """The host: its sessions share nothing."""

    async def environment(self) -> Kitchen:
        return Kitchen()

    async def close(self) -> None: ...


def _started(game: str) -> Any:
    import textworld  # Which is slow, and needed by those alone who play.

    asked = ("feedback", "objective", "score", "max_score", "won", "lost", "admissible_commands")
    with warnings.catch_warnings():
        # That the interpreter does not know the game: TextWorld keeps its score.
        warnings.simplefilter("ignore")
        return textworld.start(game, textworld.EnvInfos(**dict.fromkeys(asked, True)))


def _plain(feedback: str) -> str:
    """What a game says, without its status line and empty lines."""
    return "\n".join(filter(None, map(str.strip, STATUS.sub("", feedback).splitlines())))
