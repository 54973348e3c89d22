"""The durable record of what has been done: append-only JSON lines, one writer, fsynced.

Invariants:
- A record is in the ledger when its whole line, newline included, is on disk. A torn last line is
  a record still owed; it is cut off before the next append.
- A key is in the ledger at most once; appending it again is refused.
- One process writes at a time, held by a lock that ends with the process.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from mpo_core.errors import InputError, remedy
from mpo_core.locks import locked
from mpo_core.types import Record

R = TypeVar("R", bound=Record)


class Ledger(Generic[R]):
    """Records of one type in one file, by key. Use as a context manager to write."""

    def __init__(self, path: Path, record: type[R], key: Callable[[R], str]) -> None:
        self.path = path
        self._record = record
        self._key = key
        self._file = None
        self._held = ExitStack()
        self._records: dict[str, R] = {}

    def __enter__(self) -> "Ledger[R]":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: after a failed write, no rest of it may linger and reach the disk later.
            file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be opened: {error.strerror}; {remedy(error)}"
            ) from error
        with ExitStack() as held:
            held.enter_context(file)
            try:
                held.enter_context(locked(file.fileno(), self.path))
            except BlockingIOError as error:
                raise InputError(
                    f"{self.path}: another process is writing this run; wait for it or stop it"
                ) from error
            file.truncate(self._read())
            self._held = held.pop_all()
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        self._file = None
        self._held.close()

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __getitem__(self, key: str) -> R:
        return self._records[key]

    def __iter__(self) -> Iterator[R]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def append(self, *records: R) -> None:
        """Write records as one whole. On a full disk nothing of them stays, and InputError says so.

        Raises:
            InputError: the disk is full or not writable.
            ValueError: a key is there already.
        """
        keys = [self._key(record) for record in records]
        twice = [key for key in keys if key in self._records] or len(set(keys)) < len(keys)
        if twice:
            raise ValueError(f"{self.path}: written twice: {twice}")
        lines = b"".join(record.model_dump_json().encode() + b"\n" for record in records)
        end = self._file.seek(0, os.SEEK_END)
        unwritten = memoryview(lines)
        try:
            while unwritten:
                unwritten = unwritten[self._file.write(unwritten) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), end)
            raise InputError(
                f"{self.path}: cannot write: {error.strerror}; {remedy(error)}"
            ) from error
        self._records.update(zip(keys, records, strict=True))

    def _read(self) -> int:
        """Load the whole lines; returns where they end."""
        whole = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = self._record.model_validate_json(line)
                except ValidationError as error:
                    # A torn write can only be the last line: anything else is damage from
                    # outside, and guessing would lose or invent episodes.
                    raise InputError(
                        f"{self.path}:{number}: not a {self._record.__name__}; restore the file "
                        "or move it away to start its records anew"
                    ) from error
                self._records[self._key(record)] = record
                whole += len(line)
        return whole


def read_records(path: Path, record: type[R]) -> list[R]:
    """All whole records of a JSON-lines file. Raises InputError for a missing or damaged one."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    ledger = Ledger(path, record, key=lambda _: str(len(ledger)))
    ledger._read()
    return list(ledger)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a JSON-lines file whole."""
    write_text(path, "".join(record.model_dump_json() + "\n" for record in records))


def write_text(path: Path, text: str) -> None:
    """Write a file whole: after a crash or on a full disk it is there as before, or not at all.

    Raises:
        InputError: the disk is full or not writable.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # Not even its folder need be there.
            temporary.unlink()
        raise InputError(f"{path}: cannot write: {error.strerror}; {remedy(error)}") from error
