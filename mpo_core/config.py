"""The one config tree: YAML plus `dotted.key=value`, checked whole before anything starts.

The string under a field is its documentation; `mpo config` prints it. Relative paths are relative
to the folder the command is run in; `~` and `~user` are home folders. `load_config` raises
`InputError` with one line per fault.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from mpo_core import strict_yaml
from mpo_core.envs.base import suite_class
from mpo_core.errors import InputError
from mpo_core.overrides import apply_override, like
from mpo_core.paths import check_paths, homes_filled_in
from mpo_core.types import PlanMode, Split

Arm = Literal["none", "base", "sft", "rft", "mpo", "pg", "shuffled", "teacher", "oracle", "expert"]
WITHOUT_PLANNER = ("none", "teacher", "oracle", "expert")
"""Of the arms, those that play no plans of the planner."""
ROUND_ARM = re.compile(r"mpo-([1-9]\d*)")
"""The arm of one round's planner."""
DpoLoss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
]
SMOOTHED_LOSSES = ("exo_pair", "robust", "aot", "aot_unpaired")
ALL_SAID = "all_said"
"""A fault whose message names the keys itself."""
EXPECTED = {
    "string_type": "a text (a number, a day or a switch is one in quotes)",
    "path_type": "a path",
    "list_type": "a list, such as [a, b]",
    "dict_type": "settings below it (key: value)",
    "model_type": "settings below it (key: value)",
}
S = TypeVar("S", bound=BaseModel)


