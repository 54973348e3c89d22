"""The process that plays games: it reads calls from its parent, a line each, and answers each.

    python -m mpo_core.envs.alfworld.worker

A call is a JSON list: the name of a `Player` method, then its arguments. An answer is a JSON
object: `result`, or `fault`, which says whether the input is at fault (`input`) and what is wrong
(`text`); and `notes`, what was logged meanwhile. The first line says that the process is ready.

Invariants:
- The lines travel over the process's first input and output, which nothing else gets to see:
  whatever the engine prints goes to its error output.
- The process ends with its input, so with its parent.
- A fault leaves the session without a game and the others as they were. Out of memory, the process
  ends.
"""

import json
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TextIO

from mpo_core.errors import InputError


class Notes(logging.Handler):
    """Keeps what is logged until it is told to the parent."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record.getMessage())

    def take(self) -> list[str]:
        taken, self._kept = self._kept, []
        return taken


def main() -> None:
    # Ctrl-C is the parent's to handle; this process ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls, answers = _take_lines()
    notes = Notes()
    logging.basicConfig(level=logging.WARNING, handlers=[notes])
    # Only now, when nothing that is printed can get between the lines.
    from mpo_core.envs.alfworld.player import Player

    translations = sys.argv[1] if len(sys.argv) > 1 else None
    player = Player(Path(translations) if translations else None)
    _write(answers, {"result": "ready"})
    for line in calls:
        name, number, *arguments = json.loads(line)
        try:
            answer = {"result": getattr(player, name)(number, *arguments)}
        except InputError as error:
            player.close(number)
            answer = {"fault": {"input": True, "text": str(error)}}
        except MemoryError:
            raise
        except Exception:
            player.close(number)
            answer = {"fault": {"input": False, "text": traceback.format_exc()}}
        _write(answers, answer | {"notes": notes.take()})


def _take_lines() -> tuple[TextIO, TextIO]:
    """The lines from and to the parent, out of the engine's reach."""
    calls, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return calls, answers


def _write(answers: TextIO, answer: dict) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
