"""What the proxy keeps of conversations, and what callers report of them.

A task is its text: conversations that ask for the same, word for word, are attempts at one task.
"""

from typing import Any

from pydantic import Field, ValidationError, model_validator

from mpo_core.config.faults import in_words
from mpo_core.errors import InputError
from mpo_core.refusals import clean
from mpo_core.types import Plan, PlanMode, Record, Task, content_hash

ENVIRONMENT = "feedback"
"""What tasks that come from callers have in an environment's place."""
OFF = "off"
"""The arm of the conversations that were to have no plan."""


class Conversation(Record):
    """A caller's conversation and the plan it was given; written when it begins, never changed."""

    id: str = Field(min_length=1)
    task_id: str
    task: str
    """The task's text, as the planner read it."""
    plan_id: str | None = None
    plan: str | None = None
    """The plan's text; None where none was given."""
    planner: str = ""
    """Version that wrote the plan; empty without one."""
    arm: str
    """`off`, or the version of the planner that was due, whether or not a plan came of it."""
    why: str = ""
    """Why there is no plan though one was due."""
    model: str
    """The agent's model, as the caller named it."""
    mode: PlanMode
    turn: str = ""
    """A hash of the turn that the plan was put in first, by which later requests' is found."""
    begun: float
    """Unix seconds."""

    @model_validator(mode="after")
    def _content_is_identity(self) -> "Conversation":
        if self.task_id != task_of(self.task).id:
            raise ValueError("task_id is not that of the task's text")
        plan = self.given
        if self.plan_id != (plan and plan.id):
            raise ValueError("plan_id is not that of the plan's text")
        return self

    @property
    def given(self) -> Plan | None:
        """The plan, as the suite's stages have it; its origin is the planner's version."""
        return None if self.plan is None else Plan.of(self.task_id, self.plan, self.planner)


class Feedback(Record):
    """What a caller reports of a conversation."""

    conversation: str = Field(min_length=1)
    reward: float = Field(ge=0, le=1, strict=True)
    success: bool | None = Field(None, strict=True)
    final: bool = Field(True, strict=True)
    """False for a reward that may still change; a conversation counts by its final one."""
    at: float
    """When it came, unix seconds."""

    @property
    def says(self) -> tuple[float, bool | None]:
        """What is reported, however often and whenever."""
        return self.reward, self.success

    def adds_nothing_to(self, other: "Feedback") -> bool:
        """Whether it says what the other one says, or leaves out what that says of success."""
        return self.reward == other.reward and self.success in (None, other.success)


class Usage(Record):
    """What a conversation has cost so far."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def task_of(text: str) -> Task:
    """The task that a text asks for; its `description` is the text as records keep it."""
    text = clean(text)
    id = f"{ENVIRONMENT}/{content_hash(text)}"
    return Task(id=id, env=ENVIRONMENT, type=ENVIRONMENT, split="train", description=text)


def read_feedback(said: Any, at: float) -> Feedback:
    """What a caller sent: an object with `conversation`, `reward`, `success` and `final`, of which
    the last two may be left out.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(said, dict):
        raise InputError("feedback: expected an object, such as {conversation, reward}")
    if "at" in said:
        raise InputError("at: unknown key")
    try:
        return Feedback.model_validate({**said, "at": at})
    except ValidationError as error:
        raise InputError("; ".join(in_words(fault) for fault in error.errors())) from error
