"""The figures of a ledger's records, kept beside it, so that a long ledger opens without its
records being parsed.

Invariants:
- The ledger is the truth, the index a copy of some of it. An entry's mark is a checksum over the
  ledger's line and the entry itself. The n-th entry counts if its mark is that of the ledger's n-th
  line; the first that does not fit ends what is believed, and the lines from there on are parsed.
- So it may be missing, torn, behind, damaged or another ledger's: reading is slower then, once, and
  gives the same.
- Nothing is owed to it: where it cannot be written, the work goes on without.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from sys import intern
from typing import BinaryIO, Generic, TypeVar

from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from mpo_core.errors import InputError
from mpo_core.files import write_bytes

F = TypeVar("F")
VERSION = 1
"""Of what the figures mean; another index is of no use."""


class Index(Generic[F]):
    """The entries of a ledger's lines: `mark row`, the row being the figures as a JSON list."""

    def __init__(self, ledger: Path, figures: type[F]) -> None:
        """
        Args:
            figures: a flat dataclass of what JSON can hold.
        """
        assert is_dataclass(figures)
        names = [field.name for field in fields(figures)]
        self.path = ledger.with_suffix(".index")
        self._figures = figures
        self._values = attrgetter(*names)
        self._head = json.dumps([VERSION, *names]).encode() + b"\n"
        self._fit = 0
        self._lacking: list[bytes] = []

    def fitting(self, ledger: BinaryIO) -> Iterator[tuple[bytes, F]]:
        """The ledger's lines from its start, each with its figures, as far as the entries fit;
        then it stands where they end."""
        self._fit, self._lacking = 0, []
        end = ledger.tell()
        for entry in self._entries():
            line = ledger.readline()
            mark, _, row = entry.partition(b" ")
            if mark != _mark(line, row):
                ledger.seek(end)
                return
            end += len(line)
            self._fit += len(entry)
            # Most texts are the same in many entries, and are held once.
            values = [intern(v) if isinstance(v, str) else v for v in json.loads(row)]
            yield line, self._figures(*values)

    def lacks(self, line: bytes, figures: F) -> None:
        """Note an entry that follows those that fit."""
        self._lacking.append(self._entry(line, figures))

    def complete(self) -> None:
        """Write the index anew where it is not those entries that fit and those it lacks."""
        whole = len(self._head) + self._fit
        if not self._lacking and self._size() == whole:
            return
        with suppress(OSError, InputError):
            fit = self.path.read_bytes()[:whole] if self._fit else self._head
            write_bytes(self.path, fit + b"".join(self._lacking))
        self._lacking = []

    def add(self, lines: Iterable[tuple[bytes, F]]) -> None:
        """Append the entries of lines that the ledger has got."""
        with suppress(OSError), self.path.open("ab", buffering=0) as file:
            file.write(b"".join(self._entry(line, figures) for line, figures in lines))

    def _entries(self) -> Iterator[bytes]:
        with suppress(OSError), self.path.open("rb") as file:
            if file.readline() == self._head:
                yield from file

    def _entry(self, line: bytes, figures: F) -> bytes:
        row = json.dumps(self._values(figures), separators=(",", ":")).encode() + b"\n"
        return _mark(line, row) + b" " + row

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0


def _mark(line: bytes, row: bytes) -> bytes:
    return xxh3_64_hexdigest(line, seed=xxh3_64_intdigest(row)).encode()
