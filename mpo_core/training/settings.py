"""What a training is decided by, and the DeepSpeed config that follows. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mpo_core.config import TrainingConfig
from mpo_core.hardware import multiplies_bf16
from mpo_core.types import content_hash

Method = Literal["dpo"]

# Where, how fast and how safely a training runs, but not what comes out of it.
OPERATIONAL = {"cpus_per_worker", "save_steps", "max_failures", "seed"}


@dataclass(frozen=True)
class TrainingJob:
    """One training: the same job on every worker."""

    rows: Path
    """JSONL; for DPO, one `PreferencePair` a line."""
    model: str
    """Base model: a Hugging Face folder or a hub id."""
    out: Path
    """Folder of the trained planner: a LoRA adapter or a whole model; replaced if it exists."""
    work: Path
    """Folder of the checkpoints, on storage that all workers share. A job continues from the
    newest complete checkpoint that it finds there."""
    config: TrainingConfig
    seed: int
    method: Method = "dpo"

    def identity(self) -> str:
        """Hash of everything that decides the result, the content of the rows included."""
        settings = self.config.model_dump(mode="json", exclude=OPERATIONAL)
        rows = content_hash(self.rows.read_text())
        return content_hash(self.method, rows, self.model, settings, self.seed, length=12)


def accumulation_steps(config: TrainingConfig) -> int:
    """Forward passes per worker and optimizer step."""
    return config.batch_size // (config.workers * config.micro_batch_size)


def precision(config: TrainingConfig) -> Literal["bf16", "fp32"]:
    """Of the weights and the arithmetic; `auto` takes what the hardware is fast at."""
    if config.precision != "auto":
        return config.precision
    return "bf16" if config.gpus_per_worker or multiplies_bf16() else "fp32"


def deepspeed_config(config: TrainingConfig) -> dict[str, Any]:
    """DeepSpeed's config: ZeRO by stage, the optimizer and scheduler being the trainer's."""
    zero: dict[str, Any] = {"stage": config.zero_stage, "contiguous_gradients": True}
    if config.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "train_batch_size": config.batch_size,
        "train_micro_batch_size_per_gpu": config.micro_batch_size,
        "gradient_accumulation_steps": accumulation_steps(config),
        "gradient_clipping": config.max_grad_norm,
        "bf16": {"enabled": precision(config) == "bf16"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
