"""What a training is decided by, and the DeepSpeed config that follows. No torch here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from mpo_core.config import DpoConfig, PgConfig, SftConfig, TrainingConfig, deciding
from mpo_core.errors import InputError
from mpo_core.hardware import multiplies_bf16
from mpo_core.model_folder import model_folder_fault
from mpo_core.models import weights_fingerprint
from mpo_core.textfile import read_notes
from mpo_core.types import content_hash

Objective = Literal["sft", "dpo", "pg"]
"""What a training learns from: demonstrations, preferences, or scores by policy gradient."""
C_co = TypeVar("C_co", bound=TrainingConfig, covariant=True)
CONFIGS: dict[Objective, type[TrainingConfig]] = {
    "sft": SftConfig,
    "dpo": DpoConfig,
    "pg": PgConfig,
}

SUMMARY_FILE = "training.json"
"""Beside the weights of a training that has ended: what it came to."""
OTHER_NAME = "method"
"""Of a training's objective, in files that do not hold it under that name."""


@dataclass(frozen=True)
class TrainingJob(Generic[C_co]):
    """One training: the same job on every worker."""

    rows: Path
    """JSONL: a `Demonstration` a line for SFT, a `PreferencePair` for DPO, a `ScoredAnswer` for
    policy gradient."""
    model: str
    """Base model: a Hugging Face folder or a hub id."""
    out: Path
    """Folder of the trained planner: a LoRA adapter or a whole model; replaced if it exists."""
    work: Path
    """Folder of the checkpoints, on storage that all workers share. A job continues from the
    newest complete checkpoint that it finds there."""
    config: C_co
    """Of the objective's kind in `CONFIGS`."""
    seed: int
    """Of the order of the rows and of new weights; the config's own where it has one."""
    objective: Objective = "dpo"
    start: Path | None = None
    """What the training continues and, but for SFT, is measured against: a LoRA adapter of `model`
    or, with full training, a whole model. By default the base model itself."""
    validation: Path | None = None
    """Rows of other tasks, measured on at every checkpoint and at the end, never trained on."""
    tag: str = ""
    """What the caller knows the training by; stands in its summary."""
    chat_template: str | None = None
    """A chat template, or its file, that the model is served with in place of its own."""
    template_settings: dict[str, Any] = field(default_factory=dict)
    """What the chat template is given besides by the server, such as `enable_thinking`."""
    continued: bool = False
    """Every answer is begun for the model when it is asked, as an agent's without thoughts is."""

    def __post_init__(self) -> None:
        if self.config.seed is not None:
            object.__setattr__(self, "seed", self.config.seed)

    @property
    def weights(self) -> str:
        """The whole model to load; an adapter in `start` comes on top of it."""
        return str(self.start) if self.start and self.config.method == "full" else self.model

    def identity(self) -> str:
        """Hash of everything that decides the result, the content of the rows included, and of how
        DeepSpeed lays out a checkpoint: what a job must share with one to go on from it."""
        settings = deciding(self.config) | {"seed": self.seed}
        rows = content_hash(self.rows.read_text(encoding="utf-8"))
        folder = Path(self.model)
        model = weights_fingerprint(folder) if folder.is_dir() else self.model
        start = [weights_fingerprint(self.start)] if self.start else []
        asked = [self.chat_template, self.template_settings, self.continued]
        asked = asked if any(asked) else []
        layout = deepspeed_config(self.config)
        return content_hash(
            self.objective, rows, model, settings, layout, *start, *asked, length=12
        )

    def with_whole_paths(self) -> "TrainingJob":
        """The same job for workers that start in other folders."""
        return replace(
            self,
            rows=self.rows.resolve(),
            out=self.out.resolve(),
            work=self.work.resolve(),
            start=self.start.resolve() if self.start else None,
            validation=self.validation.resolve() if self.validation else None,
        )

    def check_start(self) -> None:
        """Raises InputError for a `start` that this training cannot continue."""
        if not self.start:
            return
        if not self.start.is_dir():
            raise InputError(f"{self.start}: no such folder to start the training from")
        if self.config.method == "full":
            fault = model_folder_fault(self.start)
            if fault:
                raise InputError(f"{self.start}: full training cannot start here: {fault}")
            return
        settings = self.start / "adapter_config.json"
        found = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
        if found.get("peft_type") != "LORA":
            raise InputError(
                f"{self.start}: not a LoRA adapter; to train an adapter on a whole model, give "
                "that as the model"
            )
        asked = self.config.lora
        if (found["r"], found["lora_alpha"]) != (asked.rank, asked.alpha):
            raise InputError(
                f"{self.start}: its LoRA rank and alpha are {found['r']} and "
                f"{found['lora_alpha']}, the config's {asked.rank} and {asked.alpha}: an adapter "
                "is continued as it is"
            )


def with_objective(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a job or a summary from a file, the objective under that name."""
    named = dict(fields)
    if OTHER_NAME in named:
        named.setdefault("objective", named.pop(OTHER_NAME))
    return named


def read_summary(folder: Path) -> dict[str, Any]:
    """What the training of a folder's weights came to, the fields of `run.TrainingSummary`; empty
    where none has ended there.

    Raises:
        InputError: the file is damaged.
    """
    return with_objective(read_notes(folder / SUMMARY_FILE))


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
