"""Who takes part in the loop, as values: environments, models, the planner and the agent.

Made one by one in a program or a notebook, or all at once from a config (`from_config`). Nothing
here holds a process, a connection or weights: what needs one opens it and lets it go again, so that
these values can be kept, compared and handed on. `mpo_core.loop` is what is done with them.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from mpo_core import aio
from mpo_core.builtin_models import resolve_source
from mpo_core.chat import ChatModel
from mpo_core.config import (
    AgentConfig,
    Config,
    ModelConfig,
    PlannerConfig,
    ScriptedModelConfig,
    ServedModelConfig,
    load_config,
    validated,
)
from mpo_core.envs.base import Suite, suite_class
from mpo_core.episode import EpisodeProtocol, protocol_of
from mpo_core.errors import InputError
from mpo_core.models import (
    Answer,
    ScriptedModel,
    client_fingerprint,
    connect,
    served_fingerprint,
    told_apart,
    weights_version,
)
from mpo_core.planning import described
from mpo_core.progress import Bar
from mpo_core.prompts import Prompts, load_prompts
from mpo_core.types import Split, Task, content_hash

SAMPLING = ("per_task", "temperature", "evaluation_temperature", "max_tokens", "resamples")
"""Of `PlannerConfig`, what a planner is sampled by."""


@dataclass(frozen=True)
class Environments:
    """Text environments by name, each with the prompts that planner and agent are told."""

    suites: Mapping[str, Suite]
    prompts: Mapping[str, Prompts]

    def tasks(self, split: Split) -> list[Task]:
        """The tasks of `train`, `seen` or `unseen`, with their instructions, environment by
        environment; the same ones in the same order on every machine.

        Raises:
            InputError: the settings leave no task, or the environment's data cannot be used.
            EnvironmentLost: an environment's process died again and again.
        """
        wanted = [task for suite in self.suites.values() for task in suite.tasks(split)]
        if not wanted:
            names = ", ".join(self.suites)
            raise InputError(f"no {split} task in {names}; raise tasks.{split} of its settings")
        with Bar(f"tasks {split}", len(wanted), 0, "tasks") as progress:
            return aio.run(described(wanted, self.suites, progress.update))

    def of(self, task: Task) -> tuple[Suite, Prompts]:
        """The suite and the prompts of a task. Raises InputError for one of another environment."""
        if task.env not in self.suites:
            raise InputError(
                f"{task.id}: of {task.env}, which is not among the environments given "
                f"({', '.join(self.suites)})"
            )
        return self.suites[task.env], self.prompts[task.env]


def environments(
    settings: Mapping[str, Mapping[str, Any] | BaseModel | None],
    prompts_dir: str | Path | None = None,
) -> Environments:
    """Environments by the names of their entry points, each with its settings.

    Args:
        settings: name -> what stands in a config's `envs.NAME`, as a mapping (None for all
            defaults) or as the config's section itself.
        prompts_dir: a folder of prompts in place of the environments' own (`mpo_core.prompts`).

    Raises:
        InputError: no such environment, an unknown setting, a wrong value, prompts that cannot be
            used.

    Example:
        >>> envs = environments({"alfworld": {"tasks": {"train": 8, "unseen": 4}}})
        >>> train = envs.tasks("train")
    """
    folder = Path(prompts_dir) if prompts_dir is not None else None
    suites: dict[str, Suite] = {}
    for name, given in settings.items():
        suite = suite_class(name)
        section = (
            given
            if isinstance(given, BaseModel)
            else validated(suite.Config, dict(given or {}), f"envs.{name}")
        )
        suites[name] = suite(section)
    return Environments(suites, {name: load_prompts(name, folder) for name in suites})


@dataclass(frozen=True)
class Model:
    """A chat model, described but not yet connected to: see `model`."""

    name: str
    config: ModelConfig
    function: Answer | None = None
    """What answers in the model's place."""
    trained: Path | None = None
    """Folder of a LoRA adapter of `config.source`, or of a whole model trained from it."""

    @property
    def fingerprint(self) -> str:
        """Identity of its weights, or of the function: what it answers is filed under it.

        Raises:
            InputError: there is no such model folder.
        """
        if not isinstance(self.config, ServedModelConfig):
            return client_fingerprint(self.name, self.config)
        base = served_fingerprint(str(self.source)) + told_apart(self.config)
        return f"{base}+{weights_version(self.trained)}" if self.trained else base

    @property
    def source(self) -> Path | str:
        """Its base model's folder, or hub id. Raises InputError where it has none."""
        return resolve_source(self.with_source.source)

    @property
    def with_source(self) -> ServedModelConfig:
        """Its settings. Raises InputError where it has no source."""
        if not isinstance(self.config, ServedModelConfig):
            raise InputError(
                f"model {self.name}: has no source, so that there are no weights to train; make it "
                "by model(source=...), a model folder or hub id"
            )
        return self.config

    def connect(self) -> ChatModel:
        """A client of it, which its user closes; weights are loaded into this process.

        Raises:
            InputError: the model cannot be used.
        """
        if self.function is not None:
            return ScriptedModel(self.fingerprint, self.function)
        if not isinstance(self.config, ServedModelConfig):
            return connect(self.name, self.config)
        from mpo_core.training.generation import LocalModel

        return LocalModel(self.fingerprint, self.name, self.config, self.source, self.trained)


