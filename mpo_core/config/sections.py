"""What a run is made of: planner and agent, and its stages from seeds to evaluation."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from mpo_core.config.declare import Section, adds, decides, operational, selects
from mpo_core.config.training import PgConfig, RftConfig, SftConfig
from mpo_core.likeness import meant
from mpo_core.types import PlanMode, Split

Arm = Literal["none", "base", "sft", "rft", "mpo", "pg", "shuffled", "teacher", "oracle", "expert"]
WITHOUT_PLANNER = ("none", "teacher", "oracle", "expert")
"""Of the arms, those that play no plans of the planner."""
ROUND_ARM = re.compile(r"mpo-([1-9]\d*)")
"""The arm of one round's planner."""


class SeedsConfig(Section):
    """Plans made from the experts' episodes of the training tasks, for the planner's SFT."""

    teacher: str | None = decides(None)
    """Key in `models` of the model that turns an expert's episode into a plan; null for the
    rule-based teacher, which asks no model and writes one plan a task."""
    per_task: PositiveInt = decides(1)
    """Plans that a teacher model writes for each task."""
    temperature: float = decides(0.7, ge=0)
    """Temperature of the teacher's answers."""
    max_tokens: PositiveInt = decides(512)
    """Longest answer of the teacher, in tokens."""
    resamples: int = decides(3, ge=0)
    """Times that unparseable answers are drawn again before the task counts as failed."""
    price_per_million_prompt_tokens: float | None = operational(None, ge=0)
    """The teacher's price, in any currency; with both prices set, the cost is printed."""
    price_per_million_completion_tokens: float | None = operational(None, ge=0)
    """The same of what it answers."""


class PlannerConfig(Section):
    """Who writes the plans, how it is sampled, and what it is trained on before preferences."""

    model: str = decides()
    """Key in `models` of the planner before training."""
    sft: SftConfig | None = decides(None)
    """Fine-tune the planner on the seed plans first: it is then this planner whose plans are
    scored and that DPO, policy gradient and RFT go on from. Left out, it is the base."""
    match_teacher: bool = operational(False)
    """Go on to the scoring only when SFT has reached its teacher: on the validation tasks, the
    teacher's plans are not shown to earn more than SFT's. What MPO then gains is not what SFT still
    owed. For teachers that know no more of a task than the planner is told."""
    rft: RftConfig = RftConfig()
    pg: PgConfig | None = decides(None)
    """Train it by policy gradient as well, for the arm `pg`; left out, it is not."""
    serve: Literal["adapter", "engine"] = operational("adapter")
    """Serve a trained planner as a LoRA adapter of its base's engine, or as an engine of its own
    (needed after full fine-tuning)."""
    example: bool = decides(True)
    """Show it one task with its plan before the task, where the prompts hold such an example."""
    per_task: PositiveInt = decides(5)
    """Plans sampled for each training task (M in the paper)."""
    sampled: list[Path] = decides([])
    """Files of sampled plans to score in the first round instead, a line a task (`id`, `task`,
    `workflow`), as the paper's data."""
    temperature: float = decides(0.8, ge=0)
    """Temperature at which plans are sampled for scoring."""
    evaluation_temperature: float = decides(0.0, ge=0)
    """Temperature for the one plan of an evaluation task; 0 is greedy. `evaluation.plan_samples`
    are drawn at `temperature` besides."""
    max_tokens: PositiveInt = decides(512)
    """Longest plan, in tokens."""
    resamples: int = operational(3, ge=0)
    """Times that unparseable plans are drawn again before the task's shortfall stops the run."""


class AgentConfig(Section):
    """Who plays, what it is told, and when its episodes end."""

    model: str = decides()
    """Key in `models` of the agent; it explores and is evaluated."""
    sft: SftConfig | None = decides(None)
    """Fine-tune the agent on the experts' episodes first, for agents without thoughts; left out,
    it is never trained."""
    plan_mode: PlanMode = decides("query")
    """Where the agent reads its plan: with the task, after each observation, or as the start of
    its own reasoning."""
    max_tokens: PositiveInt = decides(512)
    """Longest reply, in tokens."""
    invalid_limit: PositiveInt = decides(10)
    """Consecutive replies without an understood action that end an episode."""
    unusable_limit: int | None = operational(3, ge=0)
    """Episodes of a stage whose replies may be mostly unusable (empty, refused, a tool call, only
    reasoning) before the run stops, since such rewards say nothing about plans; null for any."""
    max_steps: PositiveInt | None = decides(None)
    """Step limit of every episode; by default the environment's own, per task type."""
    example: bool = decides(True)
    """Show one worked episode before the task."""
    list_actions: int = decides(0, ge=0)
    """Valid actions to list with each observation, drawn at random over all verbs; a help for
    small models, at the price of slower steps."""
    thoughts: bool = decides(True)
    """Let the agent think before each action (ReAct); small models do better without."""


