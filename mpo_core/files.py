"""Files and folders that are written whole or not at all.

What is written lies beside its place until all of it is there, and then takes the name at once: a
reader, a crash or a full disk finds what was there before, or all of the new.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mpo_core.errors import InputError, remedy
from mpo_core.types import Record


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file; it takes the place of `path` when the block ends without an error.

    Raises:
        OSError: it cannot be written; nothing of it stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of this process alone: others may write the same file at the same time.
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):  # Not even its folder need be there.
            partial.unlink()
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole.

    Raises:
        InputError: the disk is full or not writable.
    """
    try:
        with whole(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror}; {remedy(error)}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole. Raises InputError as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a JSON-lines file whole. Raises InputError as `write_bytes` does."""
    write_text(path, "".join(record.model_dump_json() + "\n" for record in records))
