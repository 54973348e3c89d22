"""A file of lines that one process appends to: held by a lock that ends with the process, and each
write whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mpo_core.errors import InputError, remedy
from mpo_core.locks import locked


@contextmanager
def appending(path: Path, busy: str, wait_s: float = 0) -> Iterator[Any]:
    """The file, made where it is missing, for this process alone.

    Args:
        busy: what is said where another process has it, and what to do.
        wait_s: for another process to let go of it.

    Raises:
        InputError: it cannot be opened, or another process has it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: after a failed write, no rest of it may linger and reach the disk later.
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}; {remedy(error)}") from error
    with ExitStack() as held:
        held.enter_context(file)
        try:
            held.enter_context(locked(file.fileno(), path, wait_s))
        except BlockingIOError as error:
            raise InputError(f"{path}: {busy}") from error
        yield file


def append_whole(file: Any, path: Path, end: int, content: bytes, *, durable: bool) -> None:
    """Append to a file of so many bytes; a durable write is on disk at its end.

    Raises:
        InputError: the disk is full or not writable; nothing of the content stays.
    """
    unwritten = memoryview(content)
    try:
        while unwritten:
            unwritten = unwritten[file.write(unwritten) :]
        if durable:
            os.fsync(file.fileno())
    except OSError as error:
        os.ftruncate(file.fileno(), end)
        raise InputError(f"{path}: cannot write: {error.strerror}; {remedy(error)}") from error
