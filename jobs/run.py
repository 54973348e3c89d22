"""A run: its config, folder, environments, models and record of time, shared by all stages."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from jobs.same_run import refuse_other_settings
from mpo_core import aio
from mpo_core.cache import default_cache
from mpo_core.chat_templates import template_fault
from mpo_core.config import Config, identity, save_config
from mpo_core.endpoint import EndpointModel
from mpo_core.envs.base import Suite, suite_class
from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.ledger import read_records
from mpo_core.local import LocalBackend
from mpo_core.models import ChatModel
from mpo_core.probe import Finding, for_probing, needs_of, probe
from mpo_core.prompts import Prompts, load_prompts
from mpo_core.textfile import read_notes
from mpo_core.tracking import MlflowTracker, NoTracker, Tracker, flat
from mpo_core.types import Record, Split, Task, content_hash

R = TypeVar("R", bound=Record)
log = logging.getLogger(__name__)


class Run:
    """Everything is checked on the way in: a Run that was made can be started.

    Use as a context manager to work in it; what it started is stopped at the end.
    """

    def __init__(self, config: Config) -> None:
        """Raises InputError for whatever the run would stumble over later."""
        default_cache()  # Must be known: libraries would stumble over a user without a home.
        refuse_other_settings(config)
        self.config = config
        self.dir = config.run_dir
        self.suites: dict[str, Suite] = {
            name: suite_class(name)(section) for name, section in config.envs.items()
        }
        self.prompts = prompts_of(config)
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
                advice = f"leave {split} out of evaluation.splits, or raise envs.*.tasks.{split}"
                if split == "train":
                    advice = "raise envs.*.tasks.train"
                raise InputError(f"envs: no {split} task is left by the settings; {advice}")
        given = {
            f"evaluation.plan_files.{arm}": files
            for arm, files in config.evaluation.plan_files.items()
        }
        for key, files in (given | {"planner.sampled": config.planner.sampled}).items():
            for path in files:
                if not path.is_file():
                    raise InputError(f"{key}: {path}: no such file")
        self.backend = _backend(config)
        self._findings: dict[str, Finding] = {}
        asked = [prompts.planner_messages("a task") for prompts in self.prompts.values()]
        for name in dict.fromkeys([config.planner.model, config.agent.model]):
            if config.models[name].source:
                fault = template_fault(config, name, self.backend.source(name), asked)
                if fault:
                    raise InputError(fault)

    def __enter__(self) -> "Run":
        """Begin the work: only now is something written. Raises InputError where that cannot be."""
        try:
            save_config(self.config, self.dir / "config.yaml")
        except InputError as error:
            raise InputError(f"runs_dir: {error}") from error
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        try:
            if "tracker" in self.__dict__:
                status = "FINISHED" if kind is None else "FAILED"
                if kind is not None and issubclass(kind, KeyboardInterrupt):
                    status = "KILLED"
                self.tracker.end(status)
        finally:
            self.backend.close()

    @property
    def splits(self) -> list[Split]:
        """The splits that this run plays, training first."""
        return list(dict.fromkeys(["train", *self.config.evaluation.splits]))

    @property
    def controls(self) -> dict[str, int]:
        """The control planners (`scoring.shuffle`) -> their seeds."""
        return {f"shuffled-{seed}": seed for seed in self.config.scoring.shuffle}

    def tasks(self, split: Split) -> list[Task]:
        """The split's tasks of all environments, without their instructions."""
        return [task for suite in self.suites.values() for task in suite.tasks(split)]

    def published_id(self, task: Task) -> str:
        """What the published data calls a task."""
        return self.suites[task.env].published_id(task)

    @cached_property
    def tracker(self) -> Tracker:
        if not self.config.tracking.enabled:
            return NoTracker()
        config = self.config
        params = flat(config.model_dump(mode="json"))
        # By its name too: the copy of a run's folder is a run of its own.
        own = content_hash(config.name, identity(config))
        return MlflowTracker(config.tracking, config.runs_dir, self.dir, params, own)

    def model(self, version: str) -> ChatModel:
        """A client for the `agent`, or for a version of the planner: `base`, or one trained here.

        Starts the engines where they are not yet up. Raises InputError where it is not trained.
        """
        with self.timed("engines"):
            model, folder = self._weights(version)
            if folder is None:
                return self.chat_model(model)
            return self.backend.trained_model(model, folder, own_engine=self._own_engine(version))

    def chat_model(self, name: str) -> ChatModel:
        """A client for a model of the config; an endpoint is known by then (`probe_endpoint`)."""
        model = self.backend.model(name)
        if isinstance(model, EndpointModel):
            found = self.probe_endpoint(name)
            model.know(found.lacks, found.asked - found.lacks)
        return model

    def probe_endpoints(self) -> None:
        """Find out what the endpoints of this run take, before anything is paid for.

        Raises:
            InputError: one of them cannot be used.
        """
        for name in needs_of(self.config):
            self.probe_endpoint(name)

    def probe_endpoint(self, name: str) -> Finding:
        """What the endpoint of a model takes, asked once; says so."""
        if name not in self._findings:

            async def ask(model: EndpointModel) -> Finding:
                try:
                    return await probe(model, needs_of(self.config).get(name, ()))
                finally:
                    await model.close()

            found = aio.run(ask(for_probing(self.backend.model(name))))
            print(f"model {name}: {found}", file=sys.stderr)
            self._findings[name] = found
        return self._findings[name]

    def fingerprint(self, version: str) -> str:
        """Identity of what `model` gives, without a connection."""
        model, folder = self._weights(version)
        if folder is None:
            return self.backend.fingerprint(model)
        return self.backend.trained_fingerprint(model, folder)

    def trained_folder(self, version: str) -> Path:
        """Where the training of the `agent`, or of a version of the planner, leaves its weights."""
        return self.dir / "agent" / "sft" if version == "agent" else self.dir / "planner" / version

    def training_summary(self, version: str) -> dict[str, Any]:
        """What a version's training wrote; empty before it ended."""
        return read_notes(self.trained_folder(version) / "training.json")

    def records(self, name: str, kind: type[R]) -> list[R]:
        """What one of the run's files holds; nothing before it is written."""
        path = self.dir / name
        return read_records(path, kind) if path.is_file() else []

    def _weights(self, version: str) -> tuple[str, Path | None]:
        """The model in the config, and the folder of what was trained on top of it."""
        role = self.config.agent if version == "agent" else self.config.planner
        if version == "base" or (version == "agent" and role.sft is None):
            return role.model, None
        if not self.training_summary(version):
            raise InputError(
                f"{self.trained_folder(version)}: not trained yet; run `mpo run` or `mpo train`"
            )
        return role.model, self.trained_folder(version)

    def _own_engine(self, version: str) -> bool:
        if version == "agent":
            trained = self.config.agent.sft
            return trained is not None and trained.method == "full"
        return self.config.planner.serve == "engine"

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
        return read_notes(self.dir / "timings.json")


