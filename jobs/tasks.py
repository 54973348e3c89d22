"""Stage: the tasks of the run, with the instructions that only the environments know."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import get_args

from jobs.progress import Progress
from jobs.run import Run
from mpo_core.config import validated
from mpo_core.envs.base import suite_class
from mpo_core.errors import InputError
from mpo_core.ledger import read_records, write_records
from mpo_core.planning import describe
from mpo_core.types import Split, Task

SPLITS: tuple[Split, ...] = get_args(Split)


def collect_tasks(run: Run) -> None:
    """Write `tasks/<split>.jsonl` for every split that the run plays."""
    for split in run.splits:
        path = run.dir / "tasks" / f"{split}.jsonl"
        wanted = run.tasks(split)
        if path.is_file() and _ids(read_records(path, Task)) == _ids(wanted):
            continue
        with Progress(f"tasks {split}", len(wanted), 0, "tasks") as progress:
            described = asyncio.run(_describe(run, wanted, progress))
        write_records(path, described)


def load_tasks(run: Run, split: Split) -> list[Task]:
    """The split's tasks with their instructions. Raises InputError where they are not collected."""
    path = run.dir / "tasks" / f"{split}.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `mpo plans` with the same config first")
    return read_records(path, Task)


def list_tasks(env: str, split: Split | None, split_file: Path | None) -> list[Task]:
    """An environment's tasks with its default settings, or those of a published index file."""
    if split_file is not None and split is None:
        raise InputError("--split-file: say with --split which split it holds")
    suite_type = suite_class(env)
    settings = {"split_files": {split: split_file}} if split_file else {}
    suite = suite_type(validated(suite_type.Config, settings, f"mpo tasks {env}"))
    return [task for name in ([split] if split else SPLITS) for task in suite.tasks(name)]


def count_tasks(
    env: str, split: Split | None, split_file: Path | None
) -> tuple[list[str], list[list[str | int]]]:
    """Number of tasks by type and split: a table's header and rows, the sums last."""
    counts = Counter((task.type, task.split) for task in list_tasks(env, split, split_file))
    splits = [split] if split else SPLITS
    types = dict.fromkeys(type_ for type_, _ in counts)
    rows = [[type_, *(counts[type_, name] for name in splits)] for type_ in sorted(types)]
    sums = [sum(counts[type_, name] for type_ in types) for name in splits]
    return ["type", *splits], [*rows, ["all", *sums]]


async def _describe(run: Run, tasks: list[Task], progress: Progress) -> list[Task]:
    described = []
    for env, suite in run.suites.items():
        host = suite.host()
        try:
            of_env = [task for task in tasks if task.env == env]
            described += await describe(of_env, host, on_task=lambda: progress.advance(1, 0))
        finally:
            await host.close()
    return described


def _ids(tasks: list[Task]) -> list[tuple[str, str]]:
    return [(task.id, task.split) for task in tasks]
