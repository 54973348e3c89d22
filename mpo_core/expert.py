"""The expert: the environment's own solution of a task, played and recorded like any episode.

As an arm of the evaluation it is the upper bound; its episodes are the trajectories that plans
are made of.
"""

from collections.abc import Sequence
from typing import Any, Final

from mpo_core.episode import EpisodeRequest, Protocol
from mpo_core.models import Reply
from mpo_core.types import Message, Task

EXPERT: Final = "expert"
# Some solutions are far longer than what an agent is allowed: the bound is the environment's.
STEP_LIMIT = 1000


def expert_request(
    task: Task, env_protocol: dict[str, Any], told: Protocol | None = None
) -> EpisodeRequest:
    """The expert's one episode of a task, the same in every run: nothing of it is drawn.

    Args:
        told: an agent's protocol, for an episode with the messages of that agent; by default the
            messages hold nothing but actions and observations.
    """
    bare = Protocol(
        plan_mode="query",
        temperature=0,
        max_tokens=1,
        invalid_limit=1,
        max_steps=STEP_LIMIT,
        example=False,
        thoughts=False,
        list_actions=0,
        seed=0,
        prompts="",
        env=env_protocol,
    )
    unlimited = {"max_steps": STEP_LIMIT, "invalid_limit": STEP_LIMIT}
    protocol = told.model_copy(update=unlimited) if told else bare
    return EpisodeRequest.of(task, None, EXPERT, protocol, repetition=0)


class Recital:
    """A chat model that answers with the actions of a list, one after the other."""

    name = fingerprint = EXPERT

    def __init__(self, actions: Sequence[str]) -> None:
        self._actions = iter(actions)

    async def chat(self, messages: Sequence[Message], **_: Any) -> list[Reply]:
        """The next action; an empty reply when there is none left."""
        return [Reply(f" {next(self._actions, '')}")]

    async def close(self) -> None:
        pass
