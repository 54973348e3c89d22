"""How planner and agent are trained: the sections of SFT, DPO, policy gradient and RFT."""

from typing import Literal

from pydantic import PositiveInt, model_validator

from mpo_core.config.declare import Section, decides, operational

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


class LoraConfig(Section):
    """The adapter that is trained in place of all weights."""

    rank: PositiveInt = decides(16)
    """Rank of the adapter's matrices."""
    alpha: PositiveInt = decides(32)
    """Scale of the adapter: its output is multiplied by alpha / rank."""
    dropout: float = decides(0.0, ge=0, lt=1)
    """Share of the adapter's inputs left out at random in training."""
    target_modules: str | list[str] = decides("all-linear")
    """Layers that get an adapter, as PEFT names them."""


class TrainingConfig(Section):
    """What all trainings share."""

    method: Literal["lora", "full"] = decides("lora")
    """Train an adapter, or all weights."""
    lora: LoraConfig = LoraConfig()
    learning_rate: float = decides(1e-5, gt=0)
    """Peak learning rate of AdamW."""
    epochs: float = decides(1.0, gt=0)
    """Passes over the rows."""
    max_steps: int = decides(-1)
    """Optimizer steps; -1 for what `epochs` makes."""
    batch_size: PositiveInt = decides(32)
    """Global batch: workers x micro_batch_size x accumulation steps."""
    micro_batch_size: PositiveInt = operational(1)
    """Rows per worker and forward pass."""
    max_length: PositiveInt = decides(2048)
    """Longest prompt plus plan, in tokens; longer ones are cut and counted."""
    warmup_ratio: float = decides(0.0, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = decides(0.0, ge=0)
    """AdamW's weight decay."""
    scheduler: str = decides("cosine")
    """How the learning rate falls after the warm-up, by transformers' name for it."""
    max_grad_norm: float = decides(1.0, gt=0)
    """Norm that gradients are clipped to."""
    gradient_checkpointing: bool = operational(False)
    """Compute activations again in the backward pass, in place of keeping them: less memory, more
    time."""
    precision: Literal["auto", "bf16", "fp32"] = decides("auto")
    """`auto` is bf16 on GPUs and on processors that multiply bfloat16 themselves, else fp32."""
    zero_stage: Literal[1, 2, 3] = operational(2)
    """DeepSpeed ZeRO stage."""
    workers: PositiveInt = operational(2)
    """Ray Train workers; one process each."""
    cpus_per_worker: float = operational(1, gt=0)
    """CPUs that Ray sets aside for each worker."""
    gpus_per_worker: int = operational(0, ge=0, le=1)
    """1 trains on GPUs, one a worker; 0 on CPUs."""
    save_steps: PositiveInt = operational(50)
    """Optimizer steps between checkpoints."""
    max_failures: int = operational(2, ge=0)
    """Times that Ray Train restarts the workers from the last checkpoint."""
    seed: int | None = decides(None, ge=0, lt=2**32)
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

    learning_rate: float = decides(1e-4, gt=0)
    """Peak learning rate of AdamW."""
    epochs: float = decides(3.0, gt=0)
    """Passes over the rows."""
    packing: bool = decides(False)
    """Put several rows into one sequence of `max_length`, which do not see each other: faster
    where rows are short. A batch then counts sequences, not rows."""


class DpoConfig(TrainingConfig):
    """Direct preference optimization."""

    beta: float = decides(0.1, gt=0)
    """Strength of the pull towards the reference model."""
    loss_type: DpoLoss = decides("sigmoid")
    """TRL's name of the DPO loss."""
    label_smoothing: float = decides(0.0, ge=0, lt=0.5)
    """Share of the pairs taken to be the wrong way round; for losses that reckon with it."""
    sft_weight: float = decides(1.0, ge=0)
    """Weight of a further loss, the chosen plan's negative log-likelihood per token; keeps its
    probability from falling along with the rejected plan's. Without it (0) planners gain less in
    docs/sandbox/studies.md."""

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

    ratio_cap: float = decides(3.0, gt=1)
    """Weight of a plan at most: its importance ratio, how many times likelier it has become than
    it was to the planner that wrote it."""
    ratio_floor: float = decides(1.0, ge=0, le=1)
    """Weight of a plan that is better than its task's mean at least, so that one that has become
    unlikely is learnt again; 0 for the importance ratio as it is."""
    beta: float = decides(0.0, ge=0)
    """Strength of the pull towards that planner: reward given up for a nat of divergence from it,
    in standard deviations of the rewards of a task's plans."""
    sft_weight: float = decides(0.0, ge=0)
    """Weight of a further loss, the negative log-likelihood per token of the plans better than
    their task's mean; keeps their probability from falling."""


class RftConfig(Section):
    """Rejection-sampling fine-tuning."""

    pick: Literal["best", "above_mean"] = decides("above_mean")
    """What it imitates: the best scored plan of each task (the paper's), or every plan whose score
    is above the mean of its task's plans, which teaches more in docs/sandbox/studies.md."""
    training: SftConfig | None = decides(None)
    """Settings of this training; left out, those of `planner.sft`. Its plans are fewer."""
