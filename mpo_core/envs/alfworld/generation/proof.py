"""Plays games' walkthroughs in the real engine, in processes that can be killed.

Invariants:
- A game's verdict depends on the game alone. A process that dies or hangs says nothing about it:
  the game is played again in a new one, and refused only when that happens every time.
- No process outlives its parent: it ends when its standard input closes and, should the engine
  hang just then, by an alarm that it sets itself for every game.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

TIME_LIMIT_S = 120.0
"""For one game; far more than the slowest takes, so that a busy machine refuses none."""
TRIES = 3
ALARM_MARGIN_S = 10


class PlayerLost(Exception):
    """The process died, or did not answer in time and was killed."""


class Player:
    """A process with the engine in it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mpo_core.envs.alfworld.generation.proof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def play(self, game: Path, limit_s: float) -> str | None:
        """Why the game's walkthrough does not prove it; None where it does.

        Raises:
            PlayerLost: nothing is known about the game.
        """
        try:
            self._process.stdin.write(json.dumps([str(game), limit_s]).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._answer(time.monotonic() + limit_s))
        except OSError as error:
            raise PlayerLost from error

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        """Kill the process and let go of it."""
        self.kill()
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _answer(self, deadline: float) -> bytes:
        answer = b""
        while not answer.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise PlayerLost
            read = os.read(self._process.stdout.fileno(), 1 << 16)
            if not read:
                raise PlayerLost
            answer += read
        return answer


class Players:
    """Several processes, each playing one game at a time; a context manager."""

    def __init__(self, workers: int, limit_s: float = TIME_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._closing = False
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prove")
        self._idle: SimpleQueue[Player | None] = SimpleQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._running: set[Player] = set()

    def __enter__(self) -> "Players":
        return self

    def __exit__(self, *_) -> None:
        self._closing = True
        # A thread that waits for a killed process hears of it; only then may its pipes be closed.
        for player in list(self._running):
            player.kill()
        self._pool.shutdown(cancel_futures=True)
        for player in self._running:
            player.stop()

    def prove(
        self, games: Iterable[Path], on_proven: Callable[[], None]
    ) -> list[tuple[Path, str | None]]:
        """The games and their verdicts, in order; `on_proven` is called as each is proven.

        The first are played while the last are still being made.
        """
        verdicts = {self._pool.submit(self._verdict, game): game for game in games}
        for verdict in as_completed(verdicts):
            if verdict.result() is None:
                on_proven()
        return [(game, verdict.result()) for verdict, game in verdicts.items()]

    def _verdict(self, game: Path) -> str | None:
        player = self._idle.get()
        try:
            for _ in range(TRIES):
                if self._closing:
                    break
                player = player or self._start()
                try:
                    return player.play(game, self._limit_s)
                except PlayerLost:
                    self._drop(player)
                    player = None
            return f"the engine died or took more than {self._limit_s:g} s, {TRIES} times"
        finally:
            self._idle.put(player)

    def _start(self) -> Player:
        player = Player()
        self._running.add(player)
        return player

    def _drop(self, player: Player) -> None:
        self._running.discard(player)
        player.stop()


def fault_of(game: Path) -> str | None:
    """Play a game's walkthrough: why it does not prove the game, None where it does."""
    from mpo_core.envs.alfworld.engine import Session

    walkthrough = json.loads(game.read_text(encoding="utf-8"))["walkthrough"]
    with contextlib.closing(Session()) as session:
        state = session.load(game)
        for number, command in enumerate(walkthrough):
            if state.won:
                return "won before the walkthrough's end" if number else "won at the start"
            if command not in state.admissible_commands:
                return f"the walkthrough's `{command.split()[0]}` cannot be done"
            state = session.step(command)
    return None if state.won else "the walkthrough does not win"


def main() -> None:
    """Read `[game, limit_s]` a line, write a verdict a line, until the input ends."""
    # The engine's C code prints: give it another standard output than the answers'.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for line in sys.stdin:
        game, limit_s = json.loads(line)
        # Kills this process whatever the engine is at; the parent normally comes first.
        signal.alarm(int(limit_s) + ALARM_MARGIN_S)
        try:
            verdict = fault_of(Path(game))
        except (Exception, SystemExit) as error:  # the translator exits where it gives up
            verdict = f"{type(error).__name__}: {error}".replace(game, "game")
        signal.alarm(0)
        answers.write(json.dumps(verdict) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