@dataclass(frozen=True)
class Round:
    """One round: the planner `start` is sampled, and trained into the planner `version`."""

    number: int
    start: str
    version: str

    @classmethod
    def of(cls, config: Config, number: int) -> "Round":
        """A round of a run, the first being number 1."""
        first = "sft" if config.planner.sft else "base"
        return cls(number, cls._version(number - 1) or first, cls._version(number))

    @staticmethod
    def _version(number: int) -> str:
        return {0: "", 1: "mpo"}.get(number, f"mpo-{number}")


def in_round(name: str, number: int) -> str:
    """A file's name in a round: `scores.parquet` in the first, `scores-2.parquet` in the second."""
    stem, suffix = name.split(".")
    return name if number == 1 else f"{stem}-{number}.{suffix}"


def prompts_of(config: Config) -> dict[str, Prompts]:
    """Environment -> what its agents and planners are told. Raises InputError for faulty files."""
    told = {env: load_prompts(env, config.prompts_dir) for env in config.envs}
    if config.planner.example:
        return told
    return {env: prompts.zero_shot() for env, prompts in told.items()}


def _backend(config: Config) -> Any:
    if not config.cluster.enabled:
        return LocalBackend(config)
    from cluster.backend import ClusterBackend

    return ClusterBackend(config)
