"""Supervised fine-tuning on demonstrations, with TRL: a plan per task, or an agent's next answer.

The loss counts the tokens of the answer only. Rejection-sampling fine-tuning (RFT) is this method
on the best-scored plans.
"""

from pathlib import Path
from typing import Any

from mpo_core.training.adapter import load_start, lora_config
from mpo_core.training.engine import allow_bf16_on_cpu
from mpo_core.training.rows import Lost, read_records, require_any
from mpo_core.training.settings import TrainingJob
from mpo_core.types import Demonstration, Message

# What the summary takes from the last log row, by its name in TRL.
FINAL_METRICS = {"token_accuracy": "mean_token_accuracy", "entropy": "entropy"}


def read_rows(path: Path) -> list[dict[str, list[Message]]]:
    """Prompt and completion messages of each `Demonstration` of a JSONL file.

    Raises:
        InputError: for a missing or empty file, or a line that is not a demonstration.
    """
    return [
        {"prompt": shown.prompt, "completion": shown.completion}
        for shown in read_records(path, Demonstration, "demonstration")
    ]


def make_trainer(job: TrainingJob, rows: list[dict], common: dict[str, Any]) -> tuple[Any, Lost]:
    """TRL's trainer for these rows, the model loaded, and what `max_length` took from them.

    Args:
        common: the arguments that every method shares (`run.common_arguments`).

    Raises:
        InputError: when no row fits `max_length`.
    """
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    config = job.config
    tokenizer = AutoTokenizer.from_pretrained(job.weights)
    # Packing hides what a row has lost, so rows are tokenized and counted before TRL gets them.
    tokenized = [tokens(row, tokenizer) for row in rows]
    kept = [row for row in tokenized if any(row["completion_mask"][: config.max_length])]
    require_any(len(kept), job.rows, config.max_length)
    arguments = SFTConfig(
        **common,
        max_length=config.max_length,
        packing=config.packing,
        completion_only_loss=True,
    )
    allow_bf16_on_cpu(arguments)
    trainer = SFTTrainer(
        model=job.weights,
        args=arguments,
        train_dataset=Dataset.from_list(kept),
        processing_class=tokenizer,
        peft_config=lora_config(job),
    )
    load_start(trainer.model, job, reference=False)
    cut = sum(len(row["input_ids"]) > config.max_length for row in kept)
    return trainer, Lost(cut=cut, dropped=len(rows) - len(kept))


def tokens(row: dict[str, list[Message]], tokenizer: Any) -> dict[str, list[int]]:
    """A row's `input_ids`, and a `completion_mask` of 1 where the answer's tokens are.

    The answer begins where the conversation with it departs from the prompt as the planner is
    given it when it is sampled, the opening of the assistant's turn included.
    """
    prompt = tokenizer.apply_chat_template(
        row["prompt"], add_generation_prompt=True, return_dict=False
    )
    whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=False)
    shared = 0
    while prompt[shared : shared + 1] == whole[shared : shared + 1] != []:
        shared += 1
    return {"input_ids": whole, "completion_mask": [0] * shared + [1] * (len(whole) - shared)}
