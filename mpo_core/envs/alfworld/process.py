"""One process that plays games (`worker.py`), and a line to talk to it.

The process dies with its parent, even on `kill -9`: the line then ends, and where `setpriv` exists
the kernel is told to kill it.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import mpo_core
from mpo_core.envs.line_process import LineProcess, dying_with_parent, launch
from mpo_core.errors import InputError

START_TIMEOUT_S = 120
NO_DATA = {"ALFWORLD_DATA": tempfile.gettempdir()}
"""For processes of the engine, which are given each game's path: the alfworld package makes this
folder where it is missing, by default in a home that may not be writable."""

log = logging.getLogger(__name__)


class GameProcess(LineProcess):
    """A running worker process."""

    name = "ALFWorld"

    def __init__(self, translations: Path | None, call_timeout_s: float) -> None:
        """Start a process and wait until it is ready.

        Raises:
            InputError: it cannot start.
            EnvironmentLost: it was killed while it started, or did not start in time.
        """
        super().__init__(call_timeout_s)
        self._forgotten: deque[int] = deque()
        self._socket, theirs = socket.socketpair()
        command = [
            *dying_with_parent(),
            sys.executable,
            "-P",
            "-m",
            "mpo_core.envs.alfworld.worker",
            str(theirs.fileno()),
            *([str(translations.absolute())] if translations else []),
        ]
        with theirs:
            self._process = launch(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )
        try:
            self._read_line(time.monotonic() + START_TIMEOUT_S)
        except OSError as error:
            raise self._not_started(
                error,
                "check that the alfworld package can be imported and that there is memory to run "
                "it",
            ) from error
        except BaseException:
            self.stop()
            raise

    def call(self, name: str, number: int, *arguments: str) -> Any:
        """Call a method of the worker's `Sessions` for one of them.

        Raises:
            InputError: the game is at fault.
            RuntimeError: the engine failed; the process is fine.
            EnvironmentLost: the process died, or did not answer in time and was killed.
        """
        calls = [["close", forgotten] for forgotten in self._take_forgotten()]
        calls.append([name, number, *arguments])
        lines = "".join(json.dumps(call) + "\n" for call in calls).encode()
        *_, answer = map(json.loads, self._exchange(lines, len(calls)))
        for note in answer["notes"]:
            log.warning("%s", note)
        fault = answer.get("fault")
        if fault is None:
            return answer["result"]
        if fault["input"]:
            raise InputError(fault["text"])
        raise RuntimeError(f"ALFWorld's engine failed at {name}: {fault['text']}")

    def forget(self, number: int) -> None:
        """Let go of a session with the next call (from any thread)."""
        self._forgotten.append(number)

    def _take_forgotten(self) -> list[int]:
        return [self._forgotten.popleft() for _ in range(len(self._forgotten))]


def _environment() -> dict[str, str]:
    """This process's, with the package where this process has it."""
    package = str(Path(mpo_core.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | NO_DATA
