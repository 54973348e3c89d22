"""A look at a proxy's folder that leaves it as it is, with no lock, table or journal made in it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mpo_core.errors import InputError
from mpo_core.proxy.store import DATABASE, VERSION

REWARDED = (
    "SELECT count(DISTINCT conversation) FROM feedback"
    " WHERE NOT late AND json_extract(record, '$.final')"
)


def counts_of(folder: Path) -> tuple[int, int]:
    """How many conversations a folder has, and how many with a final reward; none where no proxy
    has kept anything there yet.

    Raises:
        InputError: what lies there is something else.
    """
    path = folder / DATABASE
    if not path.is_file():
        return 0, 0
    # Only with a journal may another process be writing.
    journal = path.with_name(f"{DATABASE}-wal").exists()
    address = f"{path.absolute().as_uri()}?mode=ro{'' if journal else '&immutable=1'}"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                if version or database.execute("SELECT 1 FROM sqlite_master").fetchone():
                    raise InputError(
                        f"{path}: not a proxy's records as this version keeps them; use another "
                        "folder"
                    )
                return 0, 0
            (conversations,) = database.execute("SELECT count(*) FROM conversations").fetchone()
            (rewarded,) = database.execute(REWARDED).fetchone()
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: {error}; use another folder") from error
    return conversations, rewarded
