"""Direct preference optimization (Rafailov et al. 2023) on pairs of plans, with TRL.

With LoRA the reference is the same model with the adapter off; with full training it is a frozen
copy.
"""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mpo_core.config import TrainingConfig
from mpo_core.errors import InputError
from mpo_core.training.engine import allow_bf16_on_cpu
from mpo_core.training.settings import TrainingJob
from mpo_core.types import Message, PreferencePair

# What the summary takes from the last log row, by its name in TRL.
FINAL_METRICS = {
    "reward_accuracy": "rewards/accuracies",
    "reward_margin": "rewards/margins",
    "logps_chosen": "logps/chosen",
    "logps_rejected": "logps/rejected",
}


def read_rows(path: Path) -> list[dict[str, list[Message]]]:
    """Prompt, chosen and rejected messages of each `PreferencePair` of a JSONL file.

    Raises:
        InputError: for a missing or empty file, or a line that is not a pair.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of preference pairs")
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            pair = PreferencePair.model_validate_json(line)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise InputError(
                f"{path}:{number}: not a preference pair: {where} {fault['msg']}"
            ) from error
        rows.append({"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected})
    if not rows:
        raise InputError(f"{path}: no preference pairs to train on")
    return rows


def make_trainer(job: TrainingJob, rows: list[dict], common: dict[str, Any]) -> Any:
    """TRL's trainer for these pairs, the model loaded.

    Args:
        common: the arguments that every method shares (`run.common_arguments`).
    """
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    config = job.config
    arguments = DPOConfig(
        **common,
        beta=config.beta,
        loss_type=[config.loss_type],
        max_length=config.max_length,
    )
    allow_bf16_on_cpu(arguments)
    return DPOTrainer(
        model=job.model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        peft_config=lora_config(config) if config.method == "lora" else None,
    )


def count_cut(trainer: Any, max_length: int) -> int:
    """Pairs of which a side is longer than `max_length` tokens, and so loses its end."""
    return sum(
        len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) > max_length
        for row in trainer.train_dataset
    )


def lora_config(config: TrainingConfig) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=config.lora.target_modules,
        task_type="CAUSAL_LM",
    )
