"""A run's episodes for other tools, out of its folder alone: neither models nor environments are
needed, and the run may still be going on."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from jobs.view.index import RunIndex
from jobs.view.records import BY_PLANNER, Gone, Records
from mpo_core.errors import InputError
from mpo_core.interchange import Format, Played, check_out, write_episodes
from mpo_core.progress import Bar
from mpo_core.run_folder import RunFolder


def export_episodes(
    folder: Path, form: Format, out: Path, asked: dict[str, str], limit: int | None = None
) -> int:
    """Write the episodes of a run's folder that a filter leaves; returns how many there were.

    Args:
        asked: as `Records.episodes` takes it.
        limit: how many at most, the first of the ledgers.

    Raises:
        InputError: the filter leaves none or names what the run does not have, `out` cannot be
            written, or a ledger is changed meanwhile; nothing is written then.
    """
    check_out(form, out)
    with closing(RunIndex(folder)) as index:
        _read(index)
        records = Records(index)
        _check(records, asked)
        total = records.episodes(asked).total
        if not total:
            chosen = " ".join(f"{_option(name)} {value}" for name, value in asked.items())
            raise InputError(f"{folder}: no episodes {f'with {chosen}' if chosen else 'yet'}")
        total = total if limit is None else min(limit, total)
        with Bar("export", total, 0, "episodes") as shown:
            found = _played(records, folder, asked, limit, shown.update)
            return write_episodes(form, found, out)


def _read(index: RunIndex) -> None:
    if not index.behind():
        for _ in index.refresh():  # What was taken away is not behind.
            pass
        return
    try:
        with Bar("index", None, 0, "records") as shown:
            for read in index.refresh():
                shown.update(read - shown.n)
    except sqlite3.OperationalError as error:
        raise InputError(
            f"{RunFolder(index.folder).view}: {error}; free some space, or export from a copy of "
            "the run's folder"
        ) from error


def _played(
    records: Records,
    folder: Path,
    asked: dict[str, str],
    limit: int | None,
    note: Callable[[int], object],
) -> Iterator[Played]:
    for row in records.each(asked, limit):
        try:
            episode, file = records.episode(row), folder / row["file"]
            until = file.stat().st_mtime
        except (Gone, FileNotFoundError) as error:
            raise InputError(
                f"{folder / row['file']}: was changed by something else; run the same command again"
            ) from error
        yield Played(
            episode,
            # Who else wrote the plan is in none of an arm's logs.
            arm=asked.get("planner") or row["planner"] or "given",
            env=row["env"] or episode.task_id.partition("/")[0],
            type=row["type"] or "",
            split=row["split"] or "",
            task=row["description"] or "",
            stage=row["stage"],
            run=folder.name,
            until=until,
            conversation=row["conversation"],
            why=row["why"] or "",
            requests=row["requests"],
        )
        note(1)


def _check(records: Records, asked: dict[str, str]) -> None:
    """Raises InputError for a value that no episode of the run has."""
    choices = records.choices()
    arms = sorted({*choices["planner"], *BY_PLANNER})
    if "planner" in asked:
        choices["planner"] = [arm for arm in arms if any(records.each({"planner": arm}, 1))]
    for name, value in asked.items():
        if name in choices and value not in choices[name]:
            there = ", ".join(choices[name]) or "none"
            raise InputError(
                f"{_option(name)} {value}: the run has no such episodes; it has {there}"
            )


def _option(name: str) -> str:
    """The command line's name of a filter."""
    named = {"planner": "arm", "task_id": "task"}
    return f"--{named.get(name, name).replace('_', '-')}"
