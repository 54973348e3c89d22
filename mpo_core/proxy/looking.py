"""A look at a proxy's folder that leaves it as it is, with no lock, table or journal made in it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mpo_core.errors import InputError
from mpo_core.proxy.store import DATABASE, VERSION

REWARDED = (
    "SELECT count(DISTINCT conversation) FROM feedback"
    " WHERE NOT late AND json_extract(record, '$.final')"
)
ARMS = "SELECT DISTINCT json_extract(record, '$.arm') FROM conversations"


def counts_of(folder: Path) -> tuple[int, int]:
    """How many conversations a folder has, and how many with a final reward; none where no proxy
    has kept anything there yet.

    Raises:
        InputError: what lies there is something else.
    """
    with _looked_at(folder) as database:
        if database is None:
            return 0, 0
        (conversations,) = database.execute("SELECT count(*) FROM conversations").fetchone()
        (rewarded,) = database.execute(REWARDED).fetchone()
    return conversations, rewarded


def arms_of(folder: Path) -> set[str]:
    """The arms that a folder's conversations were drawn into, whether or not there is feedback on
    them. Raises InputError as `counts_of` does."""
    with _looked_at(folder) as database:
        return {arm for (arm,) in database.execute(ARMS)} if database else set()


@contextmanager
def _looked_at(folder: Path) -> Iterator[sqlite3.Connection | None]:
    """The folder's database; None where nothing is kept in it yet."""
    path = folder / DATABASE
    if not path.is_file():
        yield None
        return
    # Only with a journal may another process be writing.
    journal = path.with_name(f"{DATABASE}-wal").exists()
    address = f"{path.absolute().as_uri()}?mode=ro{'' if journal else '&immutable=1'}"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            tables = database.execute("SELECT 1 FROM sqlite_master").fetchone()
            if version != VERSION and (version or tables):
                raise InputError(
                    f"{path}: not a proxy's records as this version keeps them; use another folder"
                )
            yield database if version == VERSION else None
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: {error}; use another folder") from error
