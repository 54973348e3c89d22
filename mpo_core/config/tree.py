"""The whole tree of a config, and what its sections ask of each other."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    Field,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mpo_core.config.declare import Section, decides, operational
from mpo_core.config.faults import ALL_SAID, in_words
from mpo_core.config.feedback import FeedbackConfig
from mpo_core.config.launch import ClusterConfig, LaunchConfig, TrackingConfig
from mpo_core.config.models import ModelConfig, ServedModelConfig
from mpo_core.config.proxy import ProxyConfig
from mpo_core.config.sections import (
    ROUND_ARM,
    WITHOUT_PLANNER,
    AgentConfig,
    EvaluationConfig,
    PairsConfig,
    PlannerConfig,
    ScoringConfig,
    SeedsConfig,
)
from mpo_core.config.training import DpoConfig, TrainingConfig
from mpo_core.envs.base import suite_class

SERVED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
"""A colon sets off a version, and Ray Serve has uses of its own for most other signs."""


class Config(Section):
    """Everything that a run is decided by."""

    name: str = operational(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run and of its folder."""
    runs_dir: Path = operational(Path("runs"))
    """Folder of the runs' folders."""
    seed: int = decides(42, ge=0, lt=2**32)
    """Of everything that is drawn: samples of plans and replies, orders of rows, new weights."""
    source: Literal["rollouts", "feedback"] = decides("rollouts")
    """Where rewards come from: episodes that the agent plays in `envs`, or `feedback`, what callers
    of the proxy report of their own agents. Those need neither `envs` nor `agent`."""
    envs: dict[str, SerializeAsAny[BaseModel]]
    """Environment name -> its settings."""
    models: dict[str, ModelConfig] = Field(min_length=1)
    """Name -> chat model. A served model's name is its engine's."""
    planner: PlannerConfig
    agent: AgentConfig
    seeds: SeedsConfig = SeedsConfig()
    scoring: ScoringConfig = ScoringConfig()
    pairs: PairsConfig = PairsConfig()
    training: DpoConfig = DpoConfig()
    rounds: PositiveInt = decides(1)
    """Rounds of sampling, scoring, pairing and training. Each starts from the planner of the last,
    which is its reference; they end early when the reward on the validation tasks rises no more."""
    validation: float = decides(0.1, ge=0, lt=1)
    """Share of each environment's training tasks that nothing is trained on: their plans, scored
    like the others', say how well the training generalises, and when rounds stop helping."""
    evaluation: EvaluationConfig = EvaluationConfig()
    cluster: ClusterConfig = ClusterConfig()
    tracking: TrackingConfig = TrackingConfig()
    launch: LaunchConfig = LaunchConfig()
    proxy: ProxyConfig = ProxyConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    prompts_dir: Path | None = decides(None)
    """A prompt folder of your own; see mpo_core/prompts."""

    def moot(self) -> frozenset[str]:
        return frozenset({"source", "feedback"} if self.source == "rollouts" else ())

    @model_validator(mode="before")
    @classmethod
    def _callers_play(cls, tree: Any) -> Any:
        """With feedback nothing is played here; the agent's section then says nothing."""
        if isinstance(tree, dict) and tree.get("source") == "feedback":
            planner = tree.get("planner")
            named = planner.get("model") if isinstance(planner, dict) else None
            return {"envs": {}, "agent": {"model": named}} | tree
        return tree

    @field_validator("envs", mode="before")
    @classmethod
    def _env_sections(cls, envs: Any) -> Any:
        if not isinstance(envs, dict):
            return envs
        found, faults = {}, []
        for name, section in envs.items():
            try:
                found[name] = (
                    section
                    if isinstance(section, BaseModel)
                    else suite_class(name).Config.model_validate({} if section is None else section)
                )
            except ValidationError as error:
                faults += [in_words(fault, f"envs.{name}") for fault in error.errors()]
        if faults:
            raise PydanticCustomError(ALL_SAID, "{faults}", {"faults": "; ".join(faults)})
        return found

    @model_validator(mode="after")
    def _tasks_of_one_source(self) -> "Config":
        if self.source == "rollouts":
            if not self.envs:
                raise ValueError("envs: name an environment")
            return self
        if self.envs:
            raise ValueError("envs: with source: feedback, tasks come from callers; leave envs out")
        if self.rounds > 1:
            raise ValueError(
                "rounds: with source: feedback, each `mpo run` that finds enough new feedback is a "
                "round; leave rounds out"
            )
        if self.planner.sft:
            raise ValueError(
                "planner.sft: with source: feedback there are no seed plans; leave it out"
            )
        if self.feedback.train == "rft" and self.planner.rft.training is None:
            raise ValueError(
                "feedback.train: rft needs planner.rft.training (such as `training: {}`)"
            )
        return self

    @model_validator(mode="after")
    def _models_exist(self) -> "Config":
        teacher = self.seeds.teacher
        roles = {"planner.model": self.planner.model, "agent.model": self.agent.model}
        for role, name in self.models_by_role.items():
            if name not in self.models:
                raise ValueError(
                    f"{role}: {name!r} is not in models ({', '.join(sorted(self.models))})"
                )
        if teacher and teacher in self.models_with_source and teacher not in roles.values():
            raise ValueError(
                f"seeds.teacher: models.{teacher} is not served, being neither the planner nor the "
                "agent; give it an endpoint"
            )
        if not self.cluster.enabled:
            for name in self.served_models:
                raise ValueError(
                    f"cluster.enabled: false cannot serve models.{name}; give it an endpoint"
                )
        return self

    @model_validator(mode="after")
    def _arms_that_can_be(self) -> "Config":
        trainable = self.planner.model in self.models_with_source
        if "arms" not in self.evaluation.model_fields_set and not trainable:
            self.evaluation = self.evaluation.model_copy(update={"arms": ["none", "base"]})
        return self

    @model_validator(mode="after")
    def _samples_that_differ(self) -> "Config":
        drawn = {"planner.temperature": self.planner.temperature} if self.planner_arms else {}
        if self.seeds.teacher and "teacher" in self.evaluation.arms:
            drawn["seeds.temperature"] = self.seeds.temperature
        for key, temperature in drawn.items():
            if self.evaluation.plan_samples and not temperature:
                raise ValueError(
                    f"evaluation.plan_samples: at {key} 0 all samples are the same plan; raise it, "
                    "or set plan_samples to 0"
                )
        return self

    @model_validator(mode="after")
    def _controls_evaluated(self) -> "Config":
        evaluated = "shuffled" in self.evaluation.arms
        if self.scoring.shuffle and not evaluated:
            raise ValueError(
                "scoring.shuffle: no arm evaluates the control planners; add shuffled to "
                "evaluation.arms"
            )
        if evaluated and not self.scoring.shuffle:
            raise ValueError(
                "evaluation.arms: shuffled needs control planners, by their seeds (such as "
                "scoring.shuffle=[0,1,2])"
            )
        return self

    @model_validator(mode="after")
    def _arms_with_their_settings(self) -> "Config":
        planner, arms = self.planner, self.evaluation.arms
        for arm, section in (("sft", "sft"), ("rft", "sft"), ("pg", "pg")):
            if arm in arms and getattr(planner, section) is None:
                raise ValueError(
                    f"evaluation.arms: {arm} needs planner.{section} (such as `{section}: {{}}`)"
                )
        for arm in arms:
            named = ROUND_ARM.fullmatch(arm)
            if named and int(named[1]) > self.rounds:
                raise ValueError(f"evaluation.arms: {arm}: there are {self.rounds} rounds")
        for arm in ("mpo", "pg", "shuffled"):
            if arm in arms and planner.model not in self.models_with_source:
                raise ValueError(
                    f"evaluation.arms: {arm} trains the planner, and models.{planner.model} has "
                    f"no source to train; leave {arm} out (such as evaluation.arms="
                    "[none,base,expert]), or give that model a source (a model folder)"
                )
        return self

    @model_validator(mode="after")
    def _trainable(self) -> "Config":
        planner, agent, trained = self.planner, self.agent, self.trainings
        for name in trained:
            role, key = (
                ("agent", agent.model) if name == "agent.sft" else ("planner", planner.model)
            )
            if key not in self.models_with_source:
                raise ValueError(
                    f"{name}: trains the {role}, which needs models.{key}.source (a model folder)"
                )
        continuing = {
            "training": trained.get("training"),
            "planner.pg": planner.pg,
            "planner.rft.training": planner.rft.training,
        }
        for name, section in continuing.items() if planner.sft else ():
            for field in ("method", "lora") if section else ():
                if getattr(planner.sft, field) != getattr(section, field):
                    raise ValueError(
                        f"planner.sft.{field} and {name}.{field} differ, but the latter goes on "
                        "with what SFT has made; set both alike"
                    )
        planners = [section for name, section in trained.items() if name != "agent.sft"]
        if planner.match_teacher and not planner.sft:
            raise ValueError(
                "planner.match_teacher: needs planner.sft, by which a teacher is matched"
            )
        if self.source == "feedback":
            return self  # The planner is the proxy's to serve.
        if planner.serve == "adapter" and any(section.method == "full" for section in planners):
            raise ValueError("planner.serve: adapter cannot hold full weights; set it to engine")
        for name, section in trained.items():
            key = agent.model if name == "agent.sft" else planner.model
            own_engine = name != "agent.sft" and planner.serve == "engine"
            rank, most = section.lora.rank, self.models_with_source[key].max_lora_rank
            if section.method == "lora" and not own_engine and rank > most:
                raise ValueError(
                    f"{name}.lora.rank {rank}: more than models.{key}.max_lora_rank {most}, which "
                    "its engine can load; raise the latter or lower the former"
                )
        if agent.sft and agent.thoughts:
            raise ValueError(
                "agent.sft: experts do not say what they think; set agent.thoughts to false"
            )
        return self

    @model_validator(mode="after")
    def _models_that_can_be_served(self) -> "Config":
        for name in self.models:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"models: {name!r} cannot be a model's name")
        for name in self.served_models:
            if not SERVED_NAME.fullmatch(name):
                raise ValueError(
                    f"models.{name}: a served model's name is of letters, digits, dots, "
                    "underscores, dashes and slashes, and begins with a letter or digit"
                )
        longest = {
            "planner.max_tokens": (self.planner.model, self.planner.max_tokens),
            "agent.max_tokens": (self.agent.model, self.agent.max_tokens),
        }
        if self.seeds.teacher:
            longest["seeds.max_tokens"] = (self.seeds.teacher, self.seeds.max_tokens)
        for key, (name, tokens) in longest.items():
            model = self.served_models.get(name)
            if model and tokens >= model.max_model_len:
                raise ValueError(
                    f"{key} {tokens}: leaves no room for a prompt within models.{name}."
                    f"max_model_len {model.max_model_len}; lower it, or raise the latter"
                )
        return self

    @property
    def models_by_role(self) -> dict[str, str]:
        """Key of each role -> the key in `models` of the model that has it."""
        teacher = {"seeds.teacher": self.seeds.teacher} if self.seeds.teacher else {}
        return {"planner.model": self.planner.model, "agent.model": self.agent.model} | teacher

    @property
    def served_models(self) -> dict[str, ServedModelConfig]:
        """The models that a run serves itself, by name: the agent's and the planner's; with
        feedback none, as the proxy serves the planner, and the callers have their agent."""
        if self.source == "feedback":
            return {}
        names = dict.fromkeys([self.agent.model, self.planner.model])
        return {
            name: self.models_with_source[name] for name in names if name in self.models_with_source
        }

    @property
    def models_with_source(self) -> dict[str, ServedModelConfig]:
        """The models whose weights are here, to be served and trained."""
        models = self.models.items()
        return {name: model for name, model in models if isinstance(model, ServedModelConfig)}

    @property
    def planner_arms(self) -> list[str]:
        """The arms that play plans of the planner, in any of its versions."""
        others = {*WITHOUT_PLANNER, *self.evaluation.plan_files}
        return [arm for arm in self.evaluation.arms if arm not in others]

    @property
    def trains(self) -> bool:
        """Whether the planner is trained on preferences."""
        arms = self.evaluation.arms
        return "mpo" in arms or any(map(ROUND_ARM.fullmatch, arms))

    @property
    def trainings(self) -> dict[str, TrainingConfig]:
        """Section name -> settings of every training that the run does."""
        if self.source == "feedback":
            imitates = self.feedback.train == "rft"
            name = "planner.rft.training" if imitates else "training"
            section = self.planner.rft.training if imitates else self.training
            return {name: section} if section else {}
        arms = self.evaluation.arms
        sections = {
            "agent.sft": self.agent.sft,
            "planner.sft": self.planner.sft,
            "training": self.training if self.trains or self.scoring.shuffle else None,
            "planner.rft.training": self.planner.rft.training if "rft" in arms else None,
            "planner.pg": self.planner.pg if "pg" in arms else None,
        }
        return {name: section for name, section in sections.items() if section}

    @property
    def asked_by(self) -> str | None:
        """Whose prompt the planner is asked by: an environment's, or `feedback`'s; None where it is
        asked by those of several environments."""
        if self.source == "feedback":
            return self.feedback.prompts
        return next(iter(self.envs)) if len(self.envs) == 1 else None

    @property
    def run_dir(self) -> Path:
        """The run's folder (`mpo_core.run_folder`)."""
        return self.runs_dir / self.name
