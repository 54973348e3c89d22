import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.envs.scienceworld import ScienceWorld
from mpo_core.envs.scienceworld.tasks import (
    BY_NAME,
    BY_PUBLISHED_NAME,
    TASK_TYPES,
    file_tasks,
    fold,
    published_id,
    split_tasks,
)
from mpo_core.errors import InputError
from mpo_core.types import Split

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "scienceworld_splits"
SPLITS = ("train", "seen", "unseen")
SIZES = {"train": 1408, "seen": 199, "unseen": 211}
DRAWN = "ac332c589055b6c61d9c35378067562f3f63c0de5ad48d3a65e860b11be9cbf6"
"""Hash of every drawn id. Never to change: a change would make other tasks of every past run."""


def published(name: str):
    path = PUBLISHED / name
    if not path.is_file():
        pytest.skip(f"the published split files are not at {PUBLISHED}")
    return json.loads(path.read_text())


def suite(**settings) -> ScienceWorld:
    return ScienceWorld(ScienceWorld.Config(**settings))


def index_file(folder: Path, entries) -> Path:
    path = folder / "indices.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def test_the_published_plans_ids_are_the_published_ones():
    numbers = published("taskname2id.json")
    for task in suite().tasks("unseen"):
        name = BY_NAME[task.type].published_name
        assert published_id(task) == f"{numbers[name]}_{task.variation}"


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_has_its_documented_size_and_no_task_twice(split: Split):
    tasks = suite().tasks(split)
    assert len(tasks) == SIZES[split]
    assert len({task.id for task in tasks}) == len(tasks)
    assert len({task.type for task in tasks}) == 24
    assert {task.split for task in tasks} == {split}


def test_no_task_is_in_two_splits():
    ids = [task.id for split in SPLITS for task in suite().tasks(split)]
    assert len(ids) == len(set(ids))


def test_unseen_is_exactly_the_published_list():
    theirs = {
        (BY_PUBLISHED_NAME[name].name, variation)
        for name, variation in published("test_indices.json")
    }
    assert len(theirs) == 211
    assert {(task.type, task.variation) for task in suite().tasks("unseen")} == theirs


def test_step_limits_are_the_published_ones():
    theirs = published("max_steps.json")
    assert {t.published_name: t.step_limit for t in TASK_TYPES} == theirs
    task = suite().tasks("unseen")[0]
    assert suite().step_limit(task) == BY_NAME[task.type].step_limit


@pytest.mark.parametrize(("split", "size"), [("train", 1483), ("seen", 194), ("unseen", 211)])
def test_a_published_file_gives_exactly_its_tasks(split: Split, size: int):
    name = {"train": "train", "seen": "dev", "unseen": "test"}[split]
    published(f"{name}_indices.json")
    path = PUBLISHED / f"{name}_indices.json"
    tasks = suite(split_files={split: path}).tasks(split)
    assert len({task.id for task in tasks}) == len(tasks) == size
    assert {task.split for task in tasks} == {split}


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_stays_within_its_fold(split: Split):
    assert all(
        task.variation in fold(BY_NAME[task.type].variations, split)
        for task in suite().tasks(split)
    )


def test_folds_divide_the_variations():
    for task_type in TASK_TYPES:
        folds = [v for split in SPLITS for v in fold(task_type.variations, split)]
        assert folds == list(range(task_type.variations))


def test_the_inclined_planes_and_genetics_are_left_out():
    assert not [name for name in BY_NAME if "inclined" in name or "genetics" in name]


@pytest.mark.parametrize("split", SPLITS)
@given(limit=st.integers(0, 300))
def test_a_limit_spreads_evenly_over_the_types(split: Split, limit: int):
    whole = Counter(task.type for task in split_tasks(split))
    taken = Counter(task.type for task in split_tasks(split, limit=limit))
    assert sum(taken.values()) == min(limit, SIZES[split])
    most = max(taken.values(), default=0)
    # A type has fewer than the others only where it comes later in the round, or has no more.
    assert all(taken[name] >= min(most - 1, whole[name]) for name in BY_NAME)


@given(smaller=st.integers(0, 200), larger=st.integers(0, 200))
def test_a_smaller_limit_takes_a_subset(smaller: int, larger: int):
    smaller, larger = sorted((smaller, larger))
    few = {task.id for task in split_tasks("train", limit=smaller)}
    assert few <= {task.id for task in split_tasks("train", limit=larger)}


def test_limits_and_types_are_read_from_the_settings():
    tasks = suite(task_types=["boil", "find-plant"], tasks={"train": 5}).tasks("train")
    assert Counter(task.type for task in tasks) == {"boil": 3, "find-plant": 2}
    assert tasks[0].id == f"scienceworld/boil/{tasks[0].variation}"


def test_the_train_and_seen_tasks_never_change():
    assert [t.id for t in split_tasks("train", limit=3)] == [
        "scienceworld/boil/0",
        "scienceworld/melt/13",
        "scienceworld/freeze/10",
    ]
    ids = "\n".join(
        task.id
        for split in SPLITS
        for limit in (None, 100)
        for task in split_tasks(split, None, limit)
    )
    assert hashlib.sha256(ids.encode()).hexdigest() == DRAWN


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("not json", "not JSON"),
        ([], "not a list of"),
        ({"task-1-boil": 1}, "not a list of"),
        ([["task-1-boil"]], "entry 0 is"),
        ([["task-1-boil", "3"]], "entry 0 is"),
        ([["task-1-boil", 3], ["task-1-bake", 3]], "entry 1: unknown task type 'task-1-bake'"),
        ([["task-1-boil", 30]], "has variations 0 to 29"),
        ([["task-1-boil", 3], ["boil", 3]], "listed twice"),
    ],
)
def test_a_wrong_split_file_is_one_clear_line(tmp_path: Path, content, complaint: str):
    path = index_file(tmp_path, content)
    with pytest.raises(InputError, match=r"indices\.json") as raised:
        file_tasks(path, "train")
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_split_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.json: No such file"):
        file_tasks(tmp_path / "none.json", "train")


def test_a_file_with_the_package_names_is_read_too(tmp_path: Path):
    path = index_file(tmp_path, [["boil", 3], ["task-1-melt", 4]])
    ids = [task.id for task in file_tasks(path, "seen")]
    assert ids == ["scienceworld/boil/3", "scienceworld/melt/4"]
