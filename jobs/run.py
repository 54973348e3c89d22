"""A run: its config, folder, environments, models and record of time, shared by all stages."""

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from jobs.same_run import refuse_other_settings
from mpo_core import aio
from mpo_core.backend import Backend
from mpo_core.cache import default_cache
from mpo_core.chat import ChatModel
from mpo_core.chat_templates import template_fault
from mpo_core.config import Config, identity, save_config
from mpo_core.endpoint import EndpointModel
from mpo_core.envs.base import Making, Suite, suite_class
from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.ledger import read_records
from mpo_core.local import LocalBackend
from mpo_core.probe import Finding, for_probing, needs_of, probe
from mpo_core.prompts import Prompts, load_prompts
from mpo_core.proxy.prompt import planner_prompts
from mpo_core.proxy.records import ENVIRONMENT
from mpo_core.run_folder import REPORT_ASIDE, RunFolder
from mpo_core.textfile import read_notes
from mpo_core.tracking import Kind, MlflowTracker, NoTracker, Tracker
from mpo_core.tracking.about import params_of, source_tags
from mpo_core.training.settings import read_summary
from mpo_core.types import Record, Split, Task, content_hash

R = TypeVar("R", bound=Record)
log = logging.getLogger(__name__)

ENGINES = "engines"
"""The stage in which models are started."""
MODELS = "mpo.models"
"""The tag that says who planner and agent are."""


@dataclass(frozen=True)
class Trainee:
    """What a training of a run makes of a model: the fine-tuned agent, or a planner's version."""

    name: str
    """In the run's curves, times and report: `agent`, or the version."""
    model: str
    """Key in `models` of what is trained."""
    folder: Path
    """Of its weights."""
    own_engine: bool
    """Whether an engine of its own serves it; else it is an adapter of its base's engine."""
    acts: bool = False
    """Whether it is an agent, which acts without a word: its answers are begun for it."""

    def summary(self) -> dict[str, Any]:
        """What its training came to; empty before that has ended."""
        return read_summary(self.folder)

    def require_trained(self) -> None:
        """Raises InputError where it is not trained yet."""
        if not self.summary():
            raise InputError(f"{self.folder}: not trained yet; run `mpo run` or `mpo train`")


