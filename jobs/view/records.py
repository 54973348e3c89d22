"""What the pages ask of a run: its episodes by a filter, an episode, a plan, a task, a pair."""

import json
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from jobs.view.index import RunIndex
from mpo_core.proxy.episodes import episode_key_of
from mpo_core.types import Episode, PreferencePair, Record

R = TypeVar("R", bound=Record)

PAGE = 50
SEARCH_SECONDS = 2.0
"""How long a search of the texts may take before it shows what it has found."""
JOINED = """
FROM episode
LEFT JOIN task ON task.rowid = (SELECT min(rowid) FROM task WHERE id = episode.task_id)
LEFT JOIN drawn ON drawn.rowid = (SELECT min(rowid) FROM drawn WHERE key = episode.key)
"""
STEPS = "coalesce(drawn.requests, episode.turns)"
"""Of a caller's episode there are no turns: its agent's requests are its steps."""
EPISODES = f"""
SELECT episode.*, task.env, task.type, task.split, task.description,
    drawn.conversation, drawn.why, drawn.requests, {STEPS} AS steps,
    CASE WHEN drawn.arm IS NOT NULL THEN drawn.arm
    WHEN episode.model = 'expert' THEN 'expert' WHEN episode.plan_id IS NULL THEN 'none'
    ELSE (SELECT replace(group_concat(DISTINCT planner), ',', ', ') FROM plan
        WHERE plan.id = episode.plan_id)
    END AS planner
{JOINED}"""
BY_PLANNER = {
    "none": "episode.plan_id IS NULL AND episode.model != 'expert'",
    "expert": "episode.model = 'expert'",
    "given": "episode.plan_id NOT IN (SELECT id FROM plan)",
}
BY_ITS_PLANS = "episode.plan_id IN (SELECT id FROM plan WHERE planner = ?)"
EQUAL = ("stage", "env", "type", "split", "end", "task_id", "plan_id", "model")
RANGES = ("reward", "steps", "tokens")
SORTS = ("newest", "oldest", "reward", "steps", "tokens")


@dataclass(frozen=True)
class Found:
    """A page of the episodes that a question has found, and the figures of all of them."""

    rows: list[sqlite3.Row]
    total: int
    """With a search of the texts, those found on this page."""
    mean_reward: float | None
    success_rate: float | None
    more: bool
    searched: "Searched | None" = None
    """None where no text was asked for."""


@dataclass(frozen=True)
class Searched:
    """How far a search of the texts has come in the episodes that the other filters leave."""

    before: int
    """Episodes that were passed over, as searched already."""
    until: int
    """The last one whose text was read, counted from 1."""
    of: int


class Gone(Exception):
    """A record's file was changed or removed since it was read; the message is its name."""


