"""How a limit on tasks is met: evenly over the task types, by a hash of the task's id.

Every machine draws the same tasks, wherever its files lie, and a smaller limit draws a subset of
what a larger one does.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, zip_longest

from mpo_core.config import Section, decides, selects
from mpo_core.types import Task


class TaskLimits(Section):
    """Tasks of each split at most, spread evenly over the types; null for all."""

    train: int | None = decides(None, ge=0)
    """Tasks for training."""
    seen: int | None = selects(None, ge=0)
    """Held-out tasks in places of the training."""
    unseen: int | None = selects(None, ge=0)
    """Held-out tasks in other places."""


def draw(tasks: Sequence[Task], limit: int | None) -> list[Task]:
    """At most `limit` of the tasks, in their own order.

    The types, in the order in which `tasks` has them, give one task each in turn; within a type,
    the hash of the id decides which comes first.
    """
    by_type: dict[str, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: _rank(task.id)):
        by_type.setdefault(task.type, []).append(task)
    types = dict.fromkeys(task.type for task in tasks)
    rounds = chain.from_iterable(zip_longest(*(by_type[name] for name in types)))
    taken = {task.id for task in [task for task in rounds if task is not None][:limit]}
    return [task for task in tasks if task.id in taken]


@lru_cache(1 << 14)
def _rank(task_id: str) -> str:
    return hashlib.sha256(task_id.encode()).hexdigest()
