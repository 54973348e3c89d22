"""Where a run's records stand in its files, and their figures, in SQLite beside them.

Invariants:
- The run's files are the truth and are only read. `view.sqlite` is a copy of some of it that may be
  deleted at any time; where it cannot be written, it is kept in memory.
- It grows with the files: what was appended is read, what was read is not read again. A file that
  is not the one that was read (shorter, or with another line where the last one read stood) is read
  anew.
- A line that is torn or damaged is left out, until it is whole.
- Whose plan an episode was given is decided by its plan; of callers' conversations, by the arm that
  each was drawn into (`conversations.jsonl`), whoever else has written the same plan.
- A planner's plans that are not the run's own (`jobs.origins`) are named apart; which ones are may
  change while the run goes on, and then its plans are read anew.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import ValidationError
from xxhash import xxh3_64_hexdigest

from jobs.origins import Origins, origins_of, planner_of
from mpo_core.errors import InputError
from mpo_core.ledger_index import Index
from mpo_core.proxy.episodes import Assignment
from mpo_core.run_folder import RunFolder
from mpo_core.types import Episode, EpisodeFigures, Plan, PreferencePair, Task, content_hash

VERSION = 3
NOT_OWN = " (earlier)"
"""After the name of a planner whose plans are not the run's own."""
AT_ONCE = 500
"""Lines a transaction: what is read shows soon, and costs little to write."""
SCHEMA = """
CREATE TABLE source (file TEXT PRIMARY KEY, read INTEGER, last INTEGER, mark TEXT);
CREATE TABLE task (
    file TEXT, place INTEGER, length INTEGER,
    id TEXT, env TEXT, type TEXT, split TEXT, description TEXT
);
CREATE TABLE plan (
    file TEXT, place INTEGER, length INTEGER,
    id TEXT, task_id TEXT, planner TEXT, own INTEGER, sample INTEGER, origin TEXT, text TEXT
);
CREATE TABLE episode (
    file TEXT, place INTEGER, length INTEGER,
    key TEXT, stage TEXT, task_id TEXT, plan_id TEXT, model TEXT, repetition INTEGER, reward REAL,
    success INTEGER, end TEXT, turns INTEGER, tokens INTEGER, seconds REAL
);
CREATE TABLE drawn (
    file TEXT, place INTEGER, length INTEGER,
    key TEXT, conversation TEXT, arm TEXT, why TEXT, requests INTEGER
);
CREATE TABLE pair (
    file TEXT, place INTEGER, length INTEGER,
    number INTEGER, name TEXT, task_id TEXT, chosen TEXT, rejected TEXT,
    chosen_mean REAL, rejected_mean REAL
);
CREATE INDEX task_id ON task (id);
CREATE INDEX plan_id ON plan (id);
CREATE INDEX plan_task ON plan (task_id);
CREATE INDEX plan_planner ON plan (planner);
CREATE INDEX episode_key ON episode (key);
CREATE INDEX episode_task ON episode (task_id);
CREATE INDEX episode_plan ON episode (plan_id);
CREATE INDEX drawn_key ON drawn (key);
CREATE INDEX drawn_arm ON drawn (arm);
CREATE INDEX pair_file ON pair (file);
"""
TABLES = ("source", "task", "plan", "episode", "drawn", "pair")