class Run:
    """Everything is checked on the way in: a Run that was made can be started.

    Use as a context manager to work in it; what it started is stopped at the end.
    """

    aside = False

    def __init__(
        self, config: Config, source: str = "", *, make: bool = True, aside: bool = False
    ) -> None:
        """
        Args:
            source: what the config was named by: a preset, a file or a run's folder.
            make: whether tasks that have to be generated first are.
            aside: whether the config's arms are played beside the run's own: its settings, its
                report and its run in MLflow stay as they are.

        Raises:
            InputError: for whatever the run would stumble over later.
        """
        default_cache()  # Must be known: libraries would stumble over a user without a home.
        refuse_other_settings(config)
        self.config, self.source, self.aside = config, source, aside
        self.dir = config.run_dir
        self.suites: dict[str, Suite] = {
            name: suite_class(name)(section) for name, section in config.envs.items()
        }
        self.prompts = prompts_of(config)
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
            if name in config.models_with_source:
                fault = template_fault(config, name, self.backend.source(name), asked)
                if fault:
                    raise InputError(fault)
        # Last, since it may take minutes.
        self.to_make = {} if make else _to_make(self.suites)
        self._check_tasks()

    def _check_tasks(self) -> None:
        """Generates those that have to be."""
        for name, suite in self.suites.items():
            if name not in self.to_make and (faults := suite.faults()):
                log.warning(
                    "%s: %d tasks cannot be used, the first: %s (all: mpo tasks %s)",
                    name,
                    len(faults),
                    faults[0],
                    name,
                )
        for split in self.splits:
            if self.suites and not self.n_tasks(split):
                advice = f"leave {split} out of evaluation.splits, or raise envs.*.tasks.{split}"
                if split == "train":
                    advice = "raise envs.*.tasks.train"
                raise InputError(f"envs: no {split} task is left by the settings; {advice}")

    def __enter__(self) -> "Run":
        """Begin the work: only now is something written. Raises InputError where that cannot be."""
        self._is_new = not self.dir.exists()
        if self.aside:
            return self
        try:
            save_config(self.config, self.files.config)
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
            if self._is_new and issubclass(kind or NoneType, InputError):
                self.files.remove_if_unused()

    @property
    def files(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(self.dir, REPORT_ASIDE) if self.aside else RunFolder(self.dir)

    @property
    def splits(self) -> list[Split]:
        """The splits that this run plays, training first."""
        if self.config.source == "feedback":
            return ["train"]
        return list(dict.fromkeys(["train", *self.config.evaluation.splits]))

    @property
    def controls(self) -> dict[str, int]:
        """The control planners (`scoring.shuffle`) -> their seeds."""
        return {f"shuffled-{seed}": seed for seed in self.config.scoring.shuffle}

    def tasks(self, split: Split) -> list[Task]:
        """The split's tasks of all environments, without their instructions."""
        return [task for suite in self.suites.values() for task in suite.tasks(split)]

    def n_tasks(self, split: Split) -> int:
        """How many tasks a split has, or will have once they are generated."""
        made = [suite for name, suite in self.suites.items() if name not in self.to_make]
        owed = sum(making.tasks.get(split, 0) for making in self.to_make.values())
        return owed + sum(len(suite.tasks(split)) for suite in made)

    def published_id(self, task: Task) -> str:
        """What the published data calls a task; a caller's it does not know."""
        suite = self.suites.get(task.env)
        return suite.published_id(task) if suite else task.id

    @cached_property
    def tracker(self) -> Tracker:
        """Where the run's figures go. Raises InputError for a store that cannot be used."""
        if self.aside or not self.config.tracking.enabled:
            return NoTracker()
        config = self.config
        # By its name too: the copy of a run's folder is a run of its own.
        own = content_hash(config.name, identity(config))
        return MlflowTracker(
            config.tracking, config.runs_dir, self.dir, params_of(config), own, tags=self._tags()
        )

    @property
    def opened_tracker(self) -> Tracker:
        """The tracker where it was asked for; stages that are run alone log nothing."""
        return self.__dict__.get("tracker") or NoTracker()

    def _tags(self) -> dict[str, Any]:
        """What MLflow is told of the run besides its settings."""
        config = self.config
        # Who callers' agents are is known by their conversations alone.
        agent = "" if config.source == "feedback" else self._called(config.agent.model)
        return source_tags() | {
            "mpo.preset": self.source or config.name,
            "mpo.environments": ", ".join(config.envs),
            MODELS: self.models_tag(agent),
            "mpo.seed": config.seed,
            "mpo.suite": version("mpo-suite"),
        }

    def models_tag(self, agent: str) -> str:
        """What MLflow is told of the planner and of an agent; of an unknown one nothing."""
        planner = f"planner {self._called(self.config.planner.model)}"
        return f"{planner}, agent {agent}" if agent else planner

    def _called(self, name: str) -> str:
        return self.config.models[name].called or name

    @property
    def agent_trainee(self) -> Trainee:
        """The agent, as `agent.sft` trains it."""
        agent = self.config.agent
        own_engine = agent.sft is not None and agent.sft.method == "full"
        return Trainee("agent", agent.model, self.files.agent, own_engine, acts=True)

    def trainee(self, version: str) -> Trainee:
        """A version of the planner that is trained here, such as `sft`."""
        planner = self.config.planner
        own_engine = planner.serve == "engine"
        return Trainee(version, planner.model, self.files.planner(version), own_engine)

    def agent(self) -> ChatModel:
        """A client for the agent.

        Starts the engines where they are not yet up. Raises InputError where it is to be trained
        and is not yet.
        """
        if self.config.agent.sft is None:
            return self._model_as_it_is(self.config.agent.model)
        return self._trained_model(self.agent_trainee)

    def planner(self, version: str) -> ChatModel:
        """A client for a version of the planner: `base`, or one trained here.

        Starts the engines where they are not yet up. Raises InputError where it is not trained.
        """
        if version == "base":
            return self._model_as_it_is(self.config.planner.model)
        return self._trained_model(self.trainee(version))

    def agent_fingerprint(self) -> str:
        """Identity of what `agent` gives, without a connection."""
        if self.config.agent.sft is None:
            return self.backend.fingerprint(self.config.agent.model)
        return self._trained_fingerprint(self.agent_trainee)

    def planner_fingerprint(self, version: str) -> str:
        """Identity of what `planner` gives, without a connection."""
        if version == "base":
            return self.backend.fingerprint(self.config.planner.model)
        return self._trained_fingerprint(self.trainee(version))

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

            endpoint = self.backend.model(name)
            assert isinstance(endpoint, EndpointModel), name
            found = aio.run(ask(for_probing(endpoint)))
            print(f"model {name}: {found}", file=sys.stderr)
            self._findings[name] = found
        return self._findings[name]

    def records(self, path: Path, kind: type[R]) -> list[R]:
        """What one of the run's files holds; nothing before it is written."""
        return read_records(path, kind) if path.is_file() else []

    def _model_as_it_is(self, name: str) -> ChatModel:
        with self.timed(ENGINES):
            return self.chat_model(name)

    def _trained_model(self, of: Trainee) -> ChatModel:
        with self.timed(ENGINES):
            of.require_trained()
            return self.backend.trained_model(of.model, of.folder, own_engine=of.own_engine)

    def _trained_fingerprint(self, of: Trainee) -> str:
        of.require_trained()
        return self.backend.trained_fingerprint(of.model, of.folder)

    @contextmanager
    def timed(self, stage: str) -> Iterator[dict[str, float]]:
        """Adds the stage's seconds, and what is put into the dict, to the run's `timings.json`;
        the tracker, where it is open, has the stage as a run of its own."""
        tracker = NoTracker() if stage == ENGINES else self.opened_tracker
        kind: Kind = "training" if stage.startswith("train ") else "stage"
        with tracker.nested(stage, kind, alone=kind == "training"):
            with self._timed(stage) as amounts:
                yield amounts
            tracker.log_tags({f"mpo.{name}": round(value, 3) for name, value in amounts.items()})

    @contextmanager
    def _timed(self, stage: str) -> Iterator[dict[str, float]]:
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
            write_text(self.files.timings, json.dumps(timings, indent=2))

    def timings(self) -> dict[str, dict[str, float]]:
        """Stage -> seconds and amounts, summed over all attempts at the run."""
        return read_notes(self.files.timings)


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


def _to_make(suites: Mapping[str, Suite]) -> dict[str, Making]:
    found = {name: suite.to_make() for name, suite in suites.items()}
    return {name: making for name, making in found.items() if making}


def prompts_of(config: Config) -> dict[str, Prompts]:
    """Environment -> what its agents and planners are told; with feedback, the planners of callers'
    tasks. Raises InputError for faulty files."""
    if config.source == "feedback":
        # As the proxy has asked for the plans.
        return {ENVIRONMENT: planner_prompts(config.feedback.prompts, config.prompts_dir)}
    told = {env: load_prompts(env, config.prompts_dir) for env in config.envs}
    if config.planner.example:
        return told
    return {env: prompts.zero_shot() for env, prompts in told.items()}


def _backend(config: Config) -> Backend:
    if not config.cluster.enabled:
        return LocalBackend(config)
    from cluster.backend import ClusterBackend

    return ClusterBackend(config)
