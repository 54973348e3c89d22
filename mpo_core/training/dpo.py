"""Direct preference optimization (Rafailov et al. 2023) on pairs of plans, with TRL.

The reference is what the training starts from. With LoRA it is the same model with the adapter off
or, where the training continues an adapter, with a frozen copy of that adapter: never a second
copy of the base model. With full training it is a frozen copy of the model.
"""

from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

from mpo_core.chat_templates import ChatTemplate
from mpo_core.config import DpoConfig
from mpo_core.formats import PreferenceExample
from mpo_core.training.answers import answer_tokens, load_tokenizer
from mpo_core.training.rows import (
    SAME_AFTER_CUT,
    TOO_LONG,
    Fit,
    Pair,
    mean_of_last,
    naming_row,
    read_records,
    require_any,
    telling_pairs,
)
from mpo_core.training.settings import TrainingJob
from mpo_core.training.trainer import build_trainer

# What the summary takes from the last steps, by its name in TRL.
FINAL_METRICS = {
    "reward_accuracy": "rewards/accuracies",
    "reward_margin": "rewards/margins",
    "logps_chosen": "logps/chosen",
    "logps_rejected": "logps/rejected",
}

COLLAPSE = 0.1
"""Fall of the log-probability per token, in nats, from which the chosen plans count as lost. It is
a mean over all tokens: a fall this small can sit on the one or two that matter."""


def read_rows(path: Path) -> list[Pair]:
    """Prompt, chosen and rejected messages of a JSONL file of `PreferencePair` or TRL's rows.

    Raises:
        InputError: for a missing or empty file, or a line that is not a pair.
    """
    return [
        {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in read_records(path, PreferenceExample, "preference pair")
    ]


def make_trainer(
    job: TrainingJob[DpoConfig],
    rows: list[Pair],
    validation: list[Pair] | None,
    common: dict[str, Any],
) -> tuple[Any, Fit]:
    """TRL's trainer for these pairs, the model loaded, and what of the pairs is trained on.

    Args:
        validation: pairs to measure on.
        common: the arguments that every objective shares (`run.common_arguments`).

    Raises:
        InputError: when no pair is left that teaches something.
    """
    config = job.config
    tokenizer, template = load_tokenizer(job)
    kept, dropped = _tokenized(job.rows, rows, tokenizer, template, config.max_length)
    require_any(len(kept), job.rows, dropped)
    measured, _ = _tokenized(
        job.validation, validation or [], tokenizer, template, config.max_length
    )
    from trl import DPOConfig, DPOTrainer

    class TokenizedPairs(DPOTrainer):
        """Takes pairs as they are: TRL would tokenize them as the template writes answers, not as
        the model is asked for them."""

        def _prepare_dataset(self, dataset, *_):
            return dataset

    trainer = build_trainer(
        TokenizedPairs,
        DPOConfig,
        job,
        common | own_arguments(config),
        kept=kept,
        measured=measured,
        reference=True,
        processing_class=tokenizer,
    )
    answers = fmean(len(pair["chosen_ids"]) for pair in kept)
    return trainer, Fit(_n_cut(kept, config.max_length), dropped, answers)


def own_arguments(config: DpoConfig) -> dict[str, Any]:
    """Arguments of TRL's `DPOConfig` that the other objectives do not share."""
    losses: dict[str, float] = {config.loss_type: 1.0}
    if config.sft_weight:
        losses["sft"] = config.sft_weight
    return {
        "beta": config.beta,
        "loss_type": list(losses),
        "loss_weights": list(losses.values()),
        "label_smoothing": config.label_smoothing,
        "max_length": config.max_length,
    }


def warnings(curve: list[dict[str, float]], config: DpoConfig, fit: Fit) -> list[str]:
    """Says so when the chosen plans have become far less likely than under the reference.

    DPO raises the margin between the sides, which it can do by making both ever less likely; such
    a planner then writes something else than either (Pal et al. 2024, arXiv 2402.13228), which
    neither loss nor reward accuracy shows. Read off the chosen side's reward, beta x the change of
    its log-probability, over the last quarter of the steps.
    """
    chosen = mean_of_last(curve, "rewards/chosen")
    fall = -chosen / config.beta / fit.answer_tokens
    if fall < COLLAPSE:
        return []
    return [
        f"the chosen plans' log-probability collapsed, by {fall:.2f} per token against the "
        "reference: raise training.sft_weight or training.beta, or lower the learning rate"
    ]


def _n_cut(pairs: Any, max_length: int) -> int:
    """Pairs of which a side is longer than `max_length` tokens, and so loses its end."""
    return sum(
        len(pair["prompt_ids"]) + max(len(pair["chosen_ids"]), len(pair["rejected_ids"]))
        > max_length
        for pair in pairs
    )


def _tokenized(
    path: Path | None, pairs: list[Pair], tokenizer: Any, template: ChatTemplate, max_length: int
) -> tuple[list[dict[str, list[int]]], Counter[str]]:
    """The pairs that teach something within `max_length`, as TRL's trainer takes them, and why the
    others are left out."""
    telling, dropped = telling_pairs(pairs)
    kept = []
    for number, pair in telling.items():
        with naming_row(path, number):
            given, chosen = answer_tokens(pair["prompt"], pair["chosen"][0], tokenizer, template)
            _, rejected = answer_tokens(pair["prompt"], pair["rejected"][0], tokenizer, template)
        room = max_length - len(given)
        if room <= 0:
            dropped[TOO_LONG] += 1
        elif chosen[:room] == rejected[:room]:
            dropped[SAME_AFTER_CUT] += 1
        else:
            kept.append({"prompt_ids": given, "chosen_ids": chosen, "rejected_ids": rejected})
    return kept, dropped
