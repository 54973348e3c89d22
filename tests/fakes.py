"""A small environment in plain Python, for tests of what is built on environments."""

from dataclasses import dataclass, field
from typing import ClassVar

from mpo_core.completions import Reply
from mpo_core.config import Section
from mpo_core.envs.base import Reset, Step, Suite, suite_class
from mpo_core.episode import EpisodeProtocol, EpisodeRequest
from mpo_core.errors import EnvironmentLost
from mpo_core.prompts import Prompts
from mpo_core.types import Episode, Plan, Task

PROMPTS = Prompts(
    agent="Play.",
    agent_act="Act.",
    examples={
        "": [
            {"role": "user", "content": "Find a key.\n\nA room."},
            {"role": "assistant", "content": "Thought: I look.\nAction: look"},
        ]
    },
    planner="Plan for: {task}",
)


def task(number: int = 0, split: str = "train") -> Task:
    return Task(
        id=f"toy/door/{number}",
        env="toy",
        type="door",
        split=split,
        variation=number,
        description=f"Open door {number}.",
    )


def protocol(**changes) -> EpisodeProtocol:
    settings = {
        "plan_mode": "query",
        "temperature": 0.0,
        "max_tokens": 32,
        "invalid_limit": 3,
        "max_steps": 6,
        "example": True,
        "thoughts": True,
        "list_actions": 0,
        "seed": 1,
        "prompts": PROMPTS.fingerprint,
        "env": {},
    }
    return EpisodeProtocol(**settings | changes)


def request(number: int = 0, plan: str | None = "Step 1: Knock.", repetition: int = 0, **changes):
    asked = task(number)
    given = Plan.of(asked.id, plan, "test") if plan is not None else None
    return EpisodeRequest.of(asked, given, "model", protocol(**changes), repetition)


def episode(asked: EpisodeRequest, reward: float, success: bool = False) -> Episode:
    return Episode(
        key=asked.key,
        task_id=asked.task.id,
        plan_id=asked.plan.id if asked.plan else None,
        plan=asked.plan.text if asked.plan else None,
        plan_mode="query",
        model="m",
        repetition=asked.repetition,
        messages=[],
        turns=[],
        reward=reward,
        success=success,
        end="step_limit",
    )


@dataclass
class ToyEnvironment:
    """`knock` scores 0.5, then `enter` solves it; `explode` fails it for good."""

    lost_after: int | None = None
    steps: int = 0
    score: float = 0.0

    async def reset(self, task: Task) -> Reset:
        self.steps, self.score = 0, 0.0
        return Reset(task.description, "A closed door.")

    async def step(self, action: str) -> Step:
        assert self.steps >= 0, "reset first"
        self.steps += 1
        if self.lost_after is not None and self.steps > self.lost_after:
            raise EnvironmentLost("gone")
        if action == "knock":
            self.score = max(self.score, 0.5)
        elif action == "enter":
            self.score = 1.0
        done = action in ("enter", "explode")
        understood = action in ("knock", "enter", "explode", "look")
        return Step(f"You {action}.", self.score, done, self.score == 1.0, understood)

    async def expert_actions(self, task: Task) -> list[str]:
        self.steps = -1  # Whoever asks must reset before the next step.
        return ["knock", "enter"]

    async def valid_actions(self) -> list[str]:
        return ["knock", "enter", "look"]

    async def close(self) -> None:
        pass


class Doors(Suite):
    """Two doors a split to open, under the name of an environment that has prompts."""

    name = "alfworld"
    Config: ClassVar[type[Section]] = Section
    prompts = suite_class("alfworld").prompts

    def __init__(self, config: Section) -> None:
        pass

    def tasks(self, split):
        first = {"train": 0, "seen": 10, "unseen": 20}[split]
        named = [task(number, split) for number in range(first, first + 2)]
        return [one.model_copy(update={"env": self.name}) for one in named]

    def step_limit(self, task):
        return 3

    def protocol(self):
        return {}

    def host(self):
        return self

    async def environment(self):
        return ToyEnvironment()

    async def close(self):
        pass


@dataclass
class Replies:
    """A model that gives the replies of a list, whatever it is asked."""

    texts: list[str]
    fingerprint: str = "replies"
    asked: list[list[dict]] = field(default_factory=list)

    async def chat(self, request) -> list[Reply]:
        self.asked.append(list(request.messages))
        first = len(self.asked) - 1
        texts = [self.texts[(first + k) % len(self.texts)] for k in range(request.n)]
        return [Reply(text, completion_tokens=1) for text in texts]

    async def close(self) -> None:
        pass
