"""Which ScienceWorld tasks there are, and how they divide into splits.

A task is a type (one of 24) and a variation of it (other substances, rooms, starting places). The
simulator cuts the variations of each type into a train, a dev and a test fold. From these:

- *unseen*: the first 10 variations of the test fold; exactly the 211 tasks that the paper's data
  lists.
- *seen*: up to 10 variations of the dev fold, 199 tasks in all.
- *train*: up to 120 variations of the train fold, 1408 tasks in all.

*Seen* and *train* are drawn by a hash of the task's id (`mpo_core.envs.draw`), so every machine
draws the same ones, and a smaller limit draws a subset. The paper's own lists (194 and 1483
tasks) were drawn at random by their authors, who left out some tasks and took 357 train tasks
from the dev fold; to use exactly these, give the published index files as `split_files`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mpo_core.envs.draw import draw
from mpo_core.errors import InputError
from mpo_core.types import Split, Task

UNSEEN_CAP = SEEN_CAP = 10
TRAIN_CAP = 120


@dataclass(frozen=True)
class TaskType:
    name: str
    published_name: str
    """Its name in the published index files, which follow an older release of the simulator."""
    published_number: int
    """Its number in the published plans' ids (taskname2id.json of the paper's code)."""
    variations: int
    """How many there are in the simulator, scienceworld 1.2.3."""
    step_limit: int
    """Steps of an episode at most, as published (max_steps.json of the paper's code)."""


# Without the types of the paper's groups 8 and 9 (inclined plane, Mendelian genetics), and without
# measure-melting-point-unknown-substance, which it does not use either.
TASK_TYPES = (
    TaskType("boil", "task-1-boil", 0, 30, 100),
    TaskType("melt", "task-1-melt", 3, 30, 80),
    TaskType("freeze", "task-1-freeze", 2, 30, 80),
    TaskType("change-the-state-of-matter-of", "task-1-change-the-state-of-matter-of", 1, 30, 80),
    TaskType("use-thermometer", "task-10-use-thermometer", 6, 540, 30),
    TaskType(
        "measure-melting-point-known-substance",
        "task-10-measure-melting-point-(known-substance)",
        4,
        436,
        120,
    ),
    TaskType("power-component", "task-2-power-component", 7, 20, 20),
    TaskType(
        "power-component-renewable-vs-nonrenewable-energy",
        "task-2-power-component-(renewable-vs-nonrenewable-energy)",
        8,
        20,
        30,
    ),
    TaskType("test-conductivity", "task-2a-test-conductivity", 9, 900, 30),
    TaskType(
        "test-conductivity-of-unknown-substances",
        "task-2a-test-conductivity-of-unknown-substances",
        10,
        600,
        30,
    ),
    TaskType("find-living-thing", "task-3-find-living-thing", 12, 300, 15),
    TaskType("find-non-living-thing", "task-3-find-non-living-thing", 13, 300, 15),
    TaskType("find-plant", "task-3-find-plant", 14, 300, 15),
    TaskType("find-animal", "task-3-find-animal", 11, 300, 15),
    TaskType("grow-plant", "task-4-grow-plant", 16, 126, 30),
    TaskType("grow-fruit", "task-4-grow-fruit", 15, 126, 60),
    TaskType("chemistry-mix", "task-5-chemistry-mix", 17, 32, 60),
    TaskType(
        "chemistry-mix-paint-secondary-color",
        "task-5-chemistry-mix-paint-(secondary-color)",
        18,
        36,
        15,
    ),
    TaskType(
        "chemistry-mix-paint-tertiary-color",
        "task-5-chemistry-mix-paint-(tertiary-color)",
        19,
        36,
        30,
    ),
    TaskType("lifespan-longest-lived", "task-6-lifespan-(longest-lived)", 20, 125, 10),
    TaskType("lifespan-shortest-lived", "task-6-lifespan-(shortest-lived)", 22, 125, 10),
    TaskType(
        "lifespan-longest-lived-then-shortest-lived",
        "task-6-lifespan-(longest-lived-then-shortest-lived)",
        21,
        125,
        12,
    ),
    TaskType("identify-life-stages-1", "task-7-identify-life-stages-1", 23, 14, 30),
    TaskType("identify-life-stages-2", "task-7-identify-life-stages-2", 24, 10, 30),
)
BY_NAME = {task_type.name: task_type for task_type in TASK_TYPES}
BY_PUBLISHED_NAME = {task_type.published_name: task_type for task_type in TASK_TYPES}


def fold(variations: int, split: Split) -> range:
    """The variations of a type that the simulator puts into a split's fold.

    Half go to train, a quarter to dev, the rest to test (right for each type here; the simulator
    treats types of fewer than five variations specially).
    """
    quarter = variations // 4
    train, dev = 2 * quarter, 3 * quarter
    match split:
        case "train":
            return range(train)
        case "seen":
            return range(train, dev)
        case "unseen":
            return range(dev, variations)


def split_tasks(
    split: Split, names: Iterable[str] | None = None, limit: int | None = None
) -> list[Task]:
    """A split's tasks, of the named types, spread evenly over these under a limit."""
    chosen = [BY_NAME[name] for name in names] if names is not None else TASK_TYPES
    cap = {"train": TRAIN_CAP, "seen": SEEN_CAP, "unseen": UNSEEN_CAP}[split]
    tasks = []
    for task_type in chosen:
        whole = fold(task_type.variations, split)
        if split == "unseen":
            whole = whole[:UNSEEN_CAP]
        tasks += draw([_task(split, task_type.name, v) for v in whole], cap)
    return draw(tasks, limit)


def file_tasks(
    path: Path, split: Split, names: Iterable[str] | None = None, limit: int | None = None
) -> list[Task]:
    """The tasks of a published index file: a JSON list of [type, variation].

    Raises:
        InputError: not such a file, or a type or variation that does not exist.
    """
    wanted = list(names) if names is not None else list(BY_NAME)
    drawn: dict[str, list[int]] = {name: [] for name in wanted}
    for number, entry in enumerate(_read_index(path)):
        task_type, variation = _entry(path, number, entry)
        if variation in drawn.get(task_type.name, ()):
            raise InputError(
                f"{path}: entry {number}: {entry[0]}/{variation} is listed twice; remove one"
            )
        if task_type.name in drawn:
            drawn[task_type.name].append(variation)
    tasks = [_task(split, name, v) for name, found in drawn.items() for v in sorted(found)]
    return draw(tasks, limit)


def published_id(task: Task) -> str:
    """The task's id in the paper's published plans, such as `0_14` for `boil` 14."""
    return f"{BY_NAME[task.type].published_number}_{task.variation}"


def _task(split: Split, name: str, variation: int) -> Task:
    return Task(
        id=f"scienceworld/{name}/{variation}",
        env="scienceworld",
        type=name,
        split=split,
        variation=variation,
    )


def _read_index(path: Path) -> list:
    advice = "give a published index file, such as test_indices.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {advice}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); {advice}") from error
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: not a list of [type, variation]; {advice}")
    return entries


def _entry(path: Path, number: int, entry: object) -> tuple[TaskType, int]:
    match entry:
        case [str(name), int(variation)] if not isinstance(variation, bool):
            pass
        case _:
            raise InputError(
                f"{path}: entry {number} is {json.dumps(entry)[:60]}, not [type, variation]; "
                "give a published index file, such as test_indices.json"
            )
    task_type = BY_PUBLISHED_NAME.get(name) or BY_NAME.get(name)
    if task_type is None:
        raise InputError(
            f"{path}: entry {number}: unknown task type {name!r}; remove it, or use one of "
            f"{', '.join(BY_PUBLISHED_NAME)}"
        )
    if not 0 <= variation < task_type.variations:
        raise InputError(
            f"{path}: entry {number}: {name} has variations 0 to {task_type.variations - 1}, "
            f"not {variation}; remove it"
        )
    return task_type, variation
