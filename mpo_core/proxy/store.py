"""The proxy's folder: conversations, the feedback on them, and what they have cost.

Invariants:
- What a call has returned is on disk: neither a kill of any process nor a power cut takes it back.
  What conversations have cost, and their messages, may lose the last second to a power cut.
- A conversation is kept as it was first written, whoever writes it again.
- A conversation has at most one final feedback, and each feedback is kept once. What comes after
  the final one and says something else is kept apart, and counts for nothing.

A ledger (`mpo_core.ledger`) has one writer, which holds what it has written in memory. Here, the
processes of one machine write at once, each has to see what the others have written before it can
say whether a feedback repeats another, and memory must not grow with the conversations: a database
does all three.

Every write holds the lock of the folder, also against other threads, although SQLite has its own:
in its releases before 3.51.3, two connections that write at the same moment can, once in a very
long time, damage a database with a write-ahead log. The folder must lie on a disk of the machine;
network file systems do not carry such a log.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from mpo_core.errors import InputError, remedy
from mpo_core.locks import locked, share
from mpo_core.proxy.records import Conversation, Feedback, Usage
from mpo_core.types import Plan, Record

DATABASE = "proxy.db"
LOCK = "proxy.lock"
FILES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", LOCK)
"""Of the folder, as long as a process uses it."""
VERSION = 1
"""Of the tables; another is refused."""
WAIT_S = 30
"""For another process of the folder to finish its write, each of which takes milliseconds."""
READ_AT_ONCE = 500
"""Records; a reader holds nothing between two reads."""
R = TypeVar("R", bound=Record)
Kept = Literal["stored", "repeated", "late", "unknown"]

PLAN_OF = "json_extract(record, '$.plan_id'), json_extract(record, '$.planner')"
"""By which the plans of a task's conversations are told apart."""
TABLES = f"""
CREATE TABLE conversations (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, task_id TEXT NOT NULL, record TEXT NOT NULL
);
CREATE INDEX by_plan ON conversations (task_id, {PLAN_OF});
CREATE TABLE feedback (
    number INTEGER PRIMARY KEY, conversation TEXT NOT NULL, late INTEGER NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX by_conversation ON feedback (conversation);
CREATE TABLE usage (
    id TEXT PRIMARY KEY, requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE messages (id TEXT PRIMARY KEY, messages TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE names (name TEXT PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID;
"""


class StoreFault(InputError):
    """The folder cannot be used at this moment; what was to be kept is not."""


