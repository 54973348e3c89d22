"""Conversations with feedback as the records of the suite's stages: tasks, plans, episodes, scores.

An episode is a conversation whose final feedback has come. Its arm is the one that the conversation
was drawn into, whether or not a plan came of it; a plan's score is of those that were given it.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from mpo_core.proxy.records import Conversation, Feedback, Usage
from mpo_core.refusals import clean
from mpo_core.types import Episode, Message, PlanScore, Record, content_hash

NO_USAGE = Usage()


class Assignment(Record):
    """What an episode was drawn into; its texts stand in the episode."""

    key: str
    """The episode's."""
    conversation: str
    task_id: str
    plan_id: str | None
    arm: str
    planner: str
    """Version that wrote the plan; empty without one."""
    why: str
    """Why there is no plan though one was due."""
    model: str
    begun: float
    """Unix seconds."""
    requests: int
    """Requests of the agent, its steps."""
    reward: float

    @classmethod
    def of(
        cls, conversation: Conversation, feedback: Feedback, usage: Usage = NO_USAGE
    ) -> "Assignment":
        """What is kept of a conversation, by its final feedback."""
        return cls(
            key=episode_key_of(conversation.id),
            conversation=conversation.id,
            task_id=conversation.task_id,
            plan_id=conversation.plan_id,
            arm=conversation.arm,
            planner=conversation.planner,
            why=conversation.why,
            model=conversation.model,
            begun=conversation.begun,
            requests=usage.requests,
            reward=feedback.reward,
        )


def episode_key_of(conversation: str) -> str:
    """An episode that a caller has played is known by its conversation's id."""
    return content_hash("feedback", conversation)


def episode_of(
    conversation: Conversation,
    feedback: Feedback,
    usage: Usage = NO_USAGE,
    messages: Sequence[Any] = (),
    repetition: int = 0,
) -> Episode:
    """A conversation and its final feedback as an episode.

    It is a success where the caller says so; where the caller says nothing, by a reward of 1. Its
    turns are the caller's, and not known.

    Args:
        repetition: how many of the task's episodes came before it under the same plan.
    """
    success = feedback.reward == 1 if feedback.success is None else feedback.success
    return Episode(
        key=episode_key_of(conversation.id),
        task_id=conversation.task_id,
        plan_id=conversation.plan_id,
        plan=conversation.plan,
        plan_mode=conversation.mode,
        model=conversation.model,
        repetition=repetition,
        messages=[_plain(message) for message in messages],
        turns=[],
        reward=feedback.reward,
        success=success,
        end="done" if success else "failed",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=max(0.0, feedback.at - conversation.begun),
    )


def scores_of(episodes: Iterable[Assignment]) -> list[PlanScore]:
    """The scores of the plans that episodes were given, in the order in which these first come."""
    rewards: dict[tuple[str, str], list[float]] = {}
    for one in episodes:
        if one.plan_id is not None:
            rewards.setdefault((one.task_id, one.plan_id), []).append(one.reward)
    return [PlanScore.of(task, plan, of_plan) for (task, plan), of_plan in rewards.items()]


def _plain(message: Any) -> Message:
    """A message as an episode has it: a role and a text, whatever else it was made of."""
    if not isinstance(message, dict):
        return {"role": "user", "content": clean(str(message))}
    role = str(message.get("role") or message.get("type") or "user")
    content = message.get("content")
    rest = {k: v for k, v in message.items() if k not in ("role", "content") and v is not None}
    if not isinstance(content, str):
        parts = content if isinstance(content, list) else []
        texts = [part["text"] for part in parts if isinstance(part, dict) and "text" in part]
        content = "\n".join(map(str, texts))
    shown = [content] if content else []
    if rest and (not content or "tool_calls" in rest):
        shown.append(json.dumps(rest))
    return {"role": clean(role), "content": clean("\n".join(shown))}
