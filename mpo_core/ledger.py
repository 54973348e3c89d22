"""The durable record of what has been done: append-only JSON lines, one writer, fsynced.

Invariants:
- A record is in the ledger when its whole line, newline included, is on disk. A torn last line is
  a record still owed; it is cut off before the next append.
- A key is in the ledger at most once; appending it again is refused.
- One process writes at a time, held by a lock that ends with the process.
- Memory holds the short records whole, and of long ones their figures and place. What it holds is
  what the lines say, whatever an index (`mpo_core.ledger_index`) says of them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, cast

from pydantic import ValidationError

from mpo_core.append_file import append_whole, appending
from mpo_core.errors import InputError
from mpo_core.ledger_index import Index
from mpo_core.types import Record

R = TypeVar("R", bound=Record)
K = TypeVar("K")
READ_AT_ONCE = 2**20
"""Bytes; a long line is read at one go."""


class Ledger(Generic[R, K]):
    """Records of one type in one file, by key. Use as a context manager to write.

    By key, and in the order of the lines, it gives what is kept of the records.
    """

    def __init__(
        self,
        path: Path,
        record: type[R],
        key: Callable[[K], str],
        figures: type[K] | None = None,
    ) -> None:
        """
        Args:
            record: type of the lines.
            key: of what is kept.
            figures: what is kept of a record, made by its `of`, and in an index beside the file; by
                default the record itself.
        """
        self.path = path
        self._record = record
        self._key = key
        self._figures = figures
        self._index = Index(path, figures) if figures else None
        self._file: Any = None
        self._held = ExitStack()
        self._kept: dict[str, K] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0

    def __enter__(self) -> "Ledger[R, K]":
        busy = "another process is writing this run; wait for it or stop it"
        with ExitStack() as held:
            file = held.enter_context(appending(self.path, busy))
            self.read()
            file.truncate(self._end)
            self._held = held.pop_all()
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        self._file = None
        self._held.close()

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def __getitem__(self, key: str) -> K:
        return self._kept[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def whole(self, key: str) -> R:
        """A record as it was appended, read from its line.

        Raises:
            InputError: the file was changed since its lines were read.
        """
        start, length = self._places[key]
        with self.path.open("rb") as file:
            file.seek(start)
            line = file.read(length)
        with suppress(ValidationError):
            record = self._record.model_validate_json(line)
            if self._key(self._keep(record)) == key:
                return record
        raise InputError(
            f"{self.path}: was changed by something else; run the same command again, it goes on "
            "from what the file holds"
        )

    def append(self, *records: R) -> None:
        """Write records as one whole. On a full disk nothing of them stays, and InputError says so.

        Raises:
            InputError: the disk is full or not writable.
            ValueError: a key is there already.
        """
        kept = [self._keep(record) for record in records]
        keys = [self._key(one) for one in kept]
        twice = [key for key in keys if key in self._kept] or len(set(keys)) < len(keys)
        if twice:
            raise ValueError(f"{self.path}: written twice: {twice}")
        lines = [record.model_dump_json().encode() + b"\n" for record in records]
        self._end = self._file.seek(0, os.SEEK_END)
        append_whole(self._file, self.path, self._end, b"".join(lines), durable=True)
        for line, one in zip(lines, kept, strict=True):
            self._note(line, one)
        if self._index:
            self._index.add(zip(lines, kept, strict=True))

    def read(self) -> "Ledger[R, K]":
        """Take note of the whole lines, also while another process writes; none of a missing file.

        Raises:
            InputError: a line is damaged.
        """
        self._kept.clear()
        self._places.clear()
        self._end = number = 0
        if not self.path.is_file():
            return self
        with self.path.open("rb", buffering=READ_AT_ONCE) as file:
            if self._index:
                for line, one in self._index.fitting(file):
                    self._note(line, one)
                    number += 1
            for record, line in _parsed(file, self.path, self._record, number):
                one = self._keep(record)
                self._note(line, one)
                if self._index:
                    self._index.lacks(line, one)
        if self._index:
            self._index.complete()
        return self

    def _keep(self, record: R) -> K:
        figures: Any = self._figures
        return cast(K, figures.of(record) if figures else record)

    def _note(self, line: bytes, one: K) -> None:
        key = self._key(one)
        self._kept[key] = one
        self._places[key] = (self._end, len(line))
        self._end += len(line)


def _parsed(
    file: BinaryIO, path: Path, record: type[R], number: int = 0
) -> Iterator[tuple[R, bytes]]:
    """The whole lines from where the file stands, after so many others; each with its record."""
    for place, line in enumerate(file, start=number + 1):
        if not line.endswith(b"\n"):
            return
        try:
            yield record.model_validate_json(line), line
        except ValidationError as error:
            # A torn write can only be the last line: anything else is damage from outside, and
            # guessing would lose or invent episodes.
            raise InputError(
                f"{path}:{place}: not a {record.__name__}; restore the file or move it away to "
                "start its records anew"
            ) from error


def read_records(path: Path, record: type[R]) -> list[R]:
    """All whole records of a JSON-lines file. Raises InputError for a missing or damaged one."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        return [one for one, _ in _parsed(file, path, record)]