class RunIndex:
    """The index of one run's folder. For one thread at a time."""

    def __init__(self, folder: Path, *, kept: bool = True) -> None:
        """`kept`: whether the index is written beside the files, for the next time."""
        self.folder = folder
        self.origins = Origins()
        self._noted = self._name(RunFolder(folder).origins)
        self.db = _opened(RunFolder(folder).view) if kept else _prepared(":memory:")

    def close(self) -> None:
        self.db.close()

    def refresh(self) -> Iterator[int]:
        """Reads what the files have got since; gives the lines read so far, every now and then."""
        self._look_at_origins()
        read, files = 0, self._files()
        there = {self._noted, *(self._name(path) for path, _ in files)}
        for (name,) in self.db.execute("SELECT file FROM source").fetchall():
            if name not in there:
                self._forget(name)
        for path, note in files:
            # What cannot be read says nothing; another run's or file's records still do.
            with suppress(OSError):
                for lines in self._grow(path, note):
                    read += lines
                    yield read

    def behind(self) -> int:
        """Bytes of the run's files that were not yet read."""
        read = dict(self.db.execute("SELECT file, read FROM source"))
        behind = 0
        for path, _ in self._files():
            with suppress(OSError):
                behind += max(0, path.stat().st_size - read.get(self._name(path), 0))
        return behind

    def _files(self) -> list[tuple[Path, "_Note"]]:
        """The run's files of records, each with what takes note of its lines."""
        files = RunFolder(self.folder)
        notes: dict[_Kind, _Note] = {**_NOTES, "plans": partial(_note_plan, self.origins)}
        found = [(path, note) for kind, note in notes.items() for path in files.records(kind)]
        drawn: list[tuple[Path, _Note]] = [(files.conversations, _note_drawn)]
        return [*(drawn if files.conversations.is_file() else []), *found]

    def _look_at_origins(self) -> None:
        """Forget the plans where other ones are the run's own than when they were read."""
        try:
            self.origins = origins_of(RunFolder(self.folder))
        except InputError:
            self.origins = Origins()  # Damaged: the run itself says so.
        mark = content_hash(asdict(self.origins))
        known = self.db.execute("SELECT mark FROM source WHERE file = ?", (self._noted,)).fetchone()
        if known and known[0] == mark:
            return
        for path in RunFolder(self.folder).records("plans"):
            self._forget(self._name(path))
        with _writing(self.db):
            self.db.execute(
                "INSERT OR REPLACE INTO source VALUES (?, 0, 0, ?)", (self._noted, mark)
            )

    def _forget(self, name: str) -> None:
        with _writing(self.db):
            for table in TABLES:
                self.db.execute(f"DELETE FROM {table} WHERE file = ?", (name,))

    def _grow(self, path: Path, note: "_Note") -> Iterator[int]:
        name = self._name(path)
        with path.open("rb", buffering=2**20) as file:
            start = self._read_before(file, name)
            lines = _lines(file, path, start)
            while batch := list(islice(lines, AT_ONCE)):
                with _writing(self.db):
                    if self._read(name) != batch[0].place:
                        return  # Another viewer reads this run too, and was faster.
                    for line in batch:
                        with suppress(ValidationError, OverflowError):
                            note(self.db, name, line)
                    last = batch[-1]
                    self.db.execute(
                        "INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?)",
                        (name, last.place + last.length, last.place, xxh3_64_hexdigest(last.text)),
                    )
                yield len(batch)

    def _read_before(self, file: BinaryIO, name: str) -> int:
        """Where the part of the file ends that is in the index; another file's is thrown out."""
        row = self.db.execute("SELECT * FROM source WHERE file = ?", (name,)).fetchone()
        if row is None:
            return 0
        file.seek(row["last"])
        if xxh3_64_hexdigest(file.read(row["read"] - row["last"])) == row["mark"]:
            return int(row["read"])
        self._forget(name)
        return 0

    def _read(self, name: str) -> int:
        row = self.db.execute("SELECT read FROM source WHERE file = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


@dataclass(frozen=True)
class _Line:
    place: int
    text: bytes
    figures: EpisodeFigures | None = None
    """Where the ledger's own index has them."""

    @property
    def length(self) -> int:
        return len(self.text)


def _opened(path: Path) -> sqlite3.Connection:
    """The index at a path, made anew where it is damaged; in memory where nothing can be written
    there."""
    try:
        return _prepared(str(path))
    except sqlite3.OperationalError:
        return _prepared(":memory:")
    except sqlite3.DatabaseError:
        for ending in ("", "-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return _prepared(str(path))


def _prepared(place: str) -> sqlite3.Connection:
    db = sqlite3.connect(place, timeout=30, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    with _writing(db):
        if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            for table in TABLES:
                db.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
    if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        db.close()
        raise sqlite3.DatabaseError("damaged")
    return db


@contextmanager
def _writing(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and one process at a time."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _lines(file: BinaryIO, path: Path, start: int) -> Iterator[_Line]:
    """The whole lines from a place on; episodes with their figures as far as the ledger's own index
    goes."""
    file.seek(start)
    if start == 0 and path.parent.name == "episodes":
        for line, figures in Index(path, EpisodeFigures).fitting(file):
            yield _Line(start, line, figures)
            start += len(line)
    for line in file:
        if not line.endswith(b"\n"):
            return
        yield _Line(start, line)
        start += len(line)


def _insert(db: sqlite3.Connection, table: str, *values: Any) -> None:
    db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


def _note_task(db: sqlite3.Connection, file: str, line: _Line) -> None:
    task = Task.model_validate_json(line.text)
    _insert(
        db, "task", file, line.place, line.length,
        task.id, task.env, task.type, task.split, task.description,
    )  # fmt: skip


def _note_plan(origins: Origins, db: sqlite3.Connection, file: str, line: _Line) -> None:
    plan = Plan.model_validate_json(line.text)
    planner, own = planner_of(file, plan.origin), origins.is_own(file, plan.origin)
    _insert(
        db, "plan", file, line.place, line.length,
        plan.id, plan.task_id, planner if own else f"{planner}{NOT_OWN}", own, plan.sample,
        plan.origin, plan.text,
    )  # fmt: skip


def _note_episode(db: sqlite3.Connection, file: str, line: _Line) -> None:
    one = line.figures or EpisodeFigures.of(Episode.model_validate_json(line.text))
    _insert(
        db, "episode", file, line.place, line.length,
        one.key, Path(file).stem, one.task_id, one.plan_id, one.model, one.repetition, one.reward,
        one.success, one.end, one.steps, one.prompt_tokens + one.completion_tokens, one.seconds,
    )  # fmt: skip


def _note_drawn(db: sqlite3.Connection, file: str, line: _Line) -> None:
    one = Assignment.model_validate_json(line.text)
    _insert(
        db, "drawn", file, line.place, line.length,
        one.key, one.conversation, one.arm, one.why, one.requests,
    )  # fmt: skip


def _note_pair(db: sqlite3.Connection, file: str, line: _Line) -> None:
    pair = PreferencePair.model_validate_json(line.text)
    before = db.execute(
        "SELECT number FROM pair WHERE file = ? ORDER BY rowid DESC LIMIT 1", (file,)
    ).fetchone()
    number = before[0] + 1 if before else 1
    chosen, rejected = pair.chosen_score, pair.rejected_score
    _insert(
        db, "pair", file, line.place, line.length,
        number, Path(file).stem, pair.task_id, chosen.plan_id, rejected.plan_id,
        chosen.mean, rejected.mean,
    )  # fmt: skip


_Note = Callable[[sqlite3.Connection, str, _Line], None]
_Kind = Literal["tasks", "plans", "episodes", "pairs"]
_NOTES: dict[_Kind, _Note] = {
    "tasks": _note_task,
    "plans": partial(_note_plan, Origins()),
    "episodes": _note_episode,
    "pairs": _note_pair,
}
