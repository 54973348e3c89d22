"""Plans: what the planner is asked, how its answer is read, and sampling them durably."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpo_core.aio import together
from mpo_core.envs.base import Host
from mpo_core.errors import EnvironmentLost, InputError
from mpo_core.ledger import Ledger
from mpo_core.models import ChatModel, Reply, request_seed
from mpo_core.plan_text import read_plan
from mpo_core.prompts import Prompts
from mpo_core.types import Message, Plan, Task, content_hash


class NoPlan(InputError):
    """A model's answers held too few plans."""

    def __init__(self, message: str, replies: Sequence[Reply] = ()) -> None:
        super().__init__(message)
        self.replies = replies


def plan_ledger(path: Path) -> Ledger[Plan]:
    """Sampled plans on disk, one record a (task, origin, sample)."""
    return Ledger(path, Plan, key=lambda plan: sample_key(plan.task_id, plan.origin, plan.sample))


@dataclass(frozen=True)
class Sampling:
    """How plans are drawn for each task."""

    per_task: int
    temperature: float
    max_tokens: int
    seed: int
    resamples: int = 3
    """Times that answers without a plan are drawn again."""

    def origin(self, fingerprint: str, prompts: Mapping[str, Prompts]) -> str:
        """Names a planner and how it was sampled: plans of another origin are never mistaken."""
        settings = content_hash(
            self.temperature,
            self.max_tokens,
            self.seed,
            {env: p.fingerprint for env, p in prompts.items()},
            length=8,
        )
        return f"{fingerprint}#{settings}"


def sampled_plans(
    tasks: Sequence[Task], ledger: Ledger[Plan], origin: str, per_task: int
) -> list[Plan]:
    """The tasks' plans of one origin, in the order of the tasks.

    Raises:
        InputError: a plan is missing.
    """
    plans = []
    for task in tasks:
        for sample in range(per_task):
            key = sample_key(task.id, origin, sample)
            if key not in ledger:
                raise InputError(
                    f"{ledger.path}: no plan {sample} for {task.id} by {origin}; run `mpo plans` "
                    "with the same config first"
                )
            plans.append(ledger[key])
    return plans


async def sample_plans(
    tasks: Sequence[Task],
    model: ChatModel,
    prompts: Mapping[str, Prompts],
    ledger: Ledger[Plan],
    sampling: Sampling,
    *,
    concurrency: int = 64,
    on_plans: Callable[[Task, Sequence[Reply]], None] = lambda task, replies: None,
) -> list[Plan]:
    """Draw the plans of the tasks that the ledger does not yet hold; a task's plans land together.

    Returns all plans of the tasks, in the order of the tasks.

    Raises:
        InputError: a task is short of parseable plans after the resamples.
        ModelUnavailable: the planner did not answer; nothing is recorded for the task.
    """
    origin = sampling.origin(model.fingerprint, prompts)
    slots = asyncio.Semaphore(concurrency)

    async def sample(task: Task) -> None:
        missing = [
            k for k in range(sampling.per_task) if sample_key(task.id, origin, k) not in ledger
        ]
        if not missing:
            return
        async with slots:
            asked = prompts[task.env].planner_messages(task.description)
            texts, replies = await draw_plans(
                task.id, asked, model, sampling, origin, count=len(missing)
            )
        plans = [Plan.of(task.id, text, origin, k) for k, text in zip(missing, texts, strict=True)]
        on_plans(task, replies)
        ledger.append(*plans)

    await together(sample(task) for task in tasks)
    return sampled_plans(tasks, ledger, origin, sampling.per_task)


async def draw_plans(
    task_id: str,
    messages: Sequence[Message],
    model: ChatModel,
    sampling: Sampling,
    origin: str,
    *,
    count: int,
) -> tuple[list[str], list[Reply]]:
    """`count` plans for a task, and all replies that were drawn for them.

    Raises:
        NoPlan: too few of the answers hold a plan, after the resamples.
        ModelUnavailable: the model did not answer.
    """
    texts: list[str] = []
    replies: list[Reply] = []
    for attempt in range(sampling.resamples + 1):
        drawn = await model.chat(
            messages,
            n=count - len(texts),
            # A greedy answer would only come again.
            temperature=sampling.temperature if attempt == 0 else max(sampling.temperature, 0.7),
            max_tokens=sampling.max_tokens,
            seed=request_seed(origin, task_id, attempt),
            session=task_id,
        )
        replies += drawn
        texts += [text for r in drawn if (text := read_plan(r.text, r.truncated).text)]
        if len(texts) == count:
            return texts, replies
    raise NoPlan(
        f"{task_id}: only {len(texts)} of {count} answers of {model.fingerprint} held a plan "
        f"after {sampling.resamples} further draws; the last began {drawn[-1].text[:80]!r}. "
        "Check the model's prompt and chat template, or raise its max_tokens or resamples",
        replies,
    )


async def describe(
    tasks: Sequence[Task],
    host: Host,
    concurrency: int = 8,
    on_task: Callable[[], None] = lambda: None,
) -> list[Task]:
    """The tasks with their instructions, which only the environment knows."""
    slots = asyncio.Semaphore(concurrency)

    async def instruction(task: Task) -> Task:
        async with slots:
            for attempt in range(3):
                try:
                    environment = await host.environment()
                    try:
                        reset = await environment.reset(task)
                    finally:
                        await environment.close()
                except EnvironmentLost:
                    if attempt == 2:
                        raise
                else:
                    on_task()
                    return task.model_copy(update={"description": reset.instruction})
        raise AssertionError("unreachable")

    return await together(instruction(task) for task in tasks)


def sample_key(task_id: str, origin: str, sample: int) -> str:
    """Under which a plan lies in its ledger."""
    return content_hash(task_id, origin, sample)
