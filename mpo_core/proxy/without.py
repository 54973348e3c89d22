"""Which conversations began while the proxy's folder could not be written, for all of its workers.

A full disk takes no new record, but a file that is there already can be changed. So this one has
its size from the start: a table of hashes, each at a place of its own, from which only another one
of the same place drives it out.
"""

import hashlib
import logging
import os
from pathlib import Path

from mpo_core.errors import InputError, remedy
from mpo_core.locks import share

log = logging.getLogger(__name__)
FILE = "proxy.without"
PLACES = 4096
WIDTH = 16
"""Bytes of a hash."""


class Without:
    """The table of one folder."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError where the file can neither be made nor opened."""
        path = folder / FILE
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            self._file = os.fdopen(number, "r+b", buffering=0)
            share(path)
            there = os.fstat(number).st_size
            os.pwrite(number, bytes(max(0, PLACES * WIDTH - there)), there)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written: {error.strerror}; {remedy(error)}"
            ) from error

    def __contains__(self, id: str) -> bool:
        hash, at = _place(id)
        return os.pread(self._file.fileno(), WIDTH, at) == hash

    def add(self, id: str) -> None:
        """Note a conversation. What cannot be noted is said in the log."""
        hash, at = _place(id)
        try:
            os.pwrite(self._file.fileno(), hash, at)
        except (OSError, ValueError) as error:
            log.warning("%s is not noted, it may get a plan later: %s", id, error)

    def discard(self, id: str) -> None:
        """Forget a conversation, if it is there."""
        if id in self:
            os.pwrite(self._file.fileno(), bytes(WIDTH), _place(id)[1])

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _place(id: str) -> tuple[bytes, int]:
    """The hash of a conversation's name, and where it stands."""
    hash = hashlib.sha256(id.encode()).digest()[:WIDTH]
    return hash, int.from_bytes(hash[:4], "big") % PLACES * WIDTH
