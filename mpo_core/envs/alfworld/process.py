"""One process that plays games (`worker.py`), and a line to talk to it.

Invariants:
- One thread starts a `GameProcess` and makes every call on it. `stop` may be called from any
  thread.
- A call is sent once. Whatever goes wrong with the process or the line ends the process, and this
  and every later call raises `EnvironmentLost`.
- The process dies with its parent, even on `kill -9`: the line then ends, and where `setpriv`
  exists the kernel is told to kill it.
"""

import contextlib
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
from mpo_core.envs.processes import dying_with_parent
from mpo_core.errors import EnvironmentLost, InputError

START_TIMEOUT_S = 120
RECEIVE_BYTES = 1 << 16

log = logging.getLogger(__name__)


class GameProcess:
    """A running worker process."""

    def __init__(self, translations: Path | None, call_timeout_s: float) -> None:
        """Start a process and wait until it is ready.

        Raises:
            InputError: it cannot start.
        """
        self._call_timeout_s = call_timeout_s
        self._lost: str | None = None
        self._forgotten: deque[int] = deque()
        self._received = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._line, theirs = socket.socketpair()
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
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )
        try:
            self._read_answer(time.monotonic() + START_TIMEOUT_S)
        except OSError as error:
            what = self._end("did not start")
            raise InputError(
                f"ALFWorld: {what}; check that the alfworld package can be imported and that "
                "there is memory to run it"
            ) from error
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def lost(self) -> str | None:
        """Why the process is gone; None while it serves."""
        return self._lost

    def call(self, method: str, number: int, *arguments: str) -> Any:
        """Call a method of the worker's `Player` for a session.

        Raises:
            InputError: the game is at fault.
            RuntimeError: the engine failed; the process is fine.
            EnvironmentLost: the process died, or did not answer in time and was killed.
        """
        if self._lost:
            raise EnvironmentLost(self._lost)
        try:
            # The limit is for all of it: a process that trickles is as lost as one that hangs.
            deadline = time.monotonic() + self._call_timeout_s
            self._line.settimeout(self._call_timeout_s)
            calls = [["close", forgotten] for forgotten in self._take_forgotten()]
            calls.append([method, number, *arguments])
            self._line.sendall("".join(json.dumps(call) + "\n" for call in calls).encode())
            *_, answer = [self._read_answer(deadline) for _ in calls]
        except TimeoutError:
            raise EnvironmentLost(self._end("did not answer in time")) from None
        except OSError:
            raise EnvironmentLost(self._end("died")) from None
        for note in answer["notes"]:
            log.warning("%s", note)
        fault = answer.get("fault")
        if fault is None:
            return answer["result"]
        if fault["input"]:
            raise InputError(fault["text"])
        raise RuntimeError(f"ALFWorld's engine failed at {method}: {fault['text']}")

    def forget(self, number: int) -> None:
        """Let go of a session with the next call (from any thread)."""
        self._forgotten.append(number)

    def stop(self) -> None:
        """End the process at once."""
        self._lost = self._lost or "the ALFWorld process was stopped"
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)

    def _take_forgotten(self) -> list[int]:
        return [self._forgotten.popleft() for _ in range(len(self._forgotten))]

    def _read_answer(self, deadline: float) -> dict[str, Any]:
        while True:
            line, separator, rest = self._received.partition(b"\n")
            if separator:
                self._received = rest
                return json.loads(line)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._line.settimeout(left)
            more = self._line.recv(RECEIVE_BYTES)
            if not more:
                raise ConnectionResetError
            self._received += more

    def _end(self, what: str) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        code = self._process.poll()
        self._process.kill()
        self._process.wait()
        status = "" if code is None else f" (exit status {code})"
        self._lost = self._lost or f"the ALFWorld process {what}{status}{self._last_words()}"
        return self._lost

    def _last_words(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), 600, max(0, size - 600)).decode(errors="replace")
        lines = [line.strip() for line in tail.splitlines() if line.strip()]
        return f": {lines[-1]}" if lines else ""


def _environment() -> dict[str, str]:
    """This process's, with the package where this process has it."""
    package = str(Path(mpo_core.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
