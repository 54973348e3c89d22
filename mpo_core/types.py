"""The records that travel between stages, each a line of JSON in the run directory.

Invariants:
- Identity is content: `Task.id` names what the task is, `Plan.id` hashes task and text, and
  `Episode.key` hashes everything that decides the episode's distribution. No list position and no
  observation text is ever part of an identity.
- A plan is bound to its task by `task_id`; an episode holds the plan's text itself, so what an
  agent was given can be checked against what it is filed under without a second file.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from operator import attrgetter
from statistics import fmean, stdev
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mpo_core.exact import exact_mean

Split = Literal["train", "seen", "unseen"]
PlanMode = Literal["query", "observation", "thought"]
EndReason = Literal["done", "failed", "step_limit", "invalid_limit", "context"]
Message = dict[str, str]
SHOWN_CHARACTERS = 80
"""Of what an agent said, as far as a report shows it."""


def content_hash(*parts: Any, length: int = 20) -> str:
    """Hex digest of the canonical JSON of `parts`: equal content, equal hash, on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


class Record(BaseModel):
    """A frozen record: unknown fields are refused, so that a file of another kind is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Task(Record):
    """One task instance of an environment."""

    id: str
    """`<env>/<task type>/<variation>`, for example `scienceworld/boil/14`."""
    env: str
    type: str
    split: Split
    variation: int = 0
    description: str = ""
    """The instruction as the environment words it; what the planner reads."""


class Plan(Record):
    """A meta plan for one task."""

    id: str
    task_id: str
    text: str
    origin: str
    """Fingerprint of the model that wrote it, or `expert`, `file:<name>`."""
    sample: int = Field(0, ge=0)
    """Index among the samples drawn for the task."""
    reasoning: str = ""
    """What the model thought before it answered, where it says so; never part of the plan."""

    @classmethod
    def of(
        cls, task_id: str, text: str, origin: str, sample: int = 0, reasoning: str = ""
    ) -> "Plan":
        """A plan whose id is the hash of its task and text."""
        return cls(
            id=content_hash(task_id, text),
            task_id=task_id,
            text=text,
            origin=origin,
            sample=sample,
            reasoning=reasoning,
        )


class Turn(Record):
    """One step of an episode: what the agent replied and what the environment answered."""

    reply: str
    action: str | None
    """The action read from the reply; None when the reply holds none."""
    observation: str
    score: float
    """Best score of the episode so far, 0..1."""
    reasoning: str = ""
    """What the model thought before its reply, where it says so; never part of the conversation."""
    fault: str = ""
    """Why no action was read: a fault of the reply or of its reading."""
    understood: bool = True
    """Whether the environment took the action for one of its own."""


class Episode(Record):
    """One attempt of an agent at a task, whole: written once, never changed."""

    key: str
    task_id: str
    plan_id: str | None
    plan: str | None
    """The plan's text as the agent was given it; None for the arm without plans."""
    plan_mode: PlanMode
    model: str
    """Fingerprint of the agent's model."""
    repetition: int = Field(ge=0)
    messages: list[Message]
    """The conversation as the model was sent it, up to and including its last reply."""
    turns: list[Turn]
    reward: float = Field(ge=0, le=1)
    """Best score reached, 0..1."""
    success: bool
    end: EndReason
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    """Of the prompts', those that the engine found in its cache; None where it does not say."""
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Actions, those that could not be read among them."""
        return len(self.turns)

    @property
    def faults(self) -> Counter[str]:
        """Why no action was read, over the turns without one."""
        return Counter(turn.fault or "no action line" for turn in self.turns if not turn.action)

    @property
    def first_unread(self) -> str:
        """The beginning of the first reply without an action."""
        said = (turn.reply or turn.reasoning for turn in self.turns if not turn.action)
        return " ".join(next(said, "").split())[:SHOWN_CHARACTERS]

    @property
    def not_understood(self) -> int:
        """Actions that the environment did not take for its own."""
        return sum(bool(turn.action) and not turn.understood for turn in self.turns)

    @property
    def first_not_understood(self) -> str:
        """The beginning of the first of them."""
        strange = (turn.action for turn in self.turns if turn.action and not turn.understood)
        return next(strange, "")[:SHOWN_CHARACTERS]


@dataclass(frozen=True, slots=True)
class EpisodeFigures:
    """What scoring and reports need of an episode: attributes of it, without its texts.

    Some hundred bytes, where an episode has tens of thousands.
    """

    key: str
    task_id: str
    plan_id: str | None
    plan_mode: PlanMode
    model: str
    repetition: int
    reward: float
    success: bool
    end: EndReason
    steps: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    faults: dict[str, int]
    first_unread: str
    not_understood: int
    first_not_understood: str

    @classmethod
    def of(cls, episode: Episode) -> "EpisodeFigures":
        """What is kept in memory of an episode."""
        return cls(*_FIGURES(episode))


_FIGURES = attrgetter(*(field.name for field in fields(EpisodeFigures)))


def episode_key(
    task_id: str, plan: str | None, model: str, protocol: dict[str, Any], repetition: int
) -> str:
    """Identity of an episode: the hash of everything that decides its outcome's distribution."""
    return content_hash(task_id, plan, model, protocol, repetition)