class Records:
    """Of one run, by its index."""

    def __init__(self, index: RunIndex) -> None:
        self._folder = index.folder
        self._db = index.db

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM episode").fetchone()[0])

    def episodes(self, asked: dict[str, str], page: int = 1) -> Found:
        """The episodes that a filter leaves.

        Args:
            asked: column -> value, `min_` or `max_` and a column of `RANGES` -> number, `planner`
                (of callers' conversations, the arm that each was drawn into),
                `success` -> 0 or 1, `text` -> what an episode's record holds somewhere,
                `searched` -> how many episodes a search of the texts passes over,
                `sort` -> one of `SORTS`.
            page: of PAGE episodes; a search of the texts goes on by `searched` instead.

        Raises:
            ValueError: a number that is none.
        """
        where, values = _conditions(asked)
        order = _order(asked.get("sort", ""), self._ledgers())
        if asked.get("text"):
            return self._holding(
                asked["text"], where, values, order, int(asked.get("searched") or 0)
            )
        total, mean_reward, success_rate = self._db.execute(
            f"SELECT count(*), avg(reward), avg(success) FROM ({EPISODES}{where})", values
        ).fetchone()
        # The planners of a page's episodes alone are looked up, not of all that are sorted.
        here = f"SELECT episode.rowid {JOINED}{where}{order} LIMIT ? OFFSET ?"
        rows = self._db.execute(
            f"{EPISODES} WHERE episode.rowid IN ({here}){order}",
            [*values, PAGE, (page - 1) * PAGE],
        ).fetchall()
        return Found(rows, total, mean_reward, success_rate, page * PAGE < total)

    def each(self, asked: dict[str, str], most: int | None = None) -> Iterator[sqlite3.Row]:
        """The episodes that a filter leaves, in the order of the ledgers, one by one.

        Args:
            asked: as `episodes` takes it, without `text` and `sort`.
            most: how many at most; all by default.
        """
        where, values = _conditions(asked)
        limit = -1 if most is None else most
        yield from self._db.execute(
            f"{EPISODES}{where}{_order('oldest')} LIMIT ?", [*values, limit]
        )

    def _holding(self, text: str, where: str, values: list[Any], order: str, before: int) -> Found:
        """Those that hold the text among the episodes after the first `before`, as far as a page of
        them or the time goes; at least one is read, so that whoever goes on comes to the end."""
        wanted = json.dumps(text, ensure_ascii=False)[1:-1].encode().lower()
        of = self._db.execute(f"SELECT count(*) FROM ({EPISODES}{where})", values).fetchone()[0]
        # A caller's name for a conversation stands in no episode's text.
        called = episode_key_of(text)
        rows: list[sqlite3.Row] = []
        stop, until = time.monotonic() + SEARCH_SECONDS, before
        for row in self._db.execute(
            f"{EPISODES}{where}{order} LIMIT -1 OFFSET ?", [*values, before]
        ):
            until += 1
            with suppress(Gone):
                if row["key"] == called or wanted in self._line(row).lower():
                    rows.append(row)
            if len(rows) == PAGE or time.monotonic() > stop:
                break
        return Found(rows, len(rows), None, None, until < of, Searched(before, until, of))

    def choices(self) -> dict[str, list[str]]:
        """Column -> the values there are, to choose among."""
        queries = {
            "stage": "SELECT DISTINCT stage FROM episode",
            "env": "SELECT DISTINCT env FROM task",
            "type": "SELECT DISTINCT type FROM task",
            "split": "SELECT DISTINCT split FROM task",
            "end": "SELECT DISTINCT end FROM episode",
            "planner": "SELECT DISTINCT planner FROM plan",
            "model": "SELECT DISTINCT model FROM episode",
            "drawn": "SELECT DISTINCT arm FROM drawn",
        }
        values = {
            name: sorted(row[0] for row in self._db.execute(query) if row[0] is not None)
            for name, query in queries.items()
        }
        drawn = values.pop("drawn")
        return values | {"planner": drawn or ["none", "expert", *values["planner"]]}

    def episode_row(self, key: str) -> sqlite3.Row | None:
        return self._db.execute(f"{EPISODES} WHERE episode.key = ?", (key,)).fetchone()

    def episode(self, row: sqlite3.Row) -> Episode:
        """
        Raises:
            Gone: its file was changed since.
        """
        return self._record(row, Episode)

    def _ledgers(self) -> list[str]:
        """The ledgers, the one that was last written first."""
        names = [row[0] for row in self._db.execute("SELECT DISTINCT file FROM episode")]
        return sorted(names, key=self._written, reverse=True)

    def _written(self, name: str) -> float:
        try:
            return (self._folder / name).stat().st_mtime
        except OSError:
            return 0.0

    def neighbours(self, row: sqlite3.Row) -> tuple[str | None, str | None]:
        """The keys of the episodes before and after it in its ledger."""
        near = "SELECT key FROM episode WHERE file = ? AND place {} ? ORDER BY place {} LIMIT 1"
        before = self._db.execute(near.format("<", "DESC"), (row["file"], row["place"])).fetchone()
        after = self._db.execute(near.format(">", "ASC"), (row["file"], row["place"])).fetchone()
        return before and before[0], after and after[0]

    def named(self, beginning: str) -> list[tuple[str, str]]:
        """(episode, plan or task) and its key or id: those that are it, else that begin so; an
        episode also by what its caller named the conversation."""
        kinds = {"episode": ("episode", "key"), "plan": ("plan", "id"), "task": ("task", "id")}
        whole, begun = [], []
        for kind, (table, column) in kinds.items():
            query = f"SELECT DISTINCT {column} FROM {table} WHERE {column}"
            whole += [(kind, row[0]) for row in self._db.execute(f"{query} = ?", (beginning,))]
            like = self._db.execute(f"{query} >= ? AND {column} < ?", _beginning(beginning))
            begun += [(kind, row[0]) for row in like]
        given = self._db.execute("SELECT plan_id FROM episode WHERE plan_id = ?", (beginning,))
        if not whole and given.fetchone():
            return [("plan", beginning)]
        called = self.episode_row(episode_key_of(beginning))
        if not whole and called:
            return [("episode", called["key"])]
        return whole or begun

    def task(self, task_id: str) -> sqlite3.Row | None:
        return self._db.execute("SELECT * FROM task WHERE id = ?", (task_id,)).fetchone()

    def plans(self, task_id: str) -> list[sqlite3.Row]:
        """A task's plans with what their episodes came to, the best first."""
        return self._db.execute(
            """
            SELECT plan.id, plan.text,
                replace(group_concat(DISTINCT planner), ',', ', ') AS planner,
                (SELECT count(*) FROM episode WHERE plan_id = plan.id) AS n,
                (SELECT avg(reward) FROM episode WHERE plan_id = plan.id) AS mean
            FROM plan WHERE task_id = ? GROUP BY plan.id ORDER BY mean IS NULL, mean DESC
            """,
            (task_id,),
        ).fetchall()

    def plan(self, plan_id: str) -> sqlite3.Row | None:
        """A plan: its task, text and planners; one that stands in no file of plans, as its episodes
        were given it."""
        row = self._db.execute(
            "SELECT id, task_id, text, origin, group_concat(DISTINCT planner) AS planner "
            "FROM plan WHERE id = ? GROUP BY id",
            (plan_id,),
        ).fetchone()
        if row is not None:
            return row
        played = self._db.execute("SELECT * FROM episode WHERE plan_id = ?", (plan_id,)).fetchone()
        if played is None:
            return None
        text = self.episode(played).plan
        return self._db.execute(
            "SELECT ? AS id, ? AS task_id, ? AS text, 'given' AS origin, NULL AS planner",
            (plan_id, played["task_id"], text),
        ).fetchone()

    def pairs(self, name: str, page: int = 1) -> tuple[list[sqlite3.Row], int]:
        """A page of a file's pairs, and how many it has."""
        total = self._db.execute("SELECT count(*) FROM pair WHERE name = ?", (name,)).fetchone()[0]
        rows = self._db.execute(
            "SELECT pair.*, task.env, task.type, task.description FROM pair LEFT JOIN task "
            "ON task.rowid = (SELECT min(rowid) FROM task WHERE id = pair.task_id) "
            "WHERE name = ? ORDER BY number LIMIT ? OFFSET ?",
            (name, PAGE, (page - 1) * PAGE),
        ).fetchall()
        return rows, int(total)

    def pair_files(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT DISTINCT name FROM pair ORDER BY name")]

    def pair(self, name: str, number: int) -> tuple[sqlite3.Row, PreferencePair] | None:
        row = self._db.execute(
            "SELECT * FROM pair WHERE name = ? AND number = ?", (name, number)
        ).fetchone()
        return row and (row, self._record(row, PreferencePair))

    def _record(self, row: sqlite3.Row, kind: type[R]) -> R:
        try:
            return kind.model_validate_json(self._line(row))
        except ValidationError as error:
            raise Gone(row["file"]) from error

    def _line(self, row: sqlite3.Row) -> bytes:
        try:
            with (self._folder / row["file"]).open("rb") as file:
                file.seek(row["place"])
                return file.read(row["length"])
        except OSError as error:
            raise Gone(row["file"]) from error


def _conditions(asked: dict[str, str]) -> tuple[str, list[Any]]:
    """The WHERE of a filter, and its values."""
    parts: list[str] = []
    values: list[Any] = []

    def require(part: str, *given: Any) -> None:
        parts.append(part)
        values.extend(given)

    for name in EQUAL:
        if asked.get(name):
            table = "task" if name in ("env", "type", "split") else "episode"
            require(f"{table}.{name} = ?", asked[name])
    for name in RANGES:
        for bound, sign in (("min", ">="), ("max", "<=")):
            if asked.get(f"{bound}_{name}"):
                column = STEPS if name == "steps" else f"episode.{name}"
                require(f"{column} {sign} ?", float(asked[f"{bound}_{name}"]))
    if asked.get("success"):
        require("episode.success = ?", ("0", "1").index(asked["success"]))
    if planner := asked.get("planner"):
        by_plan = BY_PLANNER.get(planner, BY_ITS_PLANS)
        named = [planner] if by_plan == BY_ITS_PLANS else []
        arm = f"CASE WHEN drawn.arm IS NULL THEN {by_plan} ELSE drawn.arm = ? END"
        require(arm, *named, planner)
    return (" WHERE " + " AND ".join(parts) if parts else ""), values


def _beginning(text: str) -> tuple[str, str]:
    """The least text that begins so, and the least one after all of those."""
    return text, text + chr(sys.maxunicode)


def _order(sort: str, ledgers: Sequence[str] = ()) -> str:
    """The ORDER BY of a sort. No record says when it was written: the newest are the last ones of
    the ledger that comes first."""
    names = (name.replace("'", "''") for name in ledgers)
    places = " ".join(f"WHEN '{name}' THEN {place}" for place, name in enumerate(names))
    ledger = f"CASE episode.file {places} END, " if places else ""
    by = {
        "oldest": "episode.rowid",
        "reward": "episode.reward DESC, episode.rowid",
        "steps": f"{STEPS} DESC, episode.rowid",
        "tokens": "episode.tokens DESC, episode.rowid",
    }
    return f" ORDER BY {by.get(sort, f'{ledger}episode.rowid DESC')}"
