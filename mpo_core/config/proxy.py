"""How the planning proxy stands between agents and their endpoint (`mpo proxy`, docs/proxy.md).

Nothing here decides a run's results: what a conversation was given stands in its record.
"""

from ipaddress import ip_address
from pathlib import Path

import jmespath
from pydantic import PositiveInt, field_validator, model_validator

from mpo_core.config.declare import Section, operational
from mpo_core.proxy.expressions import compiled
from mpo_core.types import PlanMode

VARIABLE = r"^[A-Za-z_]\w*$"


class ProxyConfig(Section):
    """The planner in front of an OpenAI-compatible endpoint: where, for whom, and how plans are
    given."""

    folder: Path = operational(Path("runs/proxy"))
    """Where conversations, feedback and the planner's versions are kept; on a disk of the machine.
    Several workers share it."""
    host: str = operational("127.0.0.1")
    """Address to listen on; beyond loopback, `key_env` must hold a key."""
    port: int = operational(8100, ge=0, le=65535)
    """Port to listen on; 0 picks a free one."""
    workers: PositiveInt = operational(1)
    """Processes that answer."""
    key_env: str = operational("MPO_PROXY_KEY", pattern=VARIABLE)
    """Environment variable with the key that callers send, as `Authorization: Bearer KEY` or
    `X-MPO-Key: KEY`. Where it is not set, no key is asked for."""
    upstream_key_env: str | None = operational(None, pattern=VARIABLE)
    """Environment variable with the upstream's key; null passes on the `Authorization` that each
    caller sends."""
    mode: PlanMode = operational("query")
    """Where the plan is put: into the message with the task, after every user or tool message from
    there on, or as the beginning of the reply, for which the upstream must go on from one."""
    task_regex: str | None = operational(None)
    """Takes the task out of the first user message: what the group `task` matches, else the first
    group, else the whole match. By default the task is that message, without its examples."""
    task_jmespath: str | None = operational(None)
    """Takes the task out of the request's body instead, such as `metadata.task`."""
    off: float = operational(0.0, ge=0, le=1)
    """Share of new conversations that get no plan, to compare with."""
    canary: float = operational(0.0, ge=0, le=1)
    """Share of new conversations that a newly trained planner is given first; 0 puts it into the
    place of the old one at once."""
    explore: PositiveInt = operational(1)
    """Plans to try for each task: its first conversations get a new one each, later ones that
    which was tried least. 1 keeps to one plan a task and planner."""
    planner_timeout_s: float = operational(20, gt=0)
    """Seconds that a new conversation waits for its plan before it goes on without one."""
    planner_key_env: str = operational("OPENAI_API_KEY", pattern=VARIABLE)
    """Environment variable with the key of a planner that is served elsewhere."""
    planner_concurrency: PositiveInt = operational(32)
    """Requests to the planner in flight from one worker at most."""
    temperature: float = operational(0.8, ge=0)
    """The planner's, where `explore` is above 1 or a caller asks for a fresh plan; else its plan is
    the greedy one."""
    max_tokens: PositiveInt = operational(512)
    """Longest plan, in tokens."""
    longest_task: PositiveInt = operational(20_000)
    """Characters of a task that is planned for; a longer one goes on without a plan."""
    record_messages: bool = operational(False)
    """Keep the messages of conversations, as their callers sent them."""
    redact: list[str] = operational([])
    """Regular expressions whose matches are left out of what is kept of messages."""
    max_body_mb: float = operational(64, gt=0)
    """Largest body of a request."""
    timeout_s: float = operational(600, gt=0)
    """Longest silence of the upstream before a request is given up."""
    connections: PositiveInt = operational(1000)
    """Requests to the upstream in flight from one worker at most."""

    @field_validator("task_regex")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        compiled(pattern or "")
        return pattern

    @field_validator("redact")
    @classmethod
    def _are_patterns(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            if compiled(pattern).match(""):
                raise ValueError(f"{pattern!r} matches nothing at all; give what is to be left out")
        return patterns

    @field_validator("task_jmespath")
    @classmethod
    def _is_an_expression(cls, expression: str | None) -> str | None:
        try:
            jmespath.compile(expression or "@")
        except jmespath.exceptions.JMESPathError as error:
            raise ValueError(f"{expression!r} is no JMESPath: {_one_line(error)}") from error
        return expression

    @model_validator(mode="after")
    def _one_rule(self) -> "ProxyConfig":
        if self.task_regex and self.task_jmespath:
            raise ValueError("task_regex and task_jmespath: give one of them")
        return self


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from its own machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
