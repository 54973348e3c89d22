"""The interface that every text environment offers, and the registry that finds them by name.

A *suite* knows an environment's tasks and settings. It opens *hosts*: heavyweight things (a JVM,
a worker process) that multiplex many *environments*, each of which plays one episode at a time.

A third party adds an environment by an entry point of the group `mpo_core.environments` whose
value is a `Suite` class; its config section is then `envs.<entry point name>`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from mpo_core.errors import InputError
from mpo_core.types import Split, Task


@dataclass(frozen=True)
class Reset:
    """Start of an episode."""

    instruction: str
    """What is asked, in the environment's words."""
    observation: str


@dataclass(frozen=True)
class Step:
    """Answer to one action."""

    observation: str
    score: float
    """Best score of the episode so far, 0..1. Never falls."""
    done: bool
    """The environment ended the episode: solved, or failed for good."""
    success: bool
    """The task was solved by this step or before."""
    understood: bool = True
    """False when the environment could not parse the action at all."""


class Environment(Protocol):
    """One session; plays one episode after another, one call at a time.

    Every call raises `EnvironmentLost` when the process behind it is gone; the episode is then
    run again from its start, on a new environment.
    """

    async def reset(self, task: Task) -> Reset: ...
    async def step(self, action: str) -> Step: ...

    async def valid_actions(self) -> list[str]:
        """Every action that the environment would accept now. May cost as much as many steps."""
        ...

    async def expert_actions(self, task: Task) -> list[str]:
        """Actions that solve the task from its start.

        Ends the episode under way: call `reset` next.
        """
        ...

    async def close(self) -> None: ...


class Host(Protocol):
    """A process that many environments share."""

    async def environment(self) -> Environment:
        """A new session; starts or restarts the process behind it when needed."""
        ...

    async def close(self) -> None: ...


class Suite(Protocol):
    """An environment's tasks, settings and hosts. Built from its config section; cheap to make."""

    name: str
    Config: ClassVar[type[BaseModel]]
    """Its settings, each of which decides results unless it says otherwise
    (`mpo_core.config.declare`)."""

    def __init__(self, config: BaseModel) -> None: ...

    def tasks(self, split: Split) -> Sequence[Task]:
        """The split's tasks, in an order that is the same on every machine."""
        ...

    def published_id(self, task: Task) -> str:
        """The task's id in the paper's published plans; its own where there is none."""
        ...

    def faults(self) -> Sequence[str]:
        """What is wrong with the environment's data, a line each; such tasks are not used."""
        ...

    def left_out(self) -> Sequence[str]:
        """Tasks that the data holds and that are not used for another reason, a line each."""
        ...

    def step_limit(self, task: Task) -> int: ...

    def protocol(self) -> dict[str, Any]:
        """The settings that change what an episode is (part of every episode's key)."""
        ...

    def host(self) -> Host: ...


def suite_class(name: str) -> type[Suite]:
    """The suite registered under `name`. Raises InputError when there is none."""
    found = {point.name: point for point in entry_points(group="mpo_core.environments")}
    if name not in found:
        known = ", ".join(sorted(found)) or "none (is the package installed?)"
        raise InputError(f"envs.{name}: no such environment; installed: {known}")
    return found[name].load()
