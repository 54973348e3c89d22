"""The processes that answer: one's application, and several of them kept alive on one listener."""

import ctypes
import json
import logging
import os
import signal
import time
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from mpo_core.config import ProxyConfig, validated
from mpo_core.errors import InputError
from mpo_core.proxy.access import keys_of

log = logging.getLogger(__name__)
SETTINGS = "MPO_PROXY_SETTINGS"
"""Environment variable by which the workers know what to serve; it holds no keys."""
PR_SET_PDEATHSIG = 1
AGAIN_S = 2.0
"""Before a worker that could not start is replaced."""


def application() -> ASGIApp:
    """The application of a worker, from its environment."""
    # Imported by the workers alone: Prometheus's client settles then whether counts are shared.
    from mpo_core.proxy.app import proxy_app

    told = json.loads(os.environ[SETTINGS])
    config = validated(ProxyConfig, told["config"], "proxy")
    log_lines(config.workers)
    prompts_dir = Path(told["prompts_dir"]) if told["prompts_dir"] else None
    if config.workers > 1:
        end_with_parent()
    try:
        key, upstream_key = keys_of(config)
        return proxy_app(
            config, told["upstream"], key=key, upstream_key=upstream_key, prompts_dir=prompts_dir
        )
    except InputError as error:
        if config.workers == 1:
            raise
        log.error("cannot start: %s", error)
        time.sleep(AGAIN_S)
        raise SystemExit(1) from error


class Workers(Multiprocess):
    """Several processes on one listener; one that dies is replaced."""

    def run(self) -> None:
        """Until interrupted. Raises InputError where a worker cannot start at all."""
        super().run()
        if any(process.exitcode == STARTUP_FAILURE for process in self.processes):
            raise InputError("a worker cannot start; the lines above say why")

    def keep_subprocess_alive(self) -> None:
        before = list(self.processes)
        super().keep_subprocess_alive()
        for old, new in zip(before, self.processes, strict=True):
            if new is not old:
                how = ending(old.exitcode)
                log.warning("worker %s has ended (%s); %s takes its place", old.pid, how, new.pid)

    def terminate_all(self) -> None:
        # Who comes while streams end is to be refused at once, rather than to wait for them.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def ending(code: int | None) -> str:
    """How a process ended, by its exit code."""
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def log_lines(workers: int) -> None:
    """What a running proxy has to say goes to stderr, a line each with its time."""
    logging.basicConfig(level=logging.WARNING)
    who = " worker %(process)d:" if workers > 1 else ""
    lines = logging.Formatter(f"%(asctime)s %(levelname)s{who} %(message)s", "%Y-%m-%d %H:%M:%S")
    for handler in logging.getLogger().handlers:
        handler.setFormatter(lines)
    logging.getLogger("mpo_core.proxy").setLevel(logging.INFO)


def end_with_parent() -> None:
    """Have this process stopped when the one that started it ends, however that does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
