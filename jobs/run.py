"""A run: its config, folder, environments, models and record of time, shared by all stages."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from mpo_core.config import Config, save_config
from mpo_core.envs.base import Suite, suite_class
from mpo_core.errors import InputError
from mpo_core.ledger import write_text
from mpo_core.local import LocalBackend
from mpo_core.models import ChatModel
from mpo_core.prompts import Prompts, load_prompts
from mpo_core.tracking import MlflowTracker, NoTracker, Tracker, flat
from mpo_core.types import Split, Task

log = logging.getLogger(__name__)


class Run:
    """Everything is checked on the way in: a Run that was made can be started.

    Use as a context manager; what it started is stopped at the end.
    """

    def __init__(self, config: Config) -> None:
        """Raises InputError for whatever the run would stumble over later."""
        self.config = config
        self.dir = config.run_dir
        self.suites: dict[str, Suite] = {
            name: suite_class(name)(section) for name, section in config.envs.items()
        }
        self.prompts: dict[str, Prompts] = {
            name: load_prompts(name, config.prompts_dir) for name in config.envs
        }
        for name, suite in self.suites.items():
            if faults := suite.faults():
                log.warning(
                    "%s: %d tasks cannot be used, the first: %s (all: mpo tasks %s)",
                    name,
                    len(faults),
                    faults[0],
                    name,
                )
        for split in self.splits:
            if not self.tasks(split):
                raise InputError(f"envs: no {split} task is left by the settings")
        for arm, files in config.evaluation.plan_files.items():
            for path in files:
                if not path.is_file():
                    raise InputError(f"evaluation.plan_files.{arm}: {path}: no such file")
        self.backend = _backend(config)
        try:
            self.dir.mkdir(parents=True, exist_ok=True)
            save_config(config, self.dir / "config.yaml")
        except OSError as error:
            raise InputError(
                f"runs_dir: {self.dir}: cannot be written: {error.strerror}"
            ) from error

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if "tracker" in self.__dict__:
            status = "FINISHED" if kind is None else "FAILED"
            if kind is not None and issubclass(kind, KeyboardInterrupt):
                status = "KILLED"
            self.tracker.end(status)
        self.backend.close()

    @property
    def splits(self) -> list[Split]:
        """The splits that this run plays, training first."""
        return list(dict.fromkeys(["train", *self.config.evaluation.splits]))

    def tasks(self, split: Split) -> list[Task]:
        """The split's tasks of all environments, without their instructions."""
        return [task for suite in self.suites.values() for task in suite.tasks(split)]

    @cached_property
    def tracker(self) -> Tracker:
        if not self.config.tracking.enabled:
            return NoTracker()
        params = flat(self.config.model_dump(mode="json"))
        return MlflowTracker(self.config.tracking, self.config.runs_dir, self.dir, params)

    def model(self, version: str) -> ChatModel:
        """A client for the `agent`, or the planner before (`base`) or after (`mpo`) training.

        Starts the engines where they are not yet up.
        """
        with self.timed("engines"):
            if version == "mpo":
                return self.backend.trained_model(self.planner_dir)
            role = self.config.agent if version == "agent" else self.config.planner
            return self.backend.model(role.model)

    @property
    def planner_dir(self) -> Path:
        """The trained planner."""
        return self.dir / "planner" / "mpo"

    def training_summary(self) -> dict[str, Any]:
        """What the planner's training wrote; empty before it ended."""
        path = self.planner_dir / "training.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    def planner_fingerprint(self, version: str) -> str:
        """Identity of the planner before (`base`) or after (`mpo`) training."""
        if version == "base":
            return self.backend.fingerprint(self.config.planner.model)
        if not self.training_summary():
            raise InputError(f"{self.planner_dir}: no trained planner; run `mpo train` first")
        return self.backend.trained_fingerprint(self.planner_dir)

    @contextmanager
    def timed(self, stage: str) -> Iterator[dict[str, float]]:
        """Adds the stage's seconds, and what is put into the dict, to the run's `timings.json`."""
        amounts: dict[str, float] = {}
        start = time.monotonic()
        try:
            yield amounts
        finally:
            amounts["seconds"] = time.monotonic() - start
            timings = self.timings()
            before = timings.setdefault(stage, {})
            for name, amount in amounts.items():
                before[name] = round(before.get(name, 0) + amount, 3)
            write_text(self.dir / "timings.json", json.dumps(timings, indent=2))

    def timings(self) -> dict[str, dict[str, float]]:
        """Stage -> seconds and amounts, summed over all attempts at the run."""
        path = self.dir / "timings.json"
        return json.loads(path.read_text()) if path.is_file() else {}


def _backend(config: Config):
    if not config.cluster.enabled:
        return LocalBackend(config)
    from cluster.backend import ClusterBackend

    return ClusterBackend(config)
