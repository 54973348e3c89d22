"""The process that plays games: it reads calls from its parent, a line each, and answers each.

    python -m mpo_core.envs.alfworld.worker SOCKET [TRANSLATIONS]

A call is a JSON list: the name of a method of `Sessions`, then its arguments. An answer is a JSON
object: `result`, or `fault`, which says whether the input is at fault (`input`) and what is wrong
(`text`); and `notes`, what was logged meanwhile. The first line says that the process is ready.

Invariants:
- The lines travel over a socket of their own, whose number is the first argument: nothing that the
  engine prints gets between them.
- The process ends with the socket, so with its parent.
- A fault leaves the session without a game and the others as they were. Out of memory, the process
  ends.
"""

import json
import logging
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import TextIO

from mpo_core.envs.alfworld.sessions import Sessions
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
    notes = Notes()
    logging.basicConfig(level=logging.WARNING, handlers=[notes])
    number, *folder = sys.argv[1:]
    sessions = Sessions(Path(*folder) if folder else None)
    parent = socket.socket(fileno=int(number))
    # Two files: one for both would forget, at each answer, the calls that it has read ahead.
    calls = parent.makefile("r", encoding="utf-8")
    answers = parent.makefile("w", encoding="utf-8")
    write(answers, {"result": "ready"})
    for line in calls:
        name, session, *arguments = json.loads(line)
        try:
            answer = {"result": getattr(sessions, name)(session, *arguments)}
        except InputError as error:
            sessions.close(session)
            answer = {"fault": {"input": True, "text": str(error)}}
        except MemoryError:
            raise
        except Exception:
            sessions.close(session)
            answer = {"fault": {"input": False, "text": traceback.format_exc()}}
        write(answers, answer | {"notes": notes.take()})


def write(answers: TextIO, answer: dict) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
