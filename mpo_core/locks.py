"""Locks that end with the process that holds them.

`flock` is asked for first, by filelock. Where the file system does not offer it (Lustre mounted
without `flock`, NFS without its lock service), a name in this machine's table of sockets stands for
it: that keeps the processes of one machine apart, those of other machines are not seen, and a
warning says so.

filelock's own `FileLock` is not used. Without `flock` it fails, or makes a marker file that a
killed process leaves behind; it opens a lock file for writing, which one user of a group cannot
where another has made it; and it locks names only, where a ledger is its own lock.
"""

import errno
import hashlib
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

from mpo_core.errors import InputError, remedy

log = logging.getLogger(__name__)

POLL_S = 0.02


@contextmanager
def locked(file: int, path: Path, wait_s: float = 0, *, vital: bool = True) -> Iterator[None]:
    """Hold the lock of an open file.

    Args:
        file: its descriptor.
        path: where it lies.
        wait_s: how long to wait for another process to let go of it.
        vital: whether two holders would do harm, so that a lock that holds less is warned of.

    Raises:
        BlockingIOError: another process holds it, still.
    """
    deadline = time.monotonic() + wait_s
    with ExitStack() as held:
        while True:
            try:
                _take(file, path, held, vital)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(POLL_S)
        yield


@contextmanager
def lock_file(path: Path, wait_s: float = 0, *, vital: bool = True) -> Iterator[None]:
    """Hold the lock of a file that is there for nothing else; it is made where it is missing.

    A user to whom the folder gives it may hold it too, whoever made it.

    Raises:
        BlockingIOError: another process holds it, still.
        InputError: it can be neither made nor opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}; {remedy(error)}") from error
    try:
        with locked(file, path, wait_s, vital=vital):
            yield
    finally:
        os.close(file)


def share(path: Path) -> None:
    """Let the group write what lies in a folder that it may write, where this user may say so."""
    status = path.stat()
    wanted = status.st_mode | (0o070 if path.is_dir() else 0o060)
    of_group = path.parent.stat().st_mode & stat.S_IWGRP
    if of_group and wanted != status.st_mode and status.st_uid == os.geteuid():
        path.chmod(stat.S_IMODE(wanted))


def _open(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.is_file():
            raise
        # Another user's: to lock it, it need not be written.
        return os.open(path, os.O_RDONLY)
    share(path)
    return file


def _take(file: int, path: Path, held: ExitStack, vital: bool) -> None:
    try:
        free = lock_descriptor(file, blocking=False)
    except OSError as error:
        # What file systems without locks answer differs from one to the next.
        if vital:
            _warn_once(os.fstat(file).st_dev, path.parent, error)
        _take_name(path, held)
        return
    if not free:
        raise _held()
    held.callback(unlock_descriptor, file)


def _take_name(path: Path, held: ExitStack) -> None:
    """Lock by a name that only one process of the machine can have: an abstract Unix socket."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    holder = held.enter_context(socket.socket(socket.AF_UNIX))
    try:
        holder.bind(f"\0mpo-lock-{name}")
    except OSError as error:
        holder.close()
        if error.errno == errno.EADDRINUSE:
            raise _held() from error


def _held() -> BlockingIOError:
    return BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))


_WARNED: set[int] = set()
"""Devices that were warned of."""


def _warn_once(device: int, folder: Path, error: OSError) -> None:
    if device not in _WARNED:
        _WARNED.add(device)
        log.warning(
            "%s: its file system offers no file locks (%s); see to it that no other machine works "
            "on the same run at the same time",
            folder,
            error.strerror,
        )
