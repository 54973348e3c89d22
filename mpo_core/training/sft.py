"""Supervised fine-tuning on demonstrations, with TRL: a plan per task, or an agent's next answer.

The loss counts the tokens of the answer only. Rejection-sampling fine-tuning (RFT) is this method
on the best-scored plans.
"""

from pathlib import Path
from statistics import fmean
from typing import Any

from mpo_core.config import SftConfig
from mpo_core.formats import SftExample
from mpo_core.training.adapter import load_start, lora_config
from mpo_core.training.engine import allow_bf16_on_cpu
from mpo_core.training.rows import Fit, read_records, require_any
from mpo_core.training.settings import TrainingJob
from mpo_core.types import Message

# What the summary takes from the last steps, by its name in TRL.
FINAL_METRICS = {"token_accuracy": "mean_token_accuracy", "entropy": "entropy"}


def read_rows(path: Path) -> list[dict[str, list[Message]]]:
    """Prompt and completion messages of a JSONL file of `Demonstration` or TRL's rows.

    Raises:
        InputError: for a missing or empty file, or a line that is not a demonstration.
    """
    return [
        {"prompt": shown.prompt, "completion": shown.completion}
        for shown in read_records(path, SftExample, "demonstration")
    ]


def make_trainer(
    job: TrainingJob, rows: list[dict], validation: list[dict] | None, common: dict[str, Any]
) -> tuple[Any, Fit]:
    """TRL's trainer for these rows, the model loaded, and how they fit `max_length`.

    Args:
        validation: rows to measure on.
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
    kept = _tokenized(rows, tokenizer, config.max_length)
    require_any(len(kept), job.rows, config.max_length)
    measured = _tokenized(validation or [], tokenizer, config.max_length)
    if not measured:
        common = common | {"eval_strategy": "no"}
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
        eval_dataset=Dataset.from_list(measured) if measured else None,
        processing_class=tokenizer,
        peft_config=lora_config(job),
    )
    load_start(trainer.model, job, reference=False)
    cut = sum(len(row["input_ids"]) > config.max_length for row in kept)
    answers = fmean(sum(row["completion_mask"]) for row in kept)
    return trainer, Fit(cut, len(rows) - len(kept), answers)


def warnings(curve: list[dict[str, float]], config: SftConfig, fit: Fit) -> list[str]:
    """Nothing that the loss itself does not say."""
    return []


def tokens(row: dict[str, list[Message]], tokenizer: Any) -> dict[str, list[int]]:
    """A row's `input_ids`, and a `completion_mask` of 1 where the answers' tokens are.

    An answer begins where the conversation with it departs from what the model is given when it
    is asked for it, the opening of the assistant's turn included.
    """
    messages = row["prompt"] + row["completion"]
    whole = tokenizer.apply_chat_template(messages, return_dict=False)
    mask = [0] * len(whole)
    for k in range(len(row["prompt"]), len(messages)):
        if messages[k]["role"] == "assistant":
            asked = tokenizer.apply_chat_template(
                messages[:k], add_generation_prompt=True, return_dict=False
            )
            answered = tokenizer.apply_chat_template(messages[: k + 1], return_dict=False)
            begin, end = _shared(asked, whole), _shared(answered, whole)
            mask[begin:end] = [1] * (end - begin)
    return {"input_ids": whole, "completion_mask": mask}


def _tokenized(rows: list[dict], tokenizer: Any, max_length: int) -> list[dict[str, list[int]]]:
    """The rows of which `max_length` leaves some of an answer."""
    tokenized = [tokens(row, tokenizer) for row in rows]
    return [row for row in tokenized if any(row["completion_mask"][:max_length])]


def _shared(one: list[int], other: list[int]) -> int:
    """Number of tokens that both begin with."""
    pairs = zip(one, other, strict=False)
    return next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