class ScoringConfig(Section):
    """How plans are scored: by how many episodes, and with which controls."""

    repetitions: PositiveInt | Literal["auto"] = decides(5)
    """Episodes per plan (N in the paper). `auto`: one, and more only where they are expected to do
    most for telling a task's best and worst plans apart; what stays unbiased says docs/scoring.md.
    """
    mean_repetitions: float = decides(2.5, ge=1)
    """For `auto`: episodes per plan, on average over all plans of a round, at most."""
    max_repetitions: PositiveInt = decides(5)
    """For `auto`: episodes of one plan at most; what is saved is counted against it."""
    temperature: float = decides(0.8, ge=0)
    """Temperature of the agent's replies when plans are scored."""
    shuffle: list[Annotated[int, Field(ge=0)]] = selects([])
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
    """Which scored plans are preferred to which."""

    rule: Literal["best_worst", "nested", "margin", "significant"] = decides("best_worst")
    """Which of a task's scored plans are paired: the best and the worst (the paper's rule); these,
    the second best and the second worst, and so on (`nested`); every two that differ by more than
    `min_margin`; or of these only the significant differences."""
    min_margin: float = decides(0.0, ge=0, le=1)
    """Score difference that a pair must exceed."""
    level: float = decides(0.05, gt=0, lt=1)
    """For `significant`: probability below which chance must explain the difference."""


class EvaluationConfig(Section):
    """Whose plans are compared, on which tasks, and how often."""

    splits: list[Split] = selects(["seen", "unseen"], min_length=1)
    """Tasks that are played."""
    arms: list[str] = selects(["none", "base", "mpo"], min_length=1)
    """Plans to compare, by default `none`, `base` and, where the planner can be trained, `mpo`:
    `none`; those of the planner untrained (`base`), fine-tuned on seed plans
    (`sft`), on the best scored plan of each task as well (`rft`), trained on preferences (`mpo`, of
    the last round that helped; `mpo-2`, of the second round, whether it did or not) or by policy
    gradient (`pg`); the mean over the controls of `scoring.shuffle` (`shuffled`); those that a
    teacher makes of the expert's episode of the very task, the seeds' teacher (`teacher`) or the
    rule-based one (`oracle`, an upper bound for plans);
    `expert` is the environment's own solution, as an upper bound; or a name of `plan_files`."""
    plan_files: dict[str, list[Path]] = selects({})
    """Arm -> files with its plans, a line each (`id`, `task`, `workflow`), as the paper's data."""
    plan_samples: int = adds(0, ge=0)
    """Further plans a task to play of each planner, sampled at `planner.temperature` (of a teacher
    model, at `seeds.temperature`). The greedy plan says what the planner thinks best, and flips for
    many tasks at once where it is unsure; the mean over sampled plans says how good its plans are,
    and moves only as far as they do. The report shows both; a task's result is its plans' mean."""
    repetitions: PositiveInt = adds(1)
    """Episodes per plan."""
    temperature: float = decides(0.0, ge=0)
    """Temperature of the agent's replies; 0 is greedy."""
    bootstrap: PositiveInt = selects(10_000)
    """Resamples behind each confidence interval."""

    @model_validator(mode="after")
    def _known_arms(self) -> "EvaluationConfig":
        known = [*get_args(Arm), *self.plan_files]
        for arm in self.arms:
            if arm not in known and not ROUND_ARM.fullmatch(arm):
                hint = meant(arm, known)
                raise ValueError(f"arms: unknown arm {arm!r}{hint}; known: {', '.join(known)}")
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("arms: an arm is listed twice")
        for arm in self.plan_files:
            if arm in get_args(Arm) or ROUND_ARM.fullmatch(arm):
                raise ValueError(f"plan_files: {arm} is an arm already; choose another name")
        for arm in self.plan_files:
            if arm not in self.arms:
                raise ValueError(f"plan_files: no arm plays the plans of {arm}; add it to arms")
        return self