def model(
    *,
    source: str | Path | None = None,
    endpoint: str | None = None,
    scripted: Answer | str | None = None,
    name: str | None = None,
    **settings: Any,
) -> Model:
    """A chat model: exactly one of `source`, `endpoint` and `scripted`.

    Args:
        source: a Hugging Face model folder, a hub id or `builtin:NAME`. It answers in this process,
            by transformers (on the GPU where there is one), and can be trained. Serve large ones
            with `mpo serve` or vLLM, and give their endpoint.
        endpoint: base URL of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1; the
            server's `name` of the model goes with it.
        scripted: a function `(messages, seed) -> str`, plain or async, in a model's place; or
            `module:function`. Its code is its identity, less what it calls and remembers: give it
            another `name` where these change.
        settings: further ones of a config's `models.NAME`, such as `max_model_len`, `api_key_env`
            or `concurrency` (requests at a time).

    Raises:
        InputError: not exactly one of the three, or a setting that a model does not have.

    Example:
        >>> agent = model(endpoint="http://127.0.0.1:8000/v1", name="llama-8b")
        >>> stand_in = model(scripted=lambda messages, seed: "Action: look", name="looker")
    """
    known = _identity(scripted, name) if callable(scripted) else scripted
    tree = {"source": str(source) if source is not None else None, "endpoint": endpoint}
    # A server is asked for a model by its name; weights and functions only go by it.
    tree |= {"scripted": known, "name": name if endpoint else None}
    given = {key: value for key, value in tree.items() if value is not None} | settings
    if callable(scripted) and given.keys() == {"scripted"}:
        # Its identity need not be where it can be imported from.
        config: ModelConfig = ScriptedModelConfig.model_construct(scripted=str(known))
        return Model(str(known), config, scripted)
    config = validated(ModelConfig, given, "model")
    return Model(name or str(known or source or endpoint), config)


def _identity(function: Callable[..., Any], name: str | None) -> str:
    """What a function in a model's place is known by: the name given, or its own and its code."""
    own = f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"
    if name:
        return name
    try:
        code = inspect.getsource(function)
    except (OSError, TypeError) as error:
        raise InputError(
            f"model: the code of {own} cannot be read, by which its answers are told from "
            "another's; give it a name (name=...)"
        ) from error
    return f"{own}#{content_hash(code, length=8)}"


@dataclass(frozen=True)
class Planner:
    """A model that writes plans, and how it is asked."""

    model: Model
    settings: PlannerConfig
    seed: int = 42


@dataclass(frozen=True)
class Agent:
    """A model that plays, and how it is told to."""

    model: Model
    settings: AgentConfig
    seed: int = 42

    def protocol(self, envs: Environments, task: Task, temperature: float) -> EpisodeProtocol:
        """How it plays a task, all of which is part of the episode's key."""
        suite, prompts = envs.of(task)
        return protocol_of(
            self.settings, task, suite, prompts, temperature=temperature, seed=self.seed
        )


def planner(model: Model, *, seed: int = 42, **settings: Any) -> Planner:
    """A planner: a model, and how its plans are sampled.

    Args:
        seed: of its samples.
        settings: of a config's `planner`: `per_task` (plans a task, M), `temperature`,
            `evaluation_temperature` (of the one plan of an evaluation; 0 is greedy), `max_tokens`
            (longest plan), `resamples` (further draws after answers that hold no plan).

    Raises:
        InputError: an unknown setting, or a wrong value.

    Example:
        >>> writer = planner(model(source="org/planner-8b"), per_task=5, temperature=0.7)
    """
    other = [key for key in settings if key not in SAMPLING]
    if other:
        raise InputError(f"planner: {other[0]}: no such setting; there are: {', '.join(SAMPLING)}")
    section = validated(PlannerConfig, {"model": model.name, **settings}, "planner")
    return Planner(model, section, seed)


def agent(model: Model, *, seed: int = 42, **settings: Any) -> Agent:
    """An agent: a model, and how it plays.

    Args:
        seed: of its replies.
        settings: of a config's `agent`: `plan_mode` (`query`, `observation` or `thought`: where it
            reads its plan), `max_steps` (actions a game; by default the environment's),
            `max_tokens` (longest reply), `thoughts` (think before each action), `example` (a worked
            episode first), `list_actions`, `invalid_limit`, `unusable_limit`.

    Raises:
        InputError: an unknown setting, or a wrong value.

    Example:
        >>> player = agent(model(source="org/agent-8b"), max_steps=20, thoughts=False)
    """
    return Agent(model, validated(AgentConfig, {"model": model.name, **settings}, "agent"), seed)


class Setup(NamedTuple):
    """What a config says takes part, ready for the functions of the loop."""

    config: Config
    environments: Environments
    planner: Planner
    agent: Agent


def from_config(config: str | Path | Config, overrides: Sequence[str] = ()) -> Setup:
    """The environments, the planner and the agent of a config, beside the config itself.

    Models with a `source` answer in this process; the other settings are the config's sections, as
    `config.scoring.repetitions` or `config.training`.

    Args:
        config: a YAML file, or a config that was loaded.
        overrides: `dotted.key=value`, for a file.

    Raises:
        InputError: in one line for all faults of the config.

    Example:
        >>> config, envs, planner, agent = from_config("mine.yaml", ["agent.max_steps=20"])
    """
    if not isinstance(config, Config):
        config = load_config(Path(config), overrides)
    elif overrides:
        raise InputError("from_config: overrides are for a file; change the loaded config itself")
    envs = environments(config.envs, config.prompts_dir)
    if not config.planner.example:
        prompts = {name: told.zero_shot() for name, told in envs.prompts.items()}
        envs = replace(envs, prompts=prompts)
    models = {name: Model(name, section) for name, section in config.models.items()}
    return Setup(
        config,
        envs,
        Planner(models[config.planner.model], config.planner, config.seed),
        Agent(models[config.agent.model], config.agent, config.seed),
    )


def trained_model(base: Model, folder: Path) -> Model:
    """What a training made of a model."""
    return replace(base, trained=folder)
