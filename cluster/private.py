"""A private Ray cluster on this machine, for one run.

It listens on loopback, behind a token, and ends with the process that started it.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from cluster.reach import one_line
from cluster.tempdir import shorten_temporary_folders
from mpo_core.errors import InputError

# Ray gives up 30 seconds after it has started a node's processes, which are some ten imports of
# Python's: too soon on a machine that is busy or reads its disk for the first time.
STARTS = 3
TOO_SLOW = "timed out during startup"


def start_private_cluster(cpus: int, **options: Any) -> Callable[[], None]:
    """Start one and connect to it.

    Args:
        cpus: logical CPUs that it has.
        options: of `ray.init`.

    Returns:
        What undoes the changes to this process's environment, to be called after the shutdown.

    Raises:
        InputError: no folder for its files can be written, the user's token cannot be read, or
            the machine is too busy.
    """
    import ray

    from cluster.ray_node import keep_to_loopback

    # But for the ports by which Serve's replicas call each other: these Ray binds to every address,
    # behind the token that it makes for every private cluster.
    keep_to_loopback()
    undo = _own_token(shorten_temporary_folders())
    # Within Serve's own five seconds a busy machine does not start the HTTP proxy, which Serve
    # then kills and starts again.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "50")

    def start() -> None:
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **options)

    try:
        _until_it_stands(start)
    except BaseException as error:
        undo()
        if isinstance(error, PermissionError | FileExistsError | NotADirectoryError):
            raise InputError(
                f"a private Ray cluster does not start: {one_line(error)}; set RAY_TMPDIR "
                "to a folder that can be written"
            ) from error
        raise
    return undo


def _until_it_stands(start: Callable[[], None]) -> None:
    """Start again where Ray found it too slow; the processes of a start that failed are ended."""
    for _ in range(STARTS):
        before = set(_of_ray())
        try:
            return start()
        except Exception as error:
            if TOO_SLOW not in str(error):
                raise
        left = set(_of_ray()) - before
        for process in left:
            with suppress(psutil.NoSuchProcess):  # It ended with the one that started it.
                process.kill()
        psutil.wait_procs(left)
    raise InputError(
        f"a private Ray cluster does not start on this machine: {STARTS} times it was not up "
        "after half a minute; end what keeps the machine busy, or see Ray's logs in "
        f"{os.environ.get('RAY_TMPDIR') or '/tmp'}/ray/session_latest/logs"
    )


def _of_ray() -> Iterator[psutil.Process]:
    """The processes that Ray has started for this one."""
    import ray

    home = str(Path(ray.__file__).parent)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(word.startswith(home) for word in process.cmdline()):
                yield process


def _own_token(undo: Callable[[], None]) -> Callable[[], None]:
    """Give a private cluster a token where the user has none.

    Ray would write one into the user's home, which may be one that cannot be written.

    Args:
        undo: called where it fails, and by what is returned.

    Raises:
        InputError: RAY_AUTH_TOKEN_PATH names no file with a token.
    """
    from ray.exceptions import AuthenticationError

    from cluster.ray_node import can_read_token, forget_token

    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return undo
    try:
        if can_read_token():
            return undo
    except AuthenticationError as error:
        undo()
        path = os.environ.get("RAY_AUTH_TOKEN_PATH")
        raise InputError(
            f"RAY_AUTH_TOKEN_PATH: {path}: no token can be read there; mend or unset it"
        ) from error
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    forget_token()

    def undo_both() -> None:
        os.environ.pop("RAY_AUTH_TOKEN", None)
        forget_token()
        undo()

    return undo_both
