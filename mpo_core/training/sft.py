"""Supervised fine-tuning on demonstrations, with TRL: a plan per task, or an agent's next answer.

The loss counts the tokens of the answers only (`answers.py`). Rejection-sampling fine-tuning (RFT)
is this objective on the best-scored plans.
"""

from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

from mpo_core.chat_templates import ChatTemplate
from mpo_core.config import SftConfig
from mpo_core.formats import SftExample
from mpo_core.training.answers import load_tokenizer, sequences
from mpo_core.training.rows import (
    BLANK,
    TOO_LONG,
    Fit,
    naming_row,
    read_records,
    require_any,
)
from mpo_core.training.settings import TrainingJob
from mpo_core.training.trainer import build_trainer
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
    job: TrainingJob[SftConfig],
    rows: list[dict],
    validation: list[dict] | None,
    common: dict[str, Any],
) -> tuple[Any, Fit]:
    """TRL's trainer for these rows, the model loaded, and how they fit `max_length`.

    Args:
        validation: rows to measure on.
        common: the arguments that every objective shares (`run.common_arguments`).

    Raises:
        InputError: when no row fits `max_length`.
    """
    config = job.config
    tokenizer, template = load_tokenizer(job)
    # Packing hides what a row has lost, so rows are tokenized and counted before TRL gets them.
    kept, dropped = _tokenized(job.rows, rows, tokenizer, template, job)
    require_any(len(kept), job.rows, dropped)
    measured, _ = _tokenized(job.validation, validation or [], tokenizer, template, job)
    from trl import SFTConfig, SFTTrainer

    trainer = build_trainer(
        SFTTrainer,
        SFTConfig,
        job,
        common | own_arguments(config),
        kept=kept,
        measured=measured,
        reference=False,
        processing_class=tokenizer,
    )
    cut = sum(len(row["input_ids"]) > config.max_length for row in kept)
    answers = fmean(sum(row["completion_mask"]) for row in kept)
    return trainer, Fit(cut, dropped, answers)


def own_arguments(config: SftConfig) -> dict[str, Any]:
    """Arguments of TRL's `SFTConfig` that the other objectives do not share."""
    return {
        "max_length": config.max_length,
        "packing": config.packing,
        "completion_only_loss": True,
    }


def warnings(curve: list[dict[str, float]], config: SftConfig, fit: Fit) -> list[str]:
    """Nothing that the loss itself does not say."""
    return []


def _tokenized(
    path: Path | None,
    rows: list[dict],
    tokenizer: Any,
    template: ChatTemplate,
    job: TrainingJob[SftConfig],
) -> tuple[list[dict[str, list[int]]], Counter[str]]:
    """The rows as token sequences of which `max_length` leaves some of an answer, and why answers
    are left out."""
    kept: list[dict[str, list[int]]] = []
    dropped: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        blank = [
            m for m in row["completion"] if m["role"] == "assistant" and not m["content"].strip()
        ]
        dropped[BLANK] += len(blank)
        with naming_row(path, number):
            found = sequences(
                row["prompt"], row["completion"], tokenizer, template, continued=job.continued
            )
        fitting = [s for s in found if any(s["completion_mask"][: job.config.max_length])]
        dropped[TOO_LONG] += len(found) - len(fitting)
        kept += fitting
    return kept, +dropped
