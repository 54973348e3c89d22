"""Plans: what the planner is asked, how its answer is read, and sampling them durably."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from mpo_core.again import again
from mpo_core.aio import together
from mpo_core.chat import ChatModel, ChatRequest
from mpo_core.completions import Reply
from mpo_core.envs.base import Host, Suite
from mpo_core.errors import ContextFull, EnvironmentLost, InputError
from mpo_core.ledger import Ledger
from mpo_core.models import request_seed
from mpo_core.plan_text import PlanReading, read_plan
from mpo_core.prompts import Prompts
from mpo_core.types import Message, Plan, Task, content_hash

log = logging.getLogger(__name__)


class NoPlan(InputError):
    """A model's answers held too few plans."""

    def __init__(
        self, message: str, replies: Sequence[Reply] = (), fault: str = "", remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.replies = replies
        self.fault = fault
        """The most frequent reason why an answer held none."""
        self.remedy = remedy
        """What to set."""


def plan_ledger(path: Path) -> Ledger[Plan, Plan]:
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
    """Further draws after one that brought no plan."""
    asked: Literal["planner", "teacher", "proxy"] = "planner"
    """Whose settings these are, for what is said of its answers."""

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
    tasks: Sequence[Task], ledger: Ledger[Plan, Plan], origin: str, per_task: int
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
    ledger: Ledger[Plan, Plan],
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
    unread = Unread()

    async def sample(task: Task) -> None:
        missing = [
            k for k in range(sampling.per_task) if sample_key(task.id, origin, k) not in ledger
        ]
        if not missing:
            return
        async with slots:
            asked = prompts[task.env].planner_messages(task.description)
            try:
                drawn, replies = await draw_plans(
                    task.id,
                    asked,
                    model,
                    sampling,
                    origin,
                    count=len(missing),
                    first=missing[0],
                )
            except ContextFull as error:
                raise InputError(
                    f"{task.id}: the planner's prompt does not fit the context of "
                    f"{model.fingerprint}; serve it with a longer one (models.X.max_model_len, or "
                    "the endpoint's own setting), lower planner.max_tokens, or shorten the "
                    f"planner's prompt ({' '.join(str(error).split())[:200]})"
                ) from error
        plans = [
            Plan.of(task.id, text, origin, k, reasoning)
            for k, (text, reasoning) in zip(missing, drawn, strict=True)
        ]
        unread.note(task.id, replies)
        on_plans(task, replies)
        ledger.append(*plans)

    try:
        await together(sample(task) for task in tasks)
    finally:
        unread.warn(f"plans by {model.fingerprint}")
    return sampled_plans(tasks, ledger, origin, sampling.per_task)


class Unread:
    """What a stage's answers were that held no plan: counts by reason, and how the first began."""

    def __init__(self) -> None:
        self.answers = 0
        self.faults: Counter[str] = Counter()
        self.first = ""

    def note(self, task_id: str, replies: Sequence[Reply]) -> None:
        """Count the answers of a task."""
        self.answers += len(replies)
        for reply in replies:
            if fault := plan_of(reply).fault:
                self.first = self.first or f"for {task_id}: {_beginning(reply)}"
                self.faults[fault] += 1

    def warn(self, stage: str) -> None:
        """One line in the log, where there were such."""
        if self.faults:
            log.warning(
                f"{stage}: {self.faults.total()} of {self.answers} answers held no plan "
                f"({_counted(self.faults)}); the first {self.first}"
            )


def plan_of(reply: Reply) -> PlanReading:
    """The plan in a model's reply; where it has none, the model's own reason goes first."""
    reading = read_plan(reply.text, reply.truncated)
    if reading.text is None and reply.fault:
        return PlanReading(None, reply.fault)
    return reading


async def draw_plans(
    task_id: str,
    messages: Sequence[Message],
    model: ChatModel,
    sampling: Sampling,
    origin: str,
    *,
    count: int,
    first: int = 0,
) -> tuple[list[tuple[str, str]], list[Reply]]:
    """`count` plans for a task, each with the reasoning before it, and all replies drawn for them.

    `first` is how many plans the task has had already: what is added to them is drawn with other
    seeds, or it would be the same again.

    Answers without a plan are drawn again, and so is what a server left out that gives fewer
    answers than it was asked for. A draw that brings no plan at all counts as failed.

    Raises:
        NoPlan: more draws failed than there are resamples.
        ModelUnavailable: the model did not answer.
        ContextFull: the prompt does not fit the model's context.
    """
    plans: list[tuple[str, str]] = []
    replies: list[Reply] = []
    draws = failed = 0
    while len(plans) < count:
        if failed > sampling.resamples:
            raise _no_plan(task_id, model.fingerprint, replies, count, sampling)
        # A greedy answer without a plan would only come again.
        again = len(replies) > len(plans)
        drawn = await model.chat(
            ChatRequest(
                messages,
                n=count - len(plans),
                temperature=max(sampling.temperature, 0.7) if again else sampling.temperature,
                max_tokens=sampling.max_tokens,
                seed=request_seed(origin, task_id, draws, *([first] if first else [])),
                session=task_id,
            )
        )
        found = [(text, reply.reasoning) for reply in drawn if (text := plan_of(reply).text)]
        plans += found[: count - len(plans)]
        replies += drawn
        draws += 1
        failed += not found
    return plans, replies


def _no_plan(
    task_id: str, fingerprint: str, replies: Sequence[Reply], count: int, sampling: Sampling
) -> NoPlan:
    """The error of a task short of plans: what its answers were, and what to set."""
    unread = [(reply, fault) for reply in replies if (fault := plan_of(reply).fault)]
    faults = Counter(fault for _, fault in unread)
    fault = faults.most_common(1)[0][0] if faults else "no answer"
    beginning = f"; the first: {_beginning(unread[0][0])}" if unread else ""
    cut = any(reply.truncated for reply, reason in unread if reason == fault)
    found = len(replies) - len(unread)
    remedy = _remedy(fault, cut, sampling)
    return NoPlan(
        f"{task_id}: only {found} of {count} plans: {found} of {len(replies)} answers of "
        f"{fingerprint} held a plan ({_counted(faults) or fault}{beginning}). {remedy}",
        replies,
        fault,
        remedy,
    )


def _remedy(fault: str, cut: bool, sampling: Sampling) -> str:
    """What to set where answers hold no plan for this reason."""
    most, asked = sampling.max_tokens, ASKED[sampling.asked]
    if fault in ("only reasoning", "empty") and cut:
        # Some servers hide what the model thinks.
        return (
            f"The model's thought took all {most} tokens: raise {asked.max_tokens}, or "
            f"{asked.no_thoughts}"
        )
    if cut:
        return f"The answers were cut at {most} tokens: raise {asked.max_tokens}"
    remedy = _REMEDIES.get(fault, "Check the {whose}'s prompt and the model's chat template")
    return remedy.format(whose=asked.name, no_thoughts=asked.no_thoughts, no_tools=asked.no_tools)


class Whose(NamedTuple):
    """Who is asked for plans, and what sets how."""

    name: str
    max_tokens: str
    no_thoughts: str = "set models.X.reasoning=off"
    no_tools: str = "at its server (models.X.extra_body)"


ASKED = {
    "planner": Whose("planner", "planner.max_tokens"),
    "teacher": Whose("teacher", "seeds.max_tokens"),
    "proxy": Whose(
        "planner", "proxy.max_tokens", "switch its thinking off at its server", "at its server"
    ),
}

_REMEDIES = {
    "only reasoning": "The model thinks and gives no answer: {no_thoughts}, or check its chat "
    "template",
    "empty": "The answers are empty: check the model's chat template and its server's log",
    "no answer": "The server gave no answers: check its log",
    "refusal": "The model refuses: change the {whose}'s prompt, or take another model",
    "content filter": "The server's content filter stopped the answers: change the {whose}'s "
    "prompt, or take another server",
    "tool call": "The model calls a tool: switch tools off {no_tools}, or check its chat template",
}


def _counted(faults: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {fault}" for fault, n in sorted(faults.items(), key=lambda f: -f[1]))


def _beginning(reply: Reply) -> str:
    """How a reply begins: its answer, or where there is none, what the model thought."""
    words = reply.text if reply.text.strip() else reply.reasoning
    return f"{words.strip()[:80]!r}"


async def describe(
    tasks: Sequence[Task],
    host: Host,
    concurrency: int = 8,
    on_task: Callable[[], None] = lambda: None,
) -> list[Task]:
    """The tasks with their instructions, which only the environment knows."""
    slots = asyncio.Semaphore(concurrency)

    async def instruction(task: Task) -> str:
        environment = await host.environment()
        try:
            return (await environment.reset(task)).instruction
        finally:
            await environment.close()

    async def with_instruction(task: Task) -> Task:
        async with slots:
            said = await again(lambda: instruction(task), EnvironmentLost, 3, wait_s=0)
        on_task()
        return task.model_copy(update={"description": said})

    return await together(with_instruction(task) for task in tasks)


async def described(
    tasks: Sequence[Task],
    suites: Mapping[str, Suite],
    on_task: Callable[[], None] = lambda: None,
) -> list[Task]:
    """The tasks with their instructions: those that lack theirs ask their environment for it.

    Args:
        suites: by name, those of the tasks' environments.
        on_task: called for each task, once its instruction is known.

    Raises:
        EnvironmentLost: an environment's process died again and again.
    """
    known = {task.id: task for task in tasks if task.description}
    for _ in known:
        on_task()
    for env, suite in suites.items():
        unknown = [task for task in tasks if task.env == env and not task.description]
        if not unknown:
            continue
        host = suite.host()
        try:
            found = await describe(unknown, host, on_task=on_task)
        finally:
            await host.close()
        known |= {task.id: task for task in found}
    return [known[task.id] for task in tasks]


def sample_key(task_id: str, origin: str, sample: int) -> str:
    """Under which a plan lies in its ledger."""
    return content_hash(task_id, origin, sample)
