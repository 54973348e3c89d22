"""One episode: an agent and an environment take turns until a reason to end.

A bad action, a full context, the step limit and a failed task are data: they end the episode with
the reward reached. A lost environment or an unreachable model is not: the error goes up, and
whoever asked for the episode has it run again from its start.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from random import Random
from typing import Any

from mpo_core.chat import ChatModel, ChatRequest
from mpo_core.completions import Reply
from mpo_core.config import AgentConfig
from mpo_core.envs.base import Environment, Suite
from mpo_core.errors import ContextFull, InputError
from mpo_core.models import request_seed
from mpo_core.prompts import Prompts
from mpo_core.reading import read_action
from mpo_core.types import (
    EndReason,
    Episode,
    Plan,
    PlanMode,
    Record,
    Task,
    Turn,
    episode_key,
)

NO_ACTION = "Your answer holds no action. Answer with a line that starts with 'Action:'."

# In place of an empty answer, which many servers refuse in a conversation.
NOTHING_SAID = "(no answer)"

# Where a model would go on to invent the environment's answer, or its own next turn.
STOP = ("\nObservation:",)
STOP_ACTING = ("\n",)


class EpisodeProtocol(Record):
    """How an episode is played: all of it is part of the episode's key."""

    plan_mode: PlanMode
    temperature: float
    max_tokens: int
    invalid_limit: int
    max_steps: int
    example: bool
    thoughts: bool
    list_actions: int
    seed: int
    prompts: str
    """Fingerprint of the prompts."""
    env: dict[str, Any]
    """The environment's own settings."""


@dataclass(frozen=True, slots=True)
class EpisodeRequest:
    """An episode that is owed. There are as many as episodes, so it is small."""

    key: str
    task: Task
    plan: Plan | None
    model: str
    protocol: EpisodeProtocol
    repetition: int

    @classmethod
    def of(
        cls, task: Task, plan: Plan | None, model: str, protocol: EpisodeProtocol, repetition: int
    ) -> "EpisodeRequest":
        """The request with its key. Raises ValueError for a plan of another task."""
        if plan is not None and plan.task_id != task.id:
            raise ValueError(f"plan of {plan.task_id} given to {task.id}")
        text = plan.text if plan else None
        key = episode_key(task.id, text, model, protocol.model_dump(), repetition)
        return cls(
            key=key, task=task, plan=plan, model=model, protocol=protocol, repetition=repetition
        )


def protocol_of(
    agent: AgentConfig,
    task: Task,
    suite: Suite,
    prompts: Prompts,
    *,
    temperature: float,
    seed: int,
) -> EpisodeProtocol:
    """How an agent of these settings plays a task of the suite."""
    return EpisodeProtocol(
        plan_mode=agent.plan_mode,
        temperature=temperature,
        max_tokens=agent.max_tokens,
        invalid_limit=agent.invalid_limit,
        max_steps=agent.max_steps or suite.step_limit(task),
        example=agent.example,
        thoughts=agent.thoughts,
        list_actions=agent.list_actions,
        seed=seed,
        prompts=prompts.fingerprint,
        env=suite.protocol(),
    )


def requests_of(
    tasks: Sequence[Task],
    plans: Sequence[Plan] | None,
    repetitions: int | Mapping[str, int],
    model: str,
    told: Callable[[Task], EpisodeProtocol],
) -> list[EpisodeRequest]:
    """Every plan `repetitions` times, or as often as is given by its id; without plans, every task.

    Args:
        model: fingerprint of the agent's model.
        told: how it plays a task.

    Raises:
        InputError: a plan belongs to none of the tasks.
    """
    by_id = {task.id: task for task in tasks}
    strangers = [plan.task_id for plan in plans or () if plan.task_id not in by_id]
    if strangers:
        raise InputError(
            f"plans: {len(strangers)} belong to none of the tasks, the first to {strangers[0]}; "
            "give the tasks that they were made for"
        )
    if plans is None:
        asked: list[tuple[Task, Plan | None]] = [(task, None) for task in tasks]
    else:
        asked = [(by_id[plan.task_id], plan) for plan in plans]

    def times(plan: Plan | None) -> int:
        if isinstance(repetitions, int):
            return repetitions
        assert plan is not None, "counts are given by plans"
        return repetitions[plan.id]

    # One a task: there may be hundreds of thousands of requests.
    protocols = {task.id: told(task) for task in tasks}
    return [
        EpisodeRequest.of(task, plan, model, protocols[task.id], repetition)
        for task, plan in asked
        for repetition in range(times(plan))
    ]


