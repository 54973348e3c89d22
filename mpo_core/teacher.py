"""Seed plans: an expert's episode of a task, turned into a plan by a teacher.

There are two teachers: a chat model that is shown the episode, as in the paper, and the
environments' own rules (`mpo_core.abstraction`), which ask no model.

Invariants:
- A task's plans land in the ledger together, or not at all.
- A task that gives no plan is a failure with its reason, no plan and no end of the run; the next
  attempt tries it again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from mpo_core.abstraction import RULES, abstract
from mpo_core.aio import together
from mpo_core.chat import ChatModel
from mpo_core.completions import Reply
from mpo_core.envs.base import Suite
from mpo_core.errors import ContextFull, InputError
from mpo_core.ledger import Ledger
from mpo_core.planning import NoPlan, Sampling, Unread, draw_plans, sample_key
from mpo_core.prompts import Prompts
from mpo_core.types import Episode, Plan, Task, content_hash

# Of a room's whole description, a teacher needs no more than what it begins with.
OBSERVATION_CHARACTERS = 400


@dataclass(frozen=True)
class Lesson:
    """What a teacher made of one episode: plans, or the reason why there are none."""

    plans: Sequence[tuple[str, str]]
    """Each with the teacher's reasoning before it."""
    fault: str = ""
    replies: Sequence[Reply] = ()


class Teacher(Protocol):
    """Turns an expert's episode into plans."""

    origin: str
    """Names the teacher and its settings."""
    per_task: int
    """Plans of a task in all."""

    async def teach(self, task: Task, episode: Episode, count: int, first: int) -> Lesson:
        """`count` plans beside the `first` ones that the task has, or none and the fault.

        Raises:
            ModelUnavailable, InputError: the teacher cannot be asked.
        """
        ...


class RuleTeacher:
    """One plan a task, by the rules of its environment."""

    origin = RULES
    per_task = 1

    def __init__(self, suites: Mapping[str, Suite]) -> None:
        self._suites = suites

    async def teach(self, task: Task, episode: Episode, count: int, first: int) -> Lesson:
        actions = [turn.action for turn in episode.turns if turn.action]
        beginning = next(m["content"] for m in episode.messages if m["role"] == "user")
        plan = abstract(self._suites[task.env], task, actions, beginning)
        if not plan:
            return Lesson([], "no rule fits what the expert did")
        return Lesson([(plan, "")])


class ModelTeacher:
    """Plans by a chat model that is shown the task and the expert's episode."""

    def __init__(
        self,
        fingerprint: str,
        prompts: Mapping[str, Prompts],
        sampling: Sampling,
        model: ChatModel | None = None,
    ) -> None:
        """A teacher without its model only says what its origin is.

        Raises:
            InputError: an environment has no teacher's prompt.
        """
        for env, told in prompts.items():
            if not told.teacher:
                raise InputError(f"prompts of {env}: no teacher prompt; set prompts_dir")
        settings = content_hash(
            sampling.temperature,
            sampling.max_tokens,
            sampling.seed,
            {env: told.teacher for env, told in prompts.items()},
            length=8,
        )
        self.origin = f"{fingerprint}#{settings}"
        self.per_task = sampling.per_task
        self._prompts, self._sampling, self._model = prompts, sampling, model

    async def teach(self, task: Task, episode: Episode, count: int, first: int) -> Lesson:
        """Raises ModelUnavailable when the model does not answer."""
        if self._model is None:
            raise ValueError("a teacher without its model was asked to teach")
        asked = self._prompts[task.env].teacher_messages(task.description, trajectory(episode))
        try:
            plans, replies = await draw_plans(
                task.id, asked, self._model, self._sampling, self.origin, count=count, first=first
            )
        except NoPlan as error:
            fault = f"too few of the teacher's answers held a plan ({error.fault}). {error.remedy}"
            return Lesson([], fault, error.replies)
        except ContextFull:
            return Lesson([], "the expert's episode does not fit the teacher's context")
        return Lesson(plans, replies=replies)


def trajectory(episode: Episode) -> str:
    """An episode as a teacher reads it: actions and observations, repeats told once."""
    said = [
        f"> {turn.action}\n{_beginning(turn.observation)}" for turn in episode.turns if turn.action
    ]
    return "\n".join(
        text if (times := len(list(group))) == 1 else f"{text}\n(the same {times} times)"
        for text, group in groupby(said)
    )


async def make_seeds(
    tasks: Sequence[Task],
    episode_of: Callable[[Task], Episode],
    teacher: Teacher,
    ledger: Ledger[Plan, Plan],
    *,
    concurrency: int = 64,
    on_lesson: Callable[[Lesson], None] = lambda lesson: None,
) -> dict[str, str]:
    """Have the seed plans made that the ledger lacks.

    Args:
        episode_of: the expert's episode of a task; asked for while the task's plans are made.

    Returns the ids of the tasks without plans, each with the reason.

    Raises:
        ModelUnavailable: the teacher did not answer; what was made stays.
    """
    faults: dict[str, str] = {}
    unread = Unread()
    slots = asyncio.Semaphore(concurrency)

    async def one(task: Task) -> None:
        missing = [k for k, key in enumerate(_keys(task, teacher)) if key not in ledger]
        if not missing:
            return
        async with slots:
            episode = episode_of(task)
            if episode.success:
                lesson = await teacher.teach(task, episode, len(missing), missing[0])
            else:
                lesson = Lesson([], f"the expert failed (reward {episode.reward:.2f})")
        if lesson.fault:
            faults[task.id] = lesson.fault
        else:
            plans = zip(missing, lesson.plans, strict=True)
            ledger.append(
                *(Plan.of(task.id, text, teacher.origin, k, why) for k, (text, why) in plans)
            )
        unread.note(task.id, lesson.replies)
        on_lesson(lesson)

    try:
        await together(one(task) for task in tasks)
    finally:
        unread.warn(f"seeds by {teacher.origin}")
    return {task.id: faults[task.id] for task in tasks if task.id in faults}


def seeds_of(tasks: Sequence[Task], teacher: Teacher, ledger: Ledger[Plan, Plan]) -> list[Plan]:
    """The tasks' seed plans by this teacher, in the order of the tasks."""
    return [ledger[key] for task in tasks for key in _keys(task, teacher) if key in ledger]


def _keys(task: Task, teacher: Teacher) -> list[str]:
    return [sample_key(task.id, teacher.origin, k) for k in range(teacher.per_task)]


def _beginning(observation: str) -> str:
    text = " ".join(observation.split())
    if len(text) <= OBSERVATION_CHARACTERS:
        return text
    return f"{text[:OBSERVATION_CHARACTERS]} ..."