class PlanScore(Record):
    """Monte Carlo score of a plan: the mean final reward of its episodes."""

    task_id: str
    plan_id: str
    n: int = Field(gt=0)
    mean: float
    """For readers; plans are compared by `exact`."""
    stderr: float
    """Standard error of the mean; 0 for a single episode, where it is unknown."""
    rewards: tuple[float, ...]
    """The final reward of each episode."""

    @classmethod
    def of(cls, task_id: str, plan_id: str, rewards: Sequence[float]) -> "PlanScore":
        """The score that these rewards give."""
        n = len(rewards)
        return cls(
            task_id=task_id,
            plan_id=plan_id,
            n=n,
            mean=fmean(rewards),
            stderr=stdev(rewards) / math.sqrt(n) if n > 1 else 0.0,
            rewards=tuple(rewards),
        )

    @cached_property
    def exact(self) -> Fraction:
        """The mean reward without the error of floats: the same for plans that earned the same."""
        return exact_mean(self.rewards)


class TaskResult(Record):
    """What an arm of the evaluation reached on one task: means over all its episodes of the task,
    with one plan (a planner's greedy one) or with several sampled ones."""

    env: str
    split: Split
    type: str
    arm: str
    seed: int
    """The run's seed."""
    task_id: str
    sampled: bool = False
    """Whether with sampled plans."""
    reward: float = Field(ge=0, le=1)
    success: float = Field(ge=0, le=1)
    """Share of the episodes that solved the task."""
    steps: float = Field(ge=0)
    n_episodes: int = Field(gt=0)


class PreferencePair(Record):
    """Two plans of one task, the better first, with the evidence for it.

    `prompt`, `chosen` and `rejected` are chat messages, as TRL's conversational datasets hold them.
    """

    task_id: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    chosen_score: PlanScore
    rejected_score: PlanScore
    rule: str


class Demonstration(Record):
    """Answers to imitate: a plan for a task, or what an agent says in an episode.

    `prompt` and `completion` are chat messages, as TRL's conversational datasets hold them. The
    answers are the assistant's messages of the completion, which may hold several turns.
    """

    task_id: str
    prompt: list[Message] = Field(min_length=1)
    completion: list[Message] = Field(min_length=1)
    origin: str
    """Where the answer comes from, as in `Plan.origin`."""


class ScoredAnswer(Record):
    """An answer of the planner, and how much better or worse it did than its task's other ones.

    `prompt` and `completion` are chat messages, as TRL's conversational datasets hold them; the
    completion is one answer.
    """

    task_id: str
    prompt: list[Message] = Field(min_length=1)
    completion: list[Message] = Field(min_length=1, max_length=1)
    advantage: float
    """0 where the plans of a task all tie."""
    score: PlanScore