def draw_actions(actions: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of the valid actions: a verb at a time, so that no verb's many objects crowd out
    the others."""
    random = Random(seed)
    by_verb: dict[str, list[str]] = {}
    for action in sorted(actions):
        by_verb.setdefault(action.split(" ", 1)[0], []).append(action)
    for of_verb in by_verb.values():
        random.shuffle(of_verb)
    rounds = chain.from_iterable(zip_longest(*by_verb.values()))
    return sorted(action for action in islice(filter(None, rounds), count))


async def run_episode(
    request: EpisodeRequest, environment: Environment, model: ChatModel, prompts: Prompts
) -> Episode:
    """Play one episode from its start.

    Raises:
        EnvironmentLost, ModelUnavailable: nothing is known about the episode; run it again.
        InputError: the model refuses the request, or not even the first prompt fits its context.
    """
    started = time.monotonic()
    turns: list[Turn] = []
    protocol, plan = request.protocol, request.plan.text if request.plan else None
    reset = await environment.reset(request.task)

    async def listed(observation: str) -> str:
        """The observation, with some valid actions where the agent is to be shown them."""
        if not protocol.list_actions:
            return observation
        seed = request_seed(request.key, len(turns), "actions")
        actions = draw_actions(await environment.valid_actions(), protocol.list_actions, seed)
        return f"{observation}\nSome possible actions: {'; '.join(actions)}"

    messages = prompts.opening(
        reset.instruction,
        await listed(reset.observation),
        plan,
        protocol.plan_mode,
        example=prompts.example(request.task.type) if protocol.example else (),
        thoughts=protocol.thoughts,
    )
    plan_prefix = prompts.reply_prefix(plan, protocol.plan_mode)
    start = "" if protocol.thoughts else "Action:"
    score, success, invalid = 0.0, False, 0
    replies: list[Reply] = []
    end: EndReason | None = None

    while end is None:
        prefix = plan_prefix + start
        asked = [*messages, {"role": "assistant", "content": prefix}] if prefix else messages
        try:
            [reply] = await model.chat(
                ChatRequest(
                    asked,
                    temperature=protocol.temperature,
                    max_tokens=protocol.max_tokens,
                    seed=request_seed(request.key, len(turns)),
                    stop=STOP if protocol.thoughts else STOP_ACTING,
                    session=request.key,
                )
            )
        except ContextFull as error:
            if not turns:
                size = sum(len(message["content"]) for message in asked)
                raise InputError(
                    f"{request.task.id}: the agent's first prompt ({size} characters) does not fit "
                    f"the context of {request.model}: {error}; give its server a longer one, or "
                    "shorten the prompt (agent.example=false) or agent.max_tokens"
                ) from error
            end = "context"
            break
        replies.append(reply)

        # A model that began anew has said all of its turn itself.
        text, action, fault = read_action(reply.text if reply.whole else start + reply.text)
        said = text if reply.whole else plan_prefix + text
        messages.append({"role": "assistant", "content": said if said.strip() else NOTHING_SAID})
        if action is None:
            observation, understood, done = NO_ACTION, False, False
        else:
            step = await environment.step(action)
            observation, understood, done = step.observation, step.understood, step.done
            score, success = step.score, step.success
        turns.append(
            Turn(
                reply=text,
                action=action,
                observation=observation,
                score=score,
                reasoning=reply.reasoning,
                fault=reply.fault or ("cut" if fault and reply.truncated else fault),
                understood=understood,
            )
        )
        invalid = 0 if understood else invalid + 1

        if done:
            end = "done" if success else "failed"
        elif invalid >= protocol.invalid_limit:
            end = "invalid_limit"
        elif len(turns) >= protocol.max_steps:
            end = "step_limit"
        else:
            content = prompts.observation(await listed(observation), plan, protocol.plan_mode)
            messages.append({"role": "user", "content": content})

    return Episode(
        key=request.key,
        task_id=request.task.id,
        plan_id=request.plan.id if request.plan else None,
        plan=plan,
        plan_mode=protocol.plan_mode,
        model=request.model,
        repetition=request.repetition,
        messages=messages,
        turns=turns,
        reward=score,
        success=success,
        end=end,
        prompt_tokens=sum(reply.prompt_tokens for reply in replies),
        completion_tokens=sum(reply.completion_tokens for reply in replies),
        cached_tokens=_cached(replies),
        seconds=round(time.monotonic() - started, 3),
    )


def _cached(replies: Sequence[Reply]) -> int | None:
    told = [reply.cached_tokens for reply in replies if reply.cached_tokens is not None]
    return sum(told) if told else None
