"""Direct preference optimization (Rafailov et al. 2023) on pairs of plans, with TRL.

The reference is what the training starts from. With LoRA it is the same model with the adapter off
or, where the training continues an adapter, with a frozen copy of that adapter: never a second
copy of the base model. With full training it is a frozen copy of the model.
"""

from pathlib import Path
from typing import Any

from mpo_core.training.adapter import load_start, lora_config
from mpo_core.training.engine import allow_bf16_on_cpu
from mpo_core.training.rows import Lost, read_records, require_any
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
    return [
        {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in read_records(path, PreferencePair, "preference pair")
    ]


def make_trainer(job: TrainingJob, rows: list[dict], common: dict[str, Any]) -> tuple[Any, Lost]:
    """TRL's trainer for these pairs, the model loaded, and what `max_length` took from them.

    Args:
        common: the arguments that every method shares (`run.common_arguments`).

    Raises:
        InputError: when no pair fits `max_length`.
    """
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.utils import disable_dropout_in_model

    config = job.config
    losses = {config.loss_type: 1.0}
    if config.sft_weight:
        losses["sft"] = config.sft_weight
    arguments = DPOConfig(
        **common,
        beta=config.beta,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        label_smoothing=config.label_smoothing,
        max_length=config.max_length,
    )
    allow_bf16_on_cpu(arguments)
    trainer = DPOTrainer(
        model=job.weights,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        peft_config=lora_config(job),
    )
    load_start(trainer.model, job, reference=True)
    # TRL did so before the reference adapter was there, whose dropout would blur the reference.
    disable_dropout_in_model(trainer.model)
    kept = trainer.train_dataset
    require_any(len(kept), job.rows, config.max_length)
    return trainer, Lost(cut=_n_cut(kept, config.max_length), dropped=len(rows) - len(kept))


def _n_cut(pairs: Any, max_length: int) -> int:
    """Pairs of which a side is longer than `max_length` tokens, and so loses its end."""
    return sum(
        len(pair["prompt_ids"]) + max(len(pair["chosen_ids"]), len(pair["rejected_ids"]))
        > max_length
        for pair in pairs
    )
