"""A process that is spoken to in lines, and how such a one is started: what the environments'
processes (`mpo_core.envs.processes`) have in common."""

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from mpo_core.errors import EnvironmentLost, InputError

RECEIVE_BYTES = 1 << 16


def launch(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a process, as `subprocess.Popen`.

    Raises:
        InputError: there is no such program, or it may not be run.
        EnvironmentLost: the machine has no memory or no process left for it.
    """
    try:
        return subprocess.Popen(command, **options)
    except OSError as error:
        what = f"cannot start {error.filename or command[0]}: {error.strerror}"
        if error.errno in (errno.EAGAIN, errno.ENOMEM):
            raise EnvironmentLost(what) from error
        raise InputError(what) from error


class LineProcess:
    """A process that answers calls over a socket, a line each.

    - One thread starts it and makes every call on it. `stop` may be called from any thread.
    - A call is sent once. Whatever goes wrong with the process or the line ends the process, and
      this and every later call raises `EnvironmentLost`: nothing is ever sent again in the hope
      that it was not executed.
    """

    name: ClassVar[str]
    """The environment's name."""
    _process: subprocess.Popen
    _socket: socket.socket

    def __init__(self, call_timeout_s: float) -> None:
        """What a subclass needs to start `_process`, which prints to `_log`, and open `_socket`."""
        self._call_timeout_s = call_timeout_s
        self._lost: str | None = None
        self._received = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def lost(self) -> str | None:
        """Why the process is gone; None while it serves."""
        return self._lost

    def stop(self) -> None:
        """End the process at once."""
        self._lost = self._lost or f"the {self.name} process was stopped"
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)

    def _exchange(self, calls: bytes, answers: int) -> list[bytes]:
        """Send calls in one write and receive their answers.

        Raises:
            EnvironmentLost: the process died, or did not answer in time and was killed.
        """
        if self._lost:
            raise EnvironmentLost(self._lost)
        try:
            # The limit is for all of it: a process that trickles is as lost as one that hangs.
            deadline = time.monotonic() + self._call_timeout_s
            self._socket.settimeout(self._call_timeout_s)
            self._socket.sendall(calls)
            return [self._read_line(deadline) for _ in range(answers)]
        except TimeoutError:
            raise EnvironmentLost(self._end("did not answer in time")) from None
        except OSError:
            raise EnvironmentLost(self._end("died")) from None

    def _read_line(self, deadline: float) -> bytes:
        while True:
            line, separator, rest = self._received.partition(b"\n")
            if separator:
                self._received = rest
                return line
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            more = self._receive()
            if not more:
                raise ConnectionResetError
            self._received += more

    def _receive(self) -> bytes:
        return self._socket.recv(RECEIVE_BYTES)

    def _not_started(self, error: Exception, advice: str) -> Exception:
        """End a process that failed while it started; returns what to raise instead.

        One that ended by itself would do so again: bad input. One that was killed, as by a kernel
        short of memory, or that hung, may well start another time.
        """
        if not isinstance(error, TimeoutError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
        code = self._process.poll()
        hung = isinstance(error, TimeoutError) and code is None
        what = self._end("did not start in time" if hung else "did not start")
        # What a shell or Java makes of a signal, where they pass it on, lies above 128.
        if code is None or code < 0 or code > 128:
            return EnvironmentLost(what)
        return InputError(f"{self.name}: {what}; {advice}")

    def _end(self, what: str) -> str:
        """End a process that went wrong; returns why it is lost."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        code = self._process.poll()
        self._process.kill()
        self._process.wait()
        status = "" if code is None else f" (exit status {code})"
        self._lost = self._lost or f"the {self.name} process {what}{status}{self._last_words()}"
        return self._lost

    def _last_words(self) -> str:
        """The end of what the process printed, as the end of a sentence."""
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), 600, max(0, size - 600)).decode(errors="replace")
        words = self._telling([line.strip() for line in tail.splitlines() if line.strip()])
        return f": {words}" if words else ""

    def _telling(self, lines: list[str]) -> str:
        """What to quote of the last lines that the process printed."""
        return lines[-1] if lines else ""


@cache
def dying_with_parent() -> tuple[str, ...]:
    """What to put before a command so that the kernel ends it with the thread that starts it.

    Nothing, where there is no `setpriv` that can.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    prefix = (setpriv, "--pdeathsig", "KILL")
    works = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if works else ()