class Store:
    """One folder's records, for the threads of one process; each process opens it anew."""

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        """
        Args:
            create: make what is missing of the folder.

        Raises:
            InputError: there is no such folder and it is not to be made, it cannot be written, or
                what lies there is something else.
        """
        self.folder = folder
        self.path = folder / DATABASE
        self._place = folder.absolute()
        if not create and not self.path.is_file():
            raise InputError(
                f"{folder}: no proxy has kept anything here (no {DATABASE}); name the folder that "
                "`mpo proxy` or `mpo serve --proxy` was given"
            )
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._lock = self._opened_lock()
        try:
            with self._said(), self._alone():
                self._writer, self._reader = self._connected(), self._connected()
                self._prepare()
                # It opens the files by their names when it first reads.
                self._reader.execute("PRAGMA user_version").fetchone()
                self._files = self._there()
        except InputError:
            os.close(self._lock)
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        with self._reading, self._said(), self._alone():
            self._reader.close()
            self._writer.close()
        os.close(self._lock)

    # ------------------------------------------------------------------------- what is written

    def open_conversation(self, conversation: Conversation) -> Conversation:
        """Keep a conversation, unless it is there already; returns what is kept of its id."""
        row = (conversation.id, conversation.task_id, conversation.model_dump_json())
        with self._transaction() as database:
            database.execute(
                "INSERT INTO conversations (id, task_id, record) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO NOTHING",
                row,
            )
            kept = _conversation(database, conversation.id)
        assert kept is not None
        return kept

    def feedback(self, feedback: Feedback) -> Kept:
        """Keep what a caller reports.

        Returns:
            `stored`: the conversation's final feedback, or another one before it; `repeated`: it
            says what was said already; `late`: the final feedback has said something else;
            `unknown`: there is no such conversation, and nothing is kept.
        """
        with self._transaction() as database:
            if _conversation(database, feedback.conversation) is None:
                return "unknown"
            said = "SELECT record, late FROM feedback WHERE conversation = ? ORDER BY number"
            rows = database.execute(said, (feedback.conversation,)).fetchall()
            before = [(Feedback.model_validate_json(record), late) for record, late in rows]
            kept, new = told_apart(feedback, before)
            if new:
                database.execute(
                    "INSERT INTO feedback (conversation, late, record) VALUES (?, ?, ?)",
                    (feedback.conversation, kept == "late", feedback.model_dump_json()),
                )
        return kept

    def record_usage(
        self, id: str, requests: int, prompt_tokens: int, completion_tokens: int
    ) -> None:
        """Add to what a conversation has cost."""
        with self._transaction(durable=False) as database:
            database.execute(
                "INSERT INTO usage VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " requests = requests + excluded.requests,"
                " prompt_tokens = prompt_tokens + excluded.prompt_tokens,"
                " completion_tokens = completion_tokens + excluded.completion_tokens",
                (id, requests, prompt_tokens, completion_tokens),
            )

    def record_messages(self, id: str, messages: list[Any]) -> None:
        """Keep a conversation's messages so far, in the place of those kept before."""
        with self._transaction(durable=False) as database:
            database.execute(
                "INSERT INTO messages VALUES (?, ?)"
                " ON CONFLICT (id) DO UPDATE SET messages = excluded.messages",
                (id, json.dumps(messages)),
            )

    def name(self, name: str, id: str) -> None:
        """Let a conversation be known by another name, which may have been another one's."""
        with self._transaction(durable=False) as database:
            database.execute(
                "INSERT INTO names VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET id = excluded.id",
                (name, id),
            )

    # ---------------------------------------------------------------------------- what is read

    def conversation(self, id: str) -> Conversation | None:
        """What is kept of a conversation."""
        with self._said(), self._reading:
            return _conversation(self._reader, id)

    def named(self, name: str) -> str | None:
        """The conversation that is known by another name."""
        rows = self._read("SELECT id FROM names WHERE name = ?", name)
        return rows[0][0] if rows else None

    def plans_of(self, task_id: str) -> list[tuple[Plan, int]]:
        """The plans that a task's conversations were given, each with their number, the first
        given first; the same text by another planner is another plan (`Plan.origin`)."""
        # Of the rows of a plan, `record` is that of the least number.
        rows = self._read(
            f"SELECT min(number), count(*), record FROM conversations WHERE task_id = ?"
            f" GROUP BY {PLAN_OF} ORDER BY min(number)",
            task_id,
        )
        given = [(self._parsed(Conversation, record).given, n) for _, n, record in rows]
        return [(plan, n) for plan, n in given if plan is not None]

    def conversations(self) -> Iterator[Conversation]:
        """All conversations, in the order they began; others may be begun meanwhile."""
        for record in self._in_parts("conversations"):
            yield self._parsed(Conversation, record)

    def rewards(self) -> dict[str, Feedback]:
        """Conversation -> its final feedback, by which it counts."""
        return {f.conversation: f for f in self._feedback("NOT late") if f.final}

    def unfinished(self) -> set[str]:
        """The conversations of which there is feedback, and none that is final."""
        return {f.conversation for f in self._feedback("NOT late")} - self.rewards().keys()

    def late(self) -> list[Feedback]:
        """What came after a final feedback and said something else."""
        return list(self._feedback("late"))

    def counts(self) -> dict[str, int]:
        """How many `conversations` there are, how many with `final` feedback, how many with other
        feedback alone (`unfinished`), and how many feedbacks came `late`."""
        final = self.rewards().keys()
        return {
            "conversations": self._read("SELECT count(*) FROM conversations")[0][0],
            "final": len(final),
            "unfinished": len(self.unfinished()),
            "late": self._read("SELECT count(*) FROM feedback WHERE late")[0][0],
        }

    def usage(self) -> dict[str, Usage]:
        """Conversation -> what it has cost."""
        rows = self._read("SELECT id, requests, prompt_tokens, completion_tokens FROM usage")
        return {
            id: Usage(requests=requests, prompt_tokens=prompt, completion_tokens=completion)
            for id, requests, prompt, completion in rows
        }

    def messages(self, id: str) -> list[Any]:
        """A conversation's messages, where they were kept."""
        rows = self._read("SELECT messages FROM messages WHERE id = ?", id)
        with self._said():
            return json.loads(rows[0][0]) if rows else []

    # --------------------------------------------------------------------------- the database

    def _feedback(self, which: str) -> Iterator[Feedback]:
        for record in self._in_parts("feedback", which):
            yield self._parsed(Feedback, record)

    def _in_parts(self, table: str, which: str = "TRUE") -> Iterator[str]:
        after = 0
        query = (
            f"SELECT number, record FROM {table} WHERE number > ? AND {which}"
            f" ORDER BY number LIMIT {READ_AT_ONCE}"
        )
        while rows := self._read(query, after):
            yield from (record for _, record in rows)
            after = rows[-1][0]

    def _parsed(self, kind: type[R], record: str) -> R:
        with self._said():
            return kind.model_validate_json(record)

    def _read(self, query: str, *values: Any) -> list[Any]:
        with self._said(), self._reading:
            return self._reader.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A write that is done whole or not at all; a durable one is on disk at its end."""
        with self._said(), self._alone():
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._require_same_files()
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def _there(self) -> dict[str, tuple[int, int]]:
        """By what the folder's files are told from others that come to have their names."""
        found = {}
        for name in FILES:
            with suppress(OSError):
                file = (self._place / name).stat()
                found[name] = file.st_dev, file.st_ino
        return found

    def _require_same_files(self) -> None:
        """What is written to a file that has no name any more ends with the processes that have it
        open, and no other process sees it."""
        if self._there() != self._files:
            raise StoreFault(
                f"{self.folder}: its records were moved, removed or replaced, some or all, while "
                "they were in use; start anew what uses them"
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread or process writes."""
        with self._writing:
            try:
                with locked(self._lock, self.folder / LOCK, WAIT_S):
                    yield
            except BlockingIOError as error:
                raise StoreFault(
                    f"{self.folder}: another process has been writing for {WAIT_S} s; see whether "
                    "it hangs"
                ) from error

    @contextmanager
    def _said(self) -> Iterator[None]:
        """What SQLite cannot do is bad input: a full disk, no access, another kind of file; and so
        is a record that is damaged."""
        try:
            yield
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
            raise
        except (ValidationError, json.JSONDecodeError) as error:
            raise InputError(
                f"{self.path}: a record in it is damaged; put a copy of the file in its place, or "
                "use another folder"
            ) from error
        except sqlite3.DatabaseError as error:
            raise StoreFault(
                f"{self.path}: {error}; free some space, let its owner give you access, or use "
                "another folder"
            ) from error

    def _opened_lock(self) -> int:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            share(self.folder / LOCK)
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot be written: {error.strerror}; {remedy(error)}"
            ) from error
        return lock

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, timeout=WAIT_S, isolation_level=None, check_same_thread=False
        )

    def _prepare(self) -> None:
        """Make the tables of a new database; look at those of one that is there."""
        database = self._writer
        (version,) = database.execute("PRAGMA user_version").fetchone()
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version != VERSION and (version or tables):
            raise InputError(
                f"{self.path}: not a proxy's records as this version keeps them; use another folder"
            )
        (mode,) = database.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise InputError(f"{self.folder}: not on a disk of this machine; use another folder")
        if version != VERSION:
            database.execute("BEGIN IMMEDIATE")
            for table in TABLES.split(";")[:-1]:
                database.execute(table)
            database.execute(f"PRAGMA user_version = {VERSION}")
            database.execute("COMMIT")
            share(self.path)


def told_apart(feedback: Feedback, before: Iterable[tuple[Feedback, bool]]) -> tuple[Kept, bool]:
    """What a feedback is, after those kept of its conversation, each with whether it was late; and
    whether it is to be kept."""
    counting = [one for one, late in before if not late]
    final = next((one for one in counting if one.final), None)
    if final is None:
        repeats = counting and (counting[-1].says, False) == (feedback.says, feedback.final)
        return ("repeated", False) if repeats else ("stored", True)
    if feedback.adds_nothing_to(final):
        return "repeated", False
    # An earlier one that arrives once more, such as by a caller's retry, contradicts nothing.
    if not feedback.final and any(map(feedback.adds_nothing_to, counting)):
        return "repeated", False
    said_late = [(one.says, one.final) for one, late in before if late]
    return "late", (feedback.says, feedback.final) not in said_late


def _conversation(database: sqlite3.Connection, id: str) -> Conversation | None:
    query = "SELECT record FROM conversations WHERE id = ?"
    row = database.execute(query, (id,)).fetchone()
    return Conversation.model_validate_json(row[0]) if row else None
