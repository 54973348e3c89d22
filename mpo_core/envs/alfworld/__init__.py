"""ALFWorld: household tasks in one room of a house, as text.

Six types of task. The games are the released ones where they are at hand, else generated from the
tables that the alfworld package ships (`generation/`). A host (`host.py`) runs many sessions of
the real engine (`engine.py`) in a few processes.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any, ClassVar, get_args

from pydantic import NonNegativeInt, PositiveInt, field_validator, model_validator

from mpo_core.cache import default_cache, unwritable
from mpo_core.checks import Check, package
from mpo_core.config import Section, decides, operational
from mpo_core.envs.alfworld.commands import PUTTINGS, reworded
from mpo_core.envs.alfworld.games import TASK_TYPES, Index, TaskType, data_root, index_games
from mpo_core.envs.alfworld.generation import generate, provenance
from mpo_core.envs.alfworld.host import ALFWorldEnvironment, ALFWorldHost, HostSettings
from mpo_core.envs.alfworld.rules import household_steps
from mpo_core.envs.base import Making, Suite
from mpo_core.envs.draw import TaskLimits, draw
from mpo_core.errors import InputError
from mpo_core.paths import at_home
from mpo_core.progress import Bar
from mpo_core.types import Split, Task, content_hash

__all__ = ["ALFWorld", "ALFWorldEnvironment", "ALFWorldHost"]

STEP_LIMIT = 30
GAME_S = 0.5
"""That generating a game takes one core, about."""
START_S = 5.0
"""Before the first one is made."""


class Generated(Section):
    """Games to generate where there is no data folder; made once and kept in the cache."""

    always: bool = decides(False)
    """Play these, whatever data folder there is."""

    seed: int = decides(0, ge=0)
    """The same seed gives the same games."""
    train: NonNegativeInt = decides(24)
    """Games for training."""
    seen: NonNegativeInt = decides(12)
    """Games in rooms of the training."""
    unseen: NonNegativeInt = decides(12)
    """Games in rooms that no training game has."""
    prior_power: float = decides(1.0, ge=0)
    """Exponent of the place prior: 0 puts objects anywhere, above 1 makes places more certain."""

    @property
    def counts(self) -> dict[Split, int]:
        return {"train": self.train, "seen": self.seen, "unseen": self.unseen}


class ALFWorldConfig(Section):
    """Settings of the ALFWorld environment."""

    data: Path | None = decides(None)
    """Folder of games: json_2.1.1 or json_2.1.2 of the release, the folder that holds it, or one
    that `mpo tasks alfworld generate` made. By default ALFWORLD_DATA, else ~/.cache/alfworld; where
    these hold no games, `generated` says which ones to make."""
    generated: Generated = Generated()
    tasks: TaskLimits = TaskLimits()
    """Tasks of each split at most (`train`, `seen`, `unseen`), spread evenly over the types."""
    task_types: list[TaskType] | None = decides(None, min_length=1)
    """Task types to use; by default all six."""
    workers: PositiveInt = operational(1)
    """Engine processes of one host; each keeps about one core busy."""
    sessions_per_worker: PositiveInt = operational(32)
    """Sessions that one process holds at most; further ones wait until one is closed."""
    recycle_after: PositiveInt = operational(1000)
    """Episodes after which a fresh process takes an old one's place."""
    call_timeout_s: float = operational(120, gt=0)
    """Seconds after which a process that does not answer is taken for hung and replaced."""

    @model_validator(mode="after")
    def _one_source(self) -> "ALFWorldConfig":
        if self.data and self.generated.always:
            raise ValueError("data and generated.always: give one of them")
        return self

    @field_validator("task_types")
    @classmethod
    def _once(cls, names: list[str] | None) -> list[str] | None:
        if names and len(set(names)) < len(names):
            raise ValueError("a task type is listed twice")
        return names


