"""The games, as the stock `AlfredTWEnv` plays them: same text, same commands, in less time.

What the stock does over and over is done once: translations are kept on disk (`translation.py`),
parsed text in the process (`grammar.py`), and a game's operators, names and first state with the
game (`game.py`). The planner's library (`library.py`) still decides what can be done and what
comes of it.

Invariants:
- A process plays all sessions of a game in one copy of the library, each in its own state there.
- A game and its copy of the library stay as long as a session plays it; of the others the last
  few stay.
- Nothing depends on the process's hash seed: the translation does not, what the grammar lists is
  sorted, and so are the admissible commands. The stock's text does not depend on it either.

One thread at a time: the translator swaps `sys.stdout`, and the library keeps global state.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from textworld.logic import Proposition

from mpo_core.envs.alfworld.game import Game, GameError
from mpo_core.envs.alfworld.library import START, Library

__all__ = ["GameError", "Session", "State"]

KEYS = ("pddl_domain", "grammar", "pddl_problem")
NOTHING_HAPPENS = "Nothing happens."
IDLE_GAMES = 8
"""Games that stay loaded though nobody plays them: some 5 MB each."""
MOST_STATES = 20_000
"""States that a copy of the library reaches before its game is loaded anew, when nobody plays."""


@dataclass(frozen=True)
class State:
    """What a player sees."""

    observation: str
    admissible_commands: list[str]
    won: bool


class Session:
    """Plays one game at a time."""

    def __init__(self, translations: Path | None = None) -> None:
        self._translations = translations
        self._game: Game | None = None

    def load(self, game: Path) -> State:
        """Load a game and start it.

        Raises:
            GameError: the file is no game that can be played.
        """
        self.close()
        self._game = _open(game, self._translations)
        self._state = START
        self._facts = self._game.first_facts()
        observation, self._commands, won = self._game.start
        return State(observation, sorted(self._commands), won)

    def step(self, command: str) -> State:
        """Do an admissible command; any other one changes nothing."""
        game = self._playing()
        operator = self._commands.get(command.strip())
        observation = NOTHING_HAPPENS
        if operator:
            self._state, effects = game.library.apply(
                self._state, operator.number, operator.effects
            )
            for effect in effects:
                game.change(self._facts, effect)
            observation = game.narrator.tell(operator.feedback, self._facts, operator.mapped)
            self._commands = game.commands(self._state, self._facts)
        return State(observation, sorted(self._commands), game.library.won(self._state))

    def facts(self) -> list[Proposition]:
        """What is true now, of things named as in the commands, in a fixed order."""
        return self._playing().propositions(self._facts)

    def _playing(self) -> Game:
        if self._game is None:
            raise RuntimeError("no game is loaded")
        return self._game

    def close(self) -> None:
        """Let go of the game."""
        if self._game:
            self._game.players -= 1
            self._game = None
            _tidy()


_GAMES: OrderedDict[tuple, Game] = OrderedDict()
"""The games of this process, the one that was loaded last at the end."""
_LIBRARIES: list[Library] = []
"""Copies of the library that hold no game."""


def _open(path: Path, translations: Path | None) -> Game:
    try:
        status = path.stat()
        key = (str(path), status.st_ino, status.st_mtime_ns, status.st_size)
        content = b"" if key in _GAMES else path.read_bytes()
    except OSError as error:
        raise GameError(f"{path}: {error.strerror}; is this the data folder?") from error
    if key not in _GAMES:
        _GAMES[key] = _new_game(path, content, translations)
    game = _GAMES[key]
    _GAMES.move_to_end(key)
    game.players += 1
    _tidy()
    return game


def _new_game(path: Path, content: bytes, translations: Path | None) -> Game:
    try:
        data = json.loads(content)
        if not all(isinstance(data.get(key), str) for key in KEYS):
            raise ValueError(f"it needs {', '.join(KEYS)}")
    except (ValueError, AttributeError) as error:
        raise GameError(f"{path}: not a game file ({error}); remove it or get it anew") from error
    library = _LIBRARIES.pop() if _LIBRARIES else Library()
    try:
        return Game(data, translations, library)
    except BaseException as error:
        _LIBRARIES.append(library)
        if isinstance(error, GameError):
            raise GameError(f"{path}: {error}") from None
        # The parsers have no error of their own, and the translator ends the process.
        if isinstance(error, MemoryError) or not isinstance(error, Exception | SystemExit):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise GameError(
            f"{path}: the game cannot be read ({what}); remove it or get it anew"
        ) from error


def _tidy() -> None:
    """Let go of games that nobody plays, but for the last few."""
    idle = [key for key, game in _GAMES.items() if not game.players]
    old = idle[: max(0, len(idle) - IDLE_GAMES)]
    for key in idle:
        if key in old or _GAMES[key].library.states > MOST_STATES:
            _LIBRARIES.append(_GAMES.pop(key).library)
