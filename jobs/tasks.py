"""Stage: the tasks of the run, with the instructions that only the environments know."""

from collections import Counter
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from jobs.run import Run
from mpo_core import aio
from mpo_core.config import validated
from mpo_core.envs.base import Suite, suite_class
from mpo_core.errors import InputError
from mpo_core.files import write_records
from mpo_core.ledger import read_records
from mpo_core.planning import described
from mpo_core.progress import Progress
from mpo_core.types import Demonstration, PreferencePair, ScoredAnswer, Split, Task, content_hash

SPLITS: tuple[Split, ...] = get_args(Split)
Tasks = Split | Literal["validation"]
"""A split, or the training tasks that nothing is trained on."""
TasksOf = Mapping[Split, list[Task]]
"""Split -> its tasks, with their instructions."""
OfTask = TypeVar("OfTask", PreferencePair, Demonstration, ScoredAnswer)


def collect_tasks(run: Run) -> TasksOf:
    """The tasks of every split that the run plays; what is owed of `tasks/<split>.jsonl` is
    written.

    Raises:
        InputError: nothing is played here, since rewards are callers'.
    """
    if run.config.source == "feedback":
        raise InputError(
            "source: feedback: tasks and plans are those of callers' conversations; begin with "
            "`mpo rollout`, or let `mpo run` do all"
        )
    return {split: _collected(run, split) for split in run.splits}


def _collected(run: Run, split: Split) -> list[Task]:
    path, wanted = run.files.tasks(split), run.tasks(split)
    there = run.records(path, Task)
    if _ids(there) == _ids(wanted):
        return there
    with Progress(f"tasks {split}", len(wanted), 0, "tasks") as progress:
        told = aio.run(described(wanted, run.suites, lambda: progress.advance(1, 0)))
    write_records(path, told)
    return told


def load_tasks(run: Run, split: Tasks) -> list[Task]:
    """The split's tasks with their instructions. Raises InputError where they are not collected."""
    if split == "validation":
        return set_apart(load_tasks(run, "train"), run.config.validation)
    path = run.files.tasks(split)
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `mpo plans` with the same config first")
    return read_records(path, Task)


def set_apart(tasks: Sequence[Task], share: float) -> list[Task]:
    """The share of each environment's tasks that is kept from training, rounded down.

    Which ones depends on their ids alone, so that adding tasks moves few of the others.
    """
    apart = set()
    for env in {task.env for task in tasks}:
        ids = sorted((task.id for task in tasks if task.env == env), key=content_hash)
        apart |= set(ids[: int(share * len(ids))])
    return [task for task in tasks if task.id in apart]


def parted(
    records: Sequence[OfTask], tasks: Sequence[Task], share: float
) -> tuple[list[OfTask], list[OfTask]]:
    """Records of training tasks: those to train on, and those of the share that is set apart."""
    apart = {task.id for task in set_apart(tasks, share)}
    return (
        [record for record in records if record.task_id not in apart],
        [record for record in records if record.task_id in apart],
    )


def environment(env: str, data: Path | None, split: Split | None, split_file: Path | None) -> Suite:
    """An environment with its default settings, but for the data that it is to use."""
    if split_file is not None and split is None:
        raise InputError("--split-file: say with --split which split it holds")
    settings: dict[str, Any] = {"split_files": {split: split_file}} if split_file else {}
    if data is not None:
        settings["data"] = data
    suite_type = suite_class(env)
    return suite_type(validated(suite_type.Config, settings, f"mpo tasks {env}"))


def list_tasks(suite: Suite, split: Split | None, types: Sequence[str] | None) -> list[Task]:
    """The tasks of one split or all, of the named types or all."""
    tasks = [task for name in ([split] if split else SPLITS) for task in suite.tasks(name)]
    known = sorted({task.type for task in tasks})
    for name in types or ():
        if name not in known:
            raise InputError(f"--type: no task of type {name!r}; there are: {', '.join(known)}")
    return [task for task in tasks if not types or task.type in types]


def count_tasks(
    tasks: Sequence[Task], split: Split | None
) -> tuple[list[str], list[list[str | int]]]:
    """Number of tasks by type and split: a table's header and rows, the sums last."""
    counts = Counter((task.type, task.split) for task in tasks)
    splits = [split] if split else SPLITS
    types = sorted({type_ for type_, _ in counts})
    rows: list[list[str | int]] = [
        [type_, *(counts[type_, name] for name in splits)] for type_ in types
    ]
    sums = [sum(counts[type_, name] for type_ in types) for name in splits]
    return ["type", *splits], [*rows, ["all", *sums]]


def generate_tasks(
    env: str, out: Path, counts: dict[Split, int], seed: int, options: dict[str, Any]
) -> Any:
    """Write tasks of one's own into the folder `out`; returns the environment's report on it.

    Args:
        options: what was given of the settings that only some environments have.
    """
    generate = suite_class(env).generate
    if generate is None:
        raise InputError(f"{env}: its tasks are not generated; only list and count them")
    for name in options.keys() - signature(generate).parameters.keys():
        raise InputError(f"--{name.replace('_', '-')}: {env} generates its tasks without it")
    if not any(counts.values()):
        raise InputError("--train, --seen, --unseen: nothing to generate; ask for some tasks")
    with Progress(f"{env} tasks", sum(counts.values()), 0, "tasks") as progress:
        return generate(out, counts, seed, on_game=lambda: progress.advance(1, 0), **options)


def _ids(tasks: list[Task]) -> list[tuple[str, str]]:
    return [(task.id, task.split) for task in tasks]