class ALFWorld(Suite):
    """The ALFWorld suite."""

    name = "alfworld"
    Config: ClassVar[type[ALFWorldConfig]] = ALFWorldConfig
    prompts = Path(__file__).parent / "prompts"
    generate = staticmethod(generate)

    def __init__(self, config: ALFWorldConfig | None = None) -> None:
        self.config = config or ALFWorldConfig()
        # Read here, where the run is decided: a suite is sent to other machines.
        given = self.config.data or os.environ.get("ALFWORLD_DATA")
        self._data = (at_home(given) if given else downloaded()).absolute()

    def tasks(self, split: Split) -> Sequence[Task]:
        """The split's tasks, with their instructions, by id.

        Raises:
            InputError: the data folder holds no games.
        """
        types = self.config.task_types
        tasks = [t for t in self._index.tasks[split] if types is None or t.type in types]
        return draw(tasks, getattr(self.config.tasks, split))

    def faults(self) -> Sequence[str]:
        """Games of the data folder that cannot be used, and why."""
        return [f"{fault.path}: {fault.reason}" for fault in self._index.faults]

    def left_out(self) -> Sequence[str]:
        """Movable-receptacle, sliced-object and unsolvable games, which upstream leaves out too."""
        return [f"{fault.path}: {fault.reason}" for fault in self._index.left_out]

    def step_limit(self, task: Task) -> int:
        return STEP_LIMIT

    def protocol(self) -> dict[str, Any]:
        return {}

    def host(self) -> ALFWorldHost:
        config = self.config
        return ALFWorldHost(
            HostSettings(
                root=self.root(),
                translations=default_cache() / "alfworld" / "translations",
                workers=config.workers,
                sessions_per_worker=config.sessions_per_worker,
                recycle_after=config.recycle_after,
                call_timeout_s=config.call_timeout_s,
            )
        )

    def plan_steps(self, task: Task, actions: Sequence[str], beginning: str) -> list[str]:
        return household_steps(actions)

    def checks(self) -> Sequence[Check]:
        return [package("alfworld"), package("textworld")]

    def to_make(self) -> Making | None:
        wanted = self.config.generated
        if self._given() or generated_folder(wanted).is_dir():
            return None
        # The types of generated games take turns.
        types = self.config.task_types or TASK_TYPES
        tasks = {
            split: sum(kind in types for kind in islice(cycle(TASK_TYPES), count))
            for split, count in wanted.counts.items()
        }
        limits = {split: getattr(self.config.tasks, split) for split in tasks}
        made = sum(wanted.counts.values())
        return Making(
            {n: c if limits[n] is None else min(c, limits[n]) for n, c in tasks.items()},
            made,
            START_S + made * GAME_S / (os.cpu_count() or 1),
        )

    def trial(self, folder: Path) -> tuple[Suite, Task]:
        """One of a game in which something is put somewhere, where there is such a game."""
        if self.to_make() is None:
            tasks = [task for split in get_args(Split) for task in self.tasks(split)]
            putting = [task for task in tasks if task.type != "look_at_obj_in_light"]
            for task in putting or tasks:
                return self, task
            return super().trial(folder)
        wanted = self.config.generated
        generate(folder / "games", {"train": 1}, wanted.seed, wanted.prior_power, workers=1)
        suite = ALFWorld(ALFWorldConfig(data=folder / "games"))
        return suite, suite.tasks("train")[0]

    def wordings(self, actions: Sequence[str]) -> Mapping[str, Sequence[str]]:
        found = {putting: [reworded(a, putting) for a in actions] for putting in PUTTINGS}
        return {putting: words for putting, words in found.items() if words != list(actions)}

    def root(self) -> Path:
        """The folder of the splits; generates the games where there are none.

        Generated games are the same everywhere, so a machine that lacks them makes its own.
        """
        return self._given() or generated_games(self.config.generated)

    def _given(self) -> Path | None:
        """The folder of the splits, where the games need not be generated."""
        # The alfworld package sets ALFWORLD_DATA to its own default, empty or not.
        if self.config.generated.always:
            return None
        if self.config.data or self._data != downloaded():
            return data_root(self._data)
        try:
            return data_root(self._data)
        except InputError:
            return None

    @property
    def _index(self) -> Index:
        return _indexed(self.root())


def downloaded() -> Path:
    """Where `alfworld-download` puts the games unless it is told otherwise."""
    try:
        return at_home("~/.cache/alfworld")
    except InputError:
        return default_cache() / "alfworld" / "downloaded"


def generated_folder(wanted: Generated) -> Path:
    """Where generated games are kept, made or not."""
    identity = content_hash(provenance(wanted.counts, wanted.seed, wanted.prior_power))
    return default_cache() / "alfworld" / "games" / identity


def generated_games(wanted: Generated) -> Path:
    """The data folder of generated games, made with a progress bar where the cache lacks it."""
    folder = generated_folder(wanted)
    if folder.is_dir():
        return folder
    try:
        # As the games will be written: aside, then renamed.
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".").cleanup()
    except OSError as error:
        raise unwritable(folder.parent, error) from error
    with Bar("ALFWorld games", sum(wanted.counts.values()), 0, "games") as shown:
        try:
            generate(folder, wanted.counts, wanted.seed, wanted.prior_power, on_game=shown.update)
        except InputError:
            # Another process may have been first.
            if not folder.is_dir():
                raise
    return folder


@cache
def _indexed(root: Path) -> Index:
    return index_games(root, default_cache() / "alfworld" / "index")
