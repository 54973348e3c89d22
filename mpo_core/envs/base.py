"""The interface that every text environment offers, and the registry that finds them by name.

A *suite* knows an environment's tasks and settings. It opens *hosts*: heavyweight things (a JVM,
a worker process) that multiplex many *environments*, each of which plays one episode at a time.

All that an environment is lies in one folder and is reached through its suite: tasks, hosts,
expert, prompts with their worked examples, and the rules that make plans of what the expert did.

A third party adds an environment by an entry point of the group `mpo_core.environments` whose
value is a `Suite` class; its config section is then `envs.<entry point name>`. It is imported when
a config names it, no sooner. `examples/cooking` is such a package.
"""

import os
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol, get_args

from pydantic import BaseModel

from mpo_core.checks import Check
from mpo_core.errors import InputError
from mpo_core.likeness import meant
from mpo_core.types import Split, Task

GROUP = "mpo_core.environments"


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


@dataclass(frozen=True)
class Making:
    """Tasks that are generated before the first of them can be played."""

    tasks: Mapping[Split, int]
    """Split -> how many the settings leave of them."""
    made: int
    """How many are generated."""
    seconds: float
    """How long that takes on this machine, about."""

    def __str__(self) -> str:
        minutes = self.seconds / 60
        time = f"{minutes:.0f} min" if minutes >= 1.5 else f"{self.seconds:.0f} s"
        return f"{self.made:,} tasks in about {time}"


class Environment(Protocol):
    """One session; plays one episode after another, one call at a time.

    Every call raises `EnvironmentLost` when the process behind it is gone; the episode is then
    run again from its start, on a new environment.
    """

    async def reset(self, task: Task) -> Reset:
        """Begin an episode of a task. Raises InputError where the task cannot be played."""
        ...

    async def step(self, action: str) -> Step:
        """Do one action, in whatever words."""
        ...

    async def valid_actions(self) -> list[str]:
        """Every action that the environment would accept now. May cost as much as many steps."""
        ...

    async def expert_actions(self, task: Task) -> list[str]:
        """Actions that solve the task from its start.

        Ends the episode under way: call `reset` next.
        """
        ...

    async def close(self) -> None:
        """Give the session back; the process behind it may go on."""
        ...


class Host(Protocol):
    """A process that many environments share."""

    async def environment(self) -> Environment:
        """A new session; starts or restarts the process behind it when needed."""
        ...

    async def close(self) -> None:
        """End the process, and with it all sessions."""
        ...


class Suite(Protocol):
    """All that an environment is. Built from its config section; cheap to make and to send to other
    machines.

    Derive from it: what has a body here need not be said again.
    """

    name: ClassVar[str]
    """That of its entry point, and of its section in `envs`."""

    Config: ClassVar[type[BaseModel]]
    """Its settings, mostly a `Section`, which refuses unknown keys; each decides results unless it
    says otherwise (`mpo_core.config.declare`)."""

    prompts: ClassVar[Path]
    """Folder of its prompts and worked examples; `mpo_core.prompts` says what lies in it."""

    reference_name: ClassVar[str] = ""
    """What the paper's repository and published data call it, where that is another name."""

    generate: ClassVar[Callable[..., Any] | None] = None
    """Writes tasks of one's own into a folder (`mpo tasks NAME generate`), where it can: takes the
    folder, the number of tasks of each split, a seed, `on_game` to be called for each task, and
    options by name; returns a report to print."""

    @abstractmethod
    def __init__(self, config: Any) -> None:
        """`config` is a `Config`."""

    @abstractmethod
    def tasks(self, split: Split) -> Sequence[Task]:
        """The split's tasks, in an order that is the same on every machine."""

    @abstractmethod
    def step_limit(self, task: Task) -> int:
        """Actions after which an agent's episode ends."""

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """The settings that change what an episode is (part of every episode's key)."""

    @abstractmethod
    def host(self) -> Host:
        """A host of sessions, whose process is started with the first of them."""

    def plan_steps(
        self, task: Task, actions: Sequence[str], beginning: str
    ) -> Sequence[str] | None:
        """The rules of abstraction: steps of a general plan, from what the expert did.

        Each is without its number, capital letter and full stop, and without any digit; none where
        the actions tell nothing, and None where the environment has no rules.

        Args:
            beginning: what the expert was told first: instruction and observation.
        """
        return None

    def published_id(self, task: Task) -> str:
        """The task's id in the paper's published plans; its own where there is none."""
        return task.id

    def faults(self) -> Sequence[str]:
        """What is wrong with the environment's data, a line each; such tasks are not used."""
        return ()

    def left_out(self) -> Sequence[str]:
        """Tasks that the data holds and that are not used for another reason, a line each."""
        return ()

    def checks(self) -> Sequence[Check]:
        """What this machine has of what the environment needs."""
        return ()

    def to_make(self) -> Making | None:
        """What `tasks` would generate first; None where all is there."""
        return None

    def trial(self, folder: Path) -> tuple["Suite", Task]:
        """A task to try the environment with, and the suite that plays it: what has to be generated
        for it goes into the folder. Raises InputError where there is none."""
        for split in get_args(Split):
            for task in self.tasks(split):
                return self, task
        raise InputError(f"envs.{self.name}: the settings leave no task")

    def wordings(self, actions: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The same actions in other words that agents use and that the environment must understand
        too, by a name for them; each differs from the actions in some."""
        return {}


def installed() -> list[str]:
    """The names of the environments that are installed."""
    return sorted(_registered())


IN_THE_CHECKOUT = {"cooking": "examples/cooking"}
"""Environment -> the folder of its package, for those that are not installed with the suite."""


def suite_class(name: str) -> type[Suite]:
    """The suite registered under `name`.

    Raises:
        InputError: there is none, several packages claim the name, or what stands there is no
            whole suite.
    """
    points = _registered()
    if name not in points:
        known = ", ".join(sorted(points)) or "none (is the package installed?)"
        hint = meant(name, points)
        own = IN_THE_CHECKOUT.get(name)
        package = f"`pip install --no-deps {own}`" if own else "`pip install` its package"
        remedy = "" if hint else f"; {package} to have it"
        raise InputError(f"envs.{name}: no such environment{hint}; installed: {known}{remedy}")
    places = sorted({point.value for point in points[name]})
    if len(places) > 1:
        raise InputError(
            f"envs.{name}: several packages have this name: {', '.join(places)}; uninstall all but "
            "one"
        )
    try:
        suite = points[name][0].load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"envs.{name}: {places[0]} cannot be imported: {error}") from error
    lacking = {attribute for attribute in ("Config", "prompts") if not hasattr(suite, attribute)}
    lacking |= getattr(suite, "__abstractmethods__", set())
    if lacking:
        raise InputError(
            f"envs.{name}: {places[0]} lacks {', '.join(sorted(lacking))}, which every environment "
            "has (mpo_core.envs.base.Suite)"
        )
    if getattr(suite, "name", None) != name:
        raise InputError(f"envs.{name}: {places[0]} does not call itself {name!r}: set its `name`")
    return suite


def _registered() -> Mapping[str, list[EntryPoint]]:
    """The entry points by name. All packages are looked through for it, so once for each state of
    the folders that they are installed in."""
    return _registered_in(tuple((folder, _changed(folder)) for folder in sys.path))


def _changed(folder: str) -> float:
    try:
        return os.stat(folder).st_mtime
    except OSError:
        return 0


@lru_cache(1)
def _registered_in(_: tuple[tuple[str, float], ...]) -> Mapping[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found
