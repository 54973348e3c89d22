"""Plays games' walkthroughs in the real engine, in processes that can be killed.

Invariants:
- A game's verdict depends on the game alone. A process that dies or hangs says nothing about it:
  the game is played again in a new one, and refused only when that happens every time.
- No process outlives its parent for long (`play.py`).
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from mpo_core.envs.alfworld.process import NO_DATA
from mpo_core.errors import InputError

TIME_LIMIT_S = 120.0
"""For one game; far more than the slowest takes, so that a busy machine refuses none."""
TRIES = 3
PLAY = "mpo_core.envs.alfworld.generation.play"


class ProverLost(Exception):
    """The process died, or did not answer in time and was killed."""


class Prover:
    """A process with the engine in it."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        process = subprocess.Popen(
            [sys.executable, "-m", PLAY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | NO_DATA | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert process.stdin is not None and process.stdout is not None
        self._process, self._input, self._output = process, process.stdin, process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def play(self, game: Path, limit_s: float) -> str | None:
        """Why the game's walkthrough does not prove it; None where it does.

        Raises:
            ProverLost: nothing is known about the game.
            InputError: the engine does not start at all.
        """
        try:
            self._input.write(json.dumps([str(game), limit_s]).encode() + b"\n")
            self._input.flush()
            return json.loads(self._answer(time.monotonic() + limit_s))
        except OSError as error:
            raise ProverLost from error

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        """Kill the process and let go of it."""
        self.kill()
        self._process.wait()
        self._output.close()
        with contextlib.suppress(OSError):
            self._input.close()
        self._log.close()

    def _answer(self, deadline: float) -> bytes:
        answer = b""
        while not answer.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._output], [], [], left)[0]:
                raise ProverLost
            read = os.read(self._output.fileno(), 1 << 16)
            if not read:
                raise self._end()
            answer += read
        return answer

    def _end(self) -> Exception:
        """Why the process ended: by a signal, or by itself, which it does when it cannot start."""
        if self._process.wait() < 0:
            return ProverLost()
        self._log.seek(0)
        last = self._log.read().decode(errors="replace").strip().rpartition("\n")[2]
        return InputError(f"the ALFWorld engine does not start ({last}); reinstall alfworld")


class Provers:
    """Several processes, each playing one game at a time; a context manager."""

    def __init__(self, workers: int, limit_s: float = TIME_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._closing = False
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prove")
        self._idle: SimpleQueue[Prover | None] = SimpleQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._running: set[Prover] = set()

    def __enter__(self) -> "Provers":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        # A thread that waits for a killed process hears of it; only then may its pipes be closed.
        for prover in list(self._running):
            prover.kill()
        self._pool.shutdown(cancel_futures=True)
        for prover in self._running:
            prover.stop()

    def prove(
        self, games: Iterable[Path], on_proven: Callable[[], object]
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
        prover = self._idle.get()
        try:
            for _ in range(TRIES):
                if self._closing:
                    break
                prover = prover or self._start()
                try:
                    return prover.play(game, self._limit_s)
                except ProverLost:
                    self._drop(prover)
                    prover = None
            return f"the engine died or took more than {self._limit_s:g} s, {TRIES} times"
        finally:
            self._idle.put(prover)

    def _start(self) -> Prover:
        prover = Prover()
        self._running.add(prover)
        return prover

    def _drop(self, prover: Prover) -> None:
        self._running.discard(prover)
        prover.stop()
