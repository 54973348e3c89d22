"""Files and folders that are written whole or not at all.

What is written lies beside its place until all of it is there, and then takes the name at once:
readers find what was there before or all of the new, also after a crash or on a full disk. Only a
kill leaves something behind, hidden and by a name that nothing looks for.
"""

import os
import secrets
import shutil
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
    partial = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill; it becomes `path` when the block ends without an error.

    Raises:
        OSError: it cannot be written, or `path` is by then something else than an empty folder;
            nothing of it stays.
    """
    partial = _beside(path)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A name in the same folder that no other process has, on whatever machine."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


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