def _is_number(kind: Any) -> bool:
    """Whether an annotation is that of a number, which may be left out."""
    if get_origin(kind) is Annotated:
        return _is_number(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        # A word such as `auto` may stand in a number's place.
        kinds = [one for one in get_args(kind) if get_origin(one) is not Literal]
        return all(_is_number(one) for one in kinds if one is not NoneType)
    return kind in (int, float)


class Section(BaseModel):
    """A part of the tree: unknown keys are refused, and paths have their home folders filled in."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _homes_filled_in(cls, value: Any) -> Any:
        try:
            return homes_filled_in(value)
        except InputError as error:
            raise ValueError(str(error)) from error

    @field_validator("*", mode="before")
    @classmethod
    def _switches_are_no_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """`seed: yes` is no 1."""
        if isinstance(value, bool) and _is_number(cls.model_fields[info.field_name].annotation):
            raise ValueError(
                f"expected a number, found {str(value).lower()} (yes and on, no and off)"
            )
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _paths_of_files(cls, value: Any) -> Any:
        try:
            check_paths(value)
        except InputError as error:
            raise ValueError(str(error)) from error
        return value


class ModelConfig(Section):
    """A chat model: served by this suite (`source`), elsewhere (`endpoint`), or `scripted`."""

    source: str | None = None
    """A Hugging Face folder, a hub id, or `builtin:smollm2-135m-instruct`; served here by vLLM."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible server, for example http://127.0.0.1:8000/v1."""
    scripted: str | None = None
    """`module:function`, a deterministic stand-in for a model (tests, upper bounds)."""
    name: str | None = None
    """The model's name at the endpoint; by default its key in `models`."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key."""
    reasoning: Literal["auto", "on", "off"] = "auto"
    """Whether a model that can think before it answers does so; `auto` leaves it as it comes. What
    it thinks is neither plan nor action, and stands apart in the records."""
    extra_body: dict[str, Any] = {}
    """Further fields of every request, such as `chat_template_kwargs` or `reasoning_effort`."""
    extra_headers: dict[str, str] = {}
    """Further headers of an endpoint's requests; `$NAME` in a value is an environment variable."""
    omit: list[str] = []
    """Fields not to send to an endpoint, such as `temperature`, where its server refuses them."""
    prefill: Literal["auto", "continue", "ask"] = "auto"
    """How an endpoint's answer is made to begin as `agent.thoughts: false` and `agent.plan_mode:
    thought` need it: by a beginning that the server continues, or asked for in words; `auto` finds
    out."""
    concurrency: PositiveInt = 64
    """Requests in flight from one process at most."""
    timeout_s: float = Field(600, gt=0)
    """Time limit of one request."""
    retries: int = Field(6, ge=0)
    """Retries of a failed request, with exponential backoff, before the run stops."""

    replicas: PositiveInt = 1
    """Engine replicas; the requests of one episode go to one of them."""
    cpus_per_replica: float = Field(1, gt=0)
    gpus_per_replica: int = Field(0, ge=0)
    """GPUs of one replica: its tensor-parallel degree. 0 serves on the CPU."""
    max_model_len: PositiveInt = 8192
    """Longest prompt plus answer, in tokens."""
    max_lora_rank: PositiveInt = 64
    """Largest rank of an adapter that the engine can load; sets aside memory for it."""
    engine_kwargs: dict[str, Any] = {}
    """Further vLLM engine arguments, as `ray.serve.llm` takes them."""

    @model_validator(mode="after")
    def _one_kind(self) -> "ModelConfig":
        kinds = [k for k in ("source", "endpoint", "scripted") if getattr(self, k)]
        if len(kinds) != 1:
            raise ValueError(
                "give exactly one of source, endpoint, scripted"
                + (f" (got {', '.join(kinds)})" if kinds else "")
            )
        return self

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError(
                "names an environment variable, and this cannot be one; if it is the key itself, "
                "put it into the environment"
            )
        return name

    @field_validator("reasoning", mode="before")
    @classmethod
    def _yaml_switch(cls, value: Any) -> Any:
        """YAML reads a bare `on` and `off` as true and false."""
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value

    @field_validator("endpoint")
    @classmethod
    def _whole_url(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                raise ValueError(f"{url!r} is not a whole URL, such as http://127.0.0.1:8000/v1")
        return url

    @model_validator(mode="after")
    def _endpoints_only(self) -> "ModelConfig":
        for field in ("extra_headers", "omit", "prefill"):
            if not self.endpoint and getattr(self, field) != type(self).model_fields[field].default:
                raise ValueError(f"{field}: only for a model at an endpoint")
        return self


class SeedsConfig(Section):
    """Plans made from the experts' episodes of the training tasks, for the planner's SFT."""

    teacher: str | None = None
    """Key in `models` of the model that turns an expert's episode into a plan; null for the
    rule-based teacher, which asks no model and writes one plan a task."""
    per_task: PositiveInt = 1
    """Plans that a teacher model writes for each task."""
    temperature: float = Field(0.7, ge=0)
    """Temperature of the teacher's answers."""
    max_tokens: PositiveInt = 512
    """Longest answer of the teacher, in tokens."""
    resamples: int = Field(3, ge=0)
    """Times that unparseable answers are drawn again before the task counts as failed."""
    price_per_million_prompt_tokens: float | None = Field(None, ge=0)
    """The teacher's price, in any currency; with both prices set, the cost is printed."""
    price_per_million_completion_tokens: float | None = Field(None, ge=0)


class LoraConfig(Section):
    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"


class TrainingConfig(Section):
    """What all trainings share."""

    method: Literal["lora", "full"] = "lora"
    """Train an adapter, or all weights."""
    lora: LoraConfig = LoraConfig()
    learning_rate: float = Field(1e-5, gt=0)
    epochs: float = Field(1.0, gt=0)
    max_steps: int = -1
    """Optimizer steps; -1 for what `epochs` makes."""
    batch_size: PositiveInt = 32
    """Global batch: workers x micro_batch_size x accumulation steps."""
    micro_batch_size: PositiveInt = 1
    """Rows per worker and forward pass."""
    max_length: PositiveInt = 2048
    """Longest prompt plus plan, in tokens; longer ones are cut and counted."""
    warmup_ratio: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    scheduler: str = "cosine"
    max_grad_norm: float = Field(1.0, gt=0)
    gradient_checkpointing: bool = False
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on GPUs and on processors that multiply bfloat16 themselves, else fp32."""
    zero_stage: Literal[1, 2, 3] = 2
    """DeepSpeed ZeRO stage."""
    workers: PositiveInt = 2
    """Ray Train workers; one process each."""
    cpus_per_worker: float = Field(1, gt=0)
    gpus_per_worker: int = Field(0, ge=0, le=1)
    save_steps: PositiveInt = 50
    """Optimizer steps between checkpoints."""
    max_failures: int = Field(2, ge=0)
    """Times that Ray Train restarts the workers from the last checkpoint."""
    seed: int | None = Field(None, ge=0, lt=2**32)
    """By default the run's seed."""

    @model_validator(mode="after")
    def _whole_accumulation(self) -> "TrainingConfig":
        if self.batch_size % (self.workers * self.micro_batch_size):
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of workers {self.workers} x "
                f"micro_batch_size {self.micro_batch_size}"
            )
        return self


class SftConfig(TrainingConfig):
    """Supervised fine-tuning."""

    learning_rate: float = Field(1e-4, gt=0)
    epochs: float = Field(3.0, gt=0)
    packing: bool = False
    """Put several rows into one sequence of `max_length`, which do not see each other: faster
    where rows are short. A batch then counts sequences, not rows."""


class DpoConfig(TrainingConfig):
    """Direct preference optimization."""

    beta: float = Field(0.1, gt=0)
    """Strength of the pull towards the reference model."""
    loss_type: DpoLoss = "sigmoid"
    """TRL's name of the DPO loss."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of the pairs taken to be the wrong way round; for losses that reckon with it."""
    sft_weight: float = Field(0.0, ge=0)
    """Weight of a further loss, the chosen plan's negative log-likelihood per token; keeps its
    probability from falling along with the rejected plan's."""

    @model_validator(mode="after")
    def _loss_smoothed(self) -> "DpoConfig":
        if self.loss_type == "exo_pair" and not self.label_smoothing:
            raise ValueError("loss_type: exo_pair needs label_smoothing above 0, such as 0.001")
        if self.label_smoothing and self.loss_type not in SMOOTHED_LOSSES:
            raise ValueError(
                f"label_smoothing: {self.loss_type} ignores it; it is for "
                f"{', '.join(SMOOTHED_LOSSES)}"
            )
        return self


class PgConfig(TrainingConfig):
    """Policy gradient on all scored plans."""

    ratio_cap: float = Field(3.0, gt=1)
    """Weight of a plan at most: its importance ratio, how many times likelier it has become than
    it was to the planner that wrote it."""
    ratio_floor: float = Field(1.0, ge=0, le=1)
    """Weight of a plan that is better than its task's mean at least, so that one that has become
    unlikely is learnt again; 0 for the importance ratio as it is."""
    beta: float = Field(0.0, ge=0)
    """Strength of the pull towards that planner: reward given up for a nat of divergence from it,
    in standard deviations of the rewards of a task's plans."""
    sft_weight: float = Field(0.0, ge=0)
    """Weight of a further loss, the negative log-likelihood per token of the plans better than
    their task's mean; keeps their probability from falling."""


class RftConfig(Section):
    """Rejection-sampling fine-tuning."""

    pick: Literal["best", "above_mean"] = "best"
    """What it imitates: the best scored plan of each task, or every plan whose score is above the
    mean of its task's plans."""
    training: SftConfig | None = None
    """Settings of this training; left out, those of `planner.sft`. Its plans are fewer."""


class PlannerConfig(Section):
    model: str
    """Key in `models` of the planner before training."""
    sft: SftConfig | None = None
    """Fine-tune the planner on the seed plans first: it is then this planner whose plans are
    scored and that DPO, policy gradient and RFT go on from. Left out, it is the base."""
    match_teacher: bool = False
    """Go on to the scoring only when SFT has reached its teacher: on the validation tasks, the
    teacher's plans are not shown to earn more than SFT's. What MPO then gains is not what SFT still
    owed. For teachers that know no more of a task than the planner is told."""
    rft: RftConfig = RftConfig()
    pg: PgConfig | None = None
    """Train it by policy gradient as well, for the arm `pg`; left out, it is not."""
    serve: Literal["adapter", "engine"] = "adapter"
    """Serve a trained planner as a LoRA adapter of its base's engine, or as an engine of its own
    (needed after full fine-tuning)."""
    per_task: PositiveInt = 5
    """Plans sampled for each training task (M in the paper)."""
    sampled: list[Path] = []
    """Files of sampled plans to score in the first round instead, a line a task (`id`, `task`,
    `workflow`), as the paper's data."""
    temperature: float = Field(0.8, ge=0)
    evaluation_temperature: float = Field(0.0, ge=0)
    """Temperature for the one plan of an evaluation task; 0 is greedy. `evaluation.plan_samples`
    are drawn at `temperature` besides."""
    max_tokens: PositiveInt = 512
    """Longest plan, in tokens."""
    resamples: int = Field(3, ge=0)
    """Times that unparseable plans are drawn again before the task's shortfall stops the run."""


class AgentConfig(Section):
    model: str
    """Key in `models` of the agent; it explores and is evaluated."""
    sft: SftConfig | None = None
    """Fine-tune the agent on the experts' episodes first, for agents without thoughts; left out,
    it is never trained."""
    plan_mode: PlanMode = "query"
    """Where the agent reads its plan: with the task, after each observation, or as the start of
    its own reasoning."""
    max_tokens: PositiveInt = 512
    """Longest reply, in tokens."""
    invalid_limit: PositiveInt = 10
    """Consecutive replies without an understood action that end an episode."""
    unusable_limit: int | None = Field(3, ge=0)
    """Episodes of a stage whose replies may be mostly unusable (empty, refused, a tool call, only
    reasoning) before the run stops, since such rewards say nothing about plans; null for any."""
    max_steps: PositiveInt | None = None
    """Step limit of every episode; by default the environment's own, per task type."""
    example: bool = True
    """Show one worked episode before the task."""
    list_actions: int = Field(0, ge=0)
    """Valid actions to list with each observation, drawn at random over all verbs; a help for
    small models, at the price of slower steps."""
    thoughts: bool = True
    """Let the agent think before each action (ReAct); small models do better without."""


class ScoringConfig(Section):
    repetitions: PositiveInt | Literal["auto"] = 5
    """Episodes per plan (N in the paper). `auto`: one, and more only where they are expected to do
    most for telling a task's best and worst plans apart; what stays unbiased says docs/scoring.md.
    """
    mean_repetitions: float = Field(2.5, ge=1)
    """For `auto`: episodes per plan, on average over all plans of a round, at most."""
    max_repetitions: PositiveInt = 5
    """For `auto`: episodes of one plan at most; what is saved is counted against it."""
    temperature: float = Field(0.8, ge=0)
    shuffle: list[Annotated[int, Field(ge=0)]] = []
    """Seeds of the control planners behind the arm `shuffled`, one each (`true` is [0], `false`
    none): trained as the first round's planner is, with the scores exchanged in exactly half of
    the pairs, so that nothing ties scores to plans. They must not gain; a gain is an artefact."""

    @field_validator("shuffle", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        if isinstance(value, list) and any(isinstance(seed, bool) for seed in value):
            raise ValueError("expected seeds, found a switch among them")
        return ([0] if value else []) if isinstance(value, bool) else value

    @field_validator("shuffle", mode="after")
    @classmethod
    def _each_once(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is listed twice")
        return seeds

    @field_validator("repetitions", mode="wrap")
    @classmethod
    def _number_or_auto(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        """One fault, not one for each kind that it is not."""
        try:
            return validate(value)
        except ValidationError as error:
            found = str(value).lower() if isinstance(value, bool) else value
            raise ValueError(
                f"expected a whole number above 0, or auto; found {found!s:.40}"
            ) from error

    @model_validator(mode="after")
    def _attempts_of_auto(self) -> "ScoringConfig":
        if self.repetitions != "auto":
            for field in ("mean_repetitions", "max_repetitions"):
                if getattr(self, field) != type(self).model_fields[field].default:
                    raise ValueError(f"{field}: only with repetitions: auto")
        elif self.mean_repetitions > self.max_repetitions:
            raise ValueError(
                f"mean_repetitions {self.mean_repetitions:g} is more than max_repetitions "
                f"{self.max_repetitions}, which no plan exceeds; lower the one or raise the other"
            )
        return self


class PairsConfig(Section):
    rule: Literal["best_worst", "nested", "margin", "significant"] = "best_worst"
    """Which of a task's scored plans are paired: the best and the worst (the paper's rule); these,
    the second best and the second worst, and so on (`nested`); every two that differ by more than
    `min_margin`; or of these only the significant differences."""
    min_margin: float = Field(0.0, ge=0, le=1)
    """Score difference that a pair must exceed."""
    level: float = Field(0.05, gt=0, lt=1)
    """For `significant`: probability below which chance must explain the difference."""


class EvaluationConfig(Section):
    splits: list[Split] = Field(["seen", "unseen"], min_length=1)
    arms: list[str] = Field(["none", "base", "mpo"], min_length=1)
    """Plans to compare, by default `none`, `base` and, where the planner can be trained, `mpo`:
    `none`; those of the planner untrained (`base`), fine-tuned on seed plans
    (`sft`), on the best scored plan of each task as well (`rft`), trained on preferences (`mpo`, of
    the last round that helped; `mpo-2`, of the second round, whether it did or not) or by policy
    gradient (`pg`); the mean over the controls of `scoring.shuffle` (`shuffled`); those that a
    teacher makes of the expert's episode of the very task, the seeds' teacher (`teacher`) or the
    rule-based one (`oracle`, an upper bound for plans);
    `expert` is the environment's own solution, as an upper bound; or a name of `plan_files`."""
    plan_files: dict[str, list[Path]] = {}
    """Arm -> files with its plans, a line each (`id`, `task`, `workflow`), as the paper's data."""
    plan_samples: int = Field(0, ge=0)
    """Further plans a task to play of each planner, sampled at `planner.temperature` (of a teacher
    model, at `seeds.temperature`). The greedy plan says what the planner thinks best, and flips for
    many tasks at once where it is unsure; the mean over sampled plans says how good its plans are,
    and moves only as far as they do. The report shows both; a task's result is its plans' mean."""
    repetitions: PositiveInt = 1
    """Episodes per plan."""
    temperature: float = Field(0.0, ge=0)
    bootstrap: PositiveInt = 10_000
    """Resamples behind each confidence interval."""

    @model_validator(mode="after")
    def _known_arms(self) -> "EvaluationConfig":
        known = [*get_args(Arm), *self.plan_files]
        for arm in self.arms:
            if arm not in known and not ROUND_ARM.fullmatch(arm):
                raise ValueError(f"arms: unknown arm {arm!r}; known: {', '.join(known)}")
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("arms: an arm is listed twice")
        for arm in self.plan_files:
            if arm in get_args(Arm) or ROUND_ARM.fullmatch(arm):
                raise ValueError(f"plan_files: {arm} is an arm already; choose another name")
        for arm in self.plan_files:
            if arm not in self.arms:
                raise ValueError(f"plan_files: no arm plays the plans of {arm}; add it to arms")
        return self


class ClusterConfig(Section):
    enabled: bool = True
    """False runs everything in this process, without Ray: endpoints and scripted models only."""
    address: str | None = None
    """HOST:PORT of a running Ray cluster, or `auto`; by default RAY_ADDRESS, else a private local
    one."""
    logical_cpus: PositiveInt | None = None
    """CPUs that a private local cluster counts; by default the machine's, and at least what the
    config needs, since engines, actors and workers take turns on a small machine."""
    http_host: str = "127.0.0.1"
    """Address that the OpenAI-compatible HTTP server listens on. It asks nobody who they are:
    `0.0.0.0` lets everyone in who reaches the machine."""
    http_port: int = Field(0, ge=0, le=65535)
    """Port of the HTTP server; 0 picks a free one."""
    engine_start_timeout_s: float = Field(1800, gt=0)
    rollout_actors: PositiveInt = 1
    cpus_per_rollout_actor: float = Field(1, gt=0)
    episodes_in_flight: PositiveInt = 32
    """Episodes that one rollout actor plays at a time."""
    episode_attempts: PositiveInt = 5
    """Times that an episode is started when actors, engines or environments fail under it."""
    free_engines_for_training: bool | None = None
    """Stop the engines while the planner trains; by default, when the GPUs do not suffice for
    both."""


class TrackingConfig(Section):
    enabled: bool = True
    uri: str | None = None
    """MLflow tracking URI; by default MLFLOW_TRACKING_URI, else `sqlite:///<runs_dir>/mlflow.db`."""
    experiment: str = "mpo"
    parent: str | None = None
    """MLflow run that this run's stands under; `mpo sweep` sets it."""


class SlurmConfig(Section):
    """What a job of `mpo sweep --on slurm` asks for; `slurm/*.sh` say it at their top instead."""

    partition: str | None = None
    account: str | None = None
    nodes: PositiveInt = 1
    cpus_per_node: PositiveInt | None = None
    gpus_per_node: int = Field(0, ge=0)
    memory_gb: float | None = Field(None, gt=0)
    """Memory of each node; by default the partition's."""
    hours: float = Field(24, gt=0)
    """Time limit of one attempt; what is not done by then is requeued and goes on."""
    setup: list[str] = []
    """Shell lines to run before the job, such as `module load cuda`."""
    options: dict[str, str | int | bool] = {}
    """Further options of sbatch, by their long names."""


class RayJobConfig(Section):
    """How `mpo run --on ray` submits the run to a running Ray cluster."""

    address: str | None = None
    """Address of the cluster's dashboard; by default RAY_API_SERVER_ADDRESS or RAY_ADDRESS, else
    http://127.0.0.1:8265."""
    working_dir: Path | None = Path(".")
    """Folder that the job runs in, sent along without `runs_dir`, caches and what its .gitignore
    names; null where the cluster has the suite installed."""
    env_vars: list[str] = ["HF_TOKEN", "OPENAI_API_KEY", "MLFLOW_TRACKING_URI"]
    """Environment variables to hand on, by name, where they are set; so are, whatever stands here,
    those that the models' `api_key_env` name, and MLflow's login."""


class KubernetesConfig(Section):
    """How `mpo run --on k8s` makes a KubeRay RayJob of the run; see k8s/README.md. In the cluster
    the run's folder is below /mnt/runs, whatever `runs_dir` says here."""

    overlay: str = "cpu"
    """A folder of `k8s/overlays`, or a path to an overlay of your own."""
    namespace: str = Field("mpo", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    """Kubernetes namespace, which must be there, with the secrets that k8s/README.md names."""
    context: str | None = None
    """kubectl's context; by default the current one."""
    image: str | None = None
    """Image of Ray's pods (`k8s/Dockerfile`), such as registry/mpo-suite:gpu; by default the
    overlay's."""


class LaunchConfig(Section):
    """What differs per place; it decides nothing about a run's results."""

    slurm: SlurmConfig = SlurmConfig()
    ray: RayJobConfig = RayJobConfig()
    k8s: KubernetesConfig = KubernetesConfig()


class Config(Section):
    """Everything that a run is decided by."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run and of its folder."""
    runs_dir: Path = Path("runs")
    seed: int = Field(42, ge=0, lt=2**32)
    envs: dict[str, SerializeAsAny[BaseModel]] = Field(min_length=1)
    """Environment name -> its settings."""
    models: dict[str, ModelConfig] = Field(min_length=1)
    """Name -> chat model. A served model's name is its engine's."""
    planner: PlannerConfig
    agent: AgentConfig
    seeds: SeedsConfig = SeedsConfig()
    scoring: ScoringConfig = ScoringConfig()
    pairs: PairsConfig = PairsConfig()
    training: DpoConfig = DpoConfig()
    rounds: PositiveInt = 1
    """Rounds of sampling, scoring, pairing and training. Each starts from the planner of the last,
    which is its reference; they end early when the reward on the validation tasks rises no more."""
    validation: float = Field(0.1, ge=0, lt=1)
    """Share of each environment's training tasks that nothing is trained on: their plans, scored
    like the others', say how well the training generalises, and when rounds stop helping."""
    evaluation: EvaluationConfig = EvaluationConfig()
    cluster: ClusterConfig = ClusterConfig()
    tracking: TrackingConfig = TrackingConfig()
    launch: LaunchConfig = LaunchConfig()
    prompts_dir: Path | None = None
    """A prompt folder of your own; see mpo_core/prompts."""

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
                faults += [_fault(fault, f"envs.{name}") for fault in error.errors()]
        if faults:
            raise PydanticCustomError(ALL_SAID, "{faults}", {"faults": "; ".join(faults)})
        return found

    @model_validator(mode="after")
    def _models_exist(self) -> "Config":
        teacher = self.seeds.teacher
        roles = {"planner.model": self.planner.model, "agent.model": self.agent.model}
        named = roles | ({"seeds.teacher": teacher} if teacher else {})
        for role, name in named.items():
            if name not in self.models:
                raise ValueError(
                    f"{role}: {name!r} is not in models ({', '.join(sorted(self.models))})"
                )
        if teacher and self.models[teacher].source and teacher not in roles.values():
            raise ValueError(
                f"seeds.teacher: models.{teacher} is not served, being neither the planner nor the "
                "agent; give it an endpoint"
            )
        if not self.cluster.enabled:
            served = [m for m in {self.planner.model, self.agent.model} if self.models[m].source]
            if served:
                raise ValueError(
                    f"cluster.enabled: false cannot serve models.{served[0]}; give it an endpoint"
                )
        return self

    @model_validator(mode="after")
    def _arms_that_can_be(self) -> "Config":
        source = self.models[self.planner.model].source
        if "arms" not in self.evaluation.model_fields_set and source is None:
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
        for arm in filter(ROUND_ARM.fullmatch, arms):
            if int(ROUND_ARM.fullmatch(arm)[1]) > self.rounds:
                raise ValueError(f"evaluation.arms: {arm}: there are {self.rounds} rounds")
        for arm in ("mpo", "pg", "shuffled"):
            if arm in arms and self.models[planner.model].source is None:
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
            if self.models[key].source is None:
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
        if planner.serve == "adapter" and any(section.method == "full" for section in planners):
            raise ValueError("planner.serve: adapter cannot hold full weights; set it to engine")
        for name, section in trained.items():
            key = agent.model if name == "agent.sft" else planner.model
            own_engine = name != "agent.sft" and planner.serve == "engine"
            rank, most = section.lora.rank, self.models[key].max_lora_rank
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
    def run_dir(self) -> Path:
        return self.runs_dir / self.name


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `dotted.key=value` overrides.

    Raises:
        InputError: naming the key at fault, for an unreadable file, an unknown key, a wrong type.
    """
    try:
        tree = strict_yaml.load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable as YAML: {_one_line(error)}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected a mapping of settings at the top level")
    for override in overrides:
        apply_override(tree, override, Config)
    return parse_config(tree, where=str(path))


def parse_config(tree: dict[str, Any], where: str = "config") -> Config:
    """A whole config from its tree."""
    return validated(Config, tree, where)


def validated(section: type[S], tree: dict[str, Any], where: str) -> S:
    """A section of the config from its tree. Raises InputError, in one line for all faults."""
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        faults = [_fault(e) + _advice(e, section) for e in error.errors()]
        raise InputError(f"{where}: " + "; ".join(faults)) from error


def save_config(config: Config, path: Path) -> None:
    """Write the resolved config, from which the run can be started again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = strict_yaml.dump(config.model_dump(mode="json"))
    path.write_text(text, encoding="utf-8")


def _fault(error: ErrorDetails, section: str = "") -> str:
    """A fault in words; the section is what its key stands in."""
    key = ".".join(str(part) for part in (section, *error["loc"]) if part not in ("", "[key]"))
    if error["type"] == ALL_SAID:
        return error["msg"]
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if error["type"] == "missing":
        return f"{key}: missing"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in EXPECTED:
        given = error["input"]
        found = "nothing" if given is None else " ".join(str(given).split())[:40]
        message = f"expected {EXPECTED[error['type']]}, found {found}"
    return f"{key}: {message}" if key else message


def _advice(error: ErrorDetails, section: type[BaseModel]) -> str:
    """What an unknown key may have been meant for."""
    if error["type"] != "extra_forbidden" or not error["loc"]:
        return ""
    if error["loc"][-1] == "api_key":
        return " (a key comes from the environment: name its variable in api_key_env)"
    meant = like(section, error["loc"])
    return f" (did you mean {meant}?)" if meant else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
