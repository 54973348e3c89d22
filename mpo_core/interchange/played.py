"""What every format is made of: an episode, what its run knows of it, and its conversation parted
into turns."""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from mpo_core.expert import EXPERT
from mpo_core.types import Episode, Message, Task, Turn


@dataclass(frozen=True)
class Played:
    """An episode and what is known of it beside its record."""

    episode: Episode
    arm: str
    """Whose plan it was given: a planner's version, `none`, `expert`, `given` for a plan of no
    planner of the run; several, joined by `, `, where they wrote the same plan. Of a caller's
    conversation, the arm that it was drawn into: `off`, or a version."""
    env: str
    type: str
    """Of the task; empty where it is not known, as are the next two."""
    split: str
    task: str
    """The instruction as the environment words it."""
    stage: str = "episodes"
    """Of the run: expert, scoring, validation, evaluation; feedback for callers' conversations."""
    run: str = "mpo"
    """The run's name."""
    until: float = 0.0
    """Seconds since 1970 by which it had ended; no record says when it was played."""
    conversation: str | None = None
    """What its caller calls it; None for what the suite has played itself."""
    why: str = ""
    """Why a caller's conversation got no plan though one was due."""
    requests: int | None = None
    """Of a caller's agent, whose turns are not known."""

    @classmethod
    def of(cls, episode: Episode, task: Task, arm: str = "given", **known: Any) -> "Played":
        """An episode of this task; without a plan its arm is `none` or `expert`, but for a caller's
        conversation, which is in the arm that it was drawn into."""
        if episode.plan is None and known.get("conversation") is None:
            arm = EXPERT if episode.model == EXPERT else "none"
        return cls(episode, arm, task.env, task.type, task.split, task.description, **known)

    @property
    def by_model(self) -> bool:
        """Whether a model chose the actions, not the environment's own solution."""
        return self.episode.model != EXPERT

    @property
    def called(self) -> str:
        """What its caller calls it, to be found by in other records; else its key."""
        return self.episode.key if self.conversation is None else self.conversation

    @property
    def steps(self) -> int:
        """Actions, those that could not be read among them; of a caller's agent, its requests."""
        return self.episode.steps if self.requests is None else self.requests

    @property
    def about(self) -> dict[str, Any]:
        """All that is no text of a turn, under the names of the records' fields."""
        one = self.episode
        return {
            "run": self.run,
            "stage": self.stage,
            "arm": self.arm,
            "env": self.env,
            "type": self.type,
            "split": self.split,
            "task_id": one.task_id,
            "task": self.task,
            "plan_id": one.plan_id,
            "plan": one.plan,
            "plan_mode": one.plan_mode,
            "model": one.model,
            "repetition": one.repetition,
            "reward": one.reward,
            "success": one.success,
            "end": one.end,
            "steps": self.steps,
            "prompt_tokens": one.prompt_tokens,
            "completion_tokens": one.completion_tokens,
            "seconds": one.seconds,
            **self._of_caller,
        }

    @property
    def _of_caller(self) -> dict[str, Any]:
        if self.conversation is None:
            return {}
        return {"conversation": self.conversation, "why": self.why or None}


@dataclass(frozen=True)
class Exchange:
    """A turn and its place in the conversation."""

    turn: Turn
    said: str
    """The agent's message as it stands in the conversation: with the plan at its beginning where
    the agent was given it as its own thought."""
    shown: tuple[Message, ...]
    """What the agent was sent after it; empty after the last reply."""

    @property
    def observation_in(self) -> str | None:
        """The message by which the agent was shown the observation, where it is more than that
        after the word `Observation:`: with the plan again, or possible actions."""
        text = "\n\n".join(message.get("content", "") for message in self.shown)
        return text if self.shown and text != f"Observation: {self.turn.observation}" else None


def conversation(episode: Episode) -> tuple[list[Message], list[Exchange]]:
    """The messages before the agent's first reply, and its turns.

    Of an episode whose record does not hold its replies, the turns' own texts stand for them.
    """
    messages, turns = episode.messages, episode.turns
    replies = [k for k, message in enumerate(messages) if message.get("role") == "assistant"]
    own = replies[len(replies) - len(turns) :] if len(turns) <= len(replies) else []
    if not own:
        return messages, [Exchange(turn, turn.reply, ()) for turn in turns]
    ends = [*own[1:], len(messages)]
    return messages[: own[0]], [
        Exchange(turn, messages[at].get("content", ""), tuple(messages[at + 1 : end]))
        for turn, at, end in zip(turns, own, ends, strict=True)
    ]


def writable(value: Any) -> Any:
    """The same without what other tools cannot read: half a character is written as Python writes
    it, `\\\\ud83d`, and a number that is none is null."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {writable(key): writable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [writable(one) for one in value]
    return value


def as_json(value: Any) -> str:
    """Compact JSON that every reader of UTF-8 takes."""
    try:
        text = _dumps(value)
        text.encode()
    except ValueError:
        # Half a character, or a number that is none: seldom, and slow to look for.
        return _dumps(writable(value))
    return text


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@cache
def suite_version() -> str:
    """Of the suite, which wrote what is exported."""
    return version("mpo-suite")
