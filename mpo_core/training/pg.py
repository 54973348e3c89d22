"""Policy gradient on all scored plans, better and worse, with TRL's trainer around it.

The loss of a plan y is -min(ratio, cap) x advantage, where ratio = p(y) / q(y) makes a plan that
the planner q wrote one of the planner p that is trained: over the plans, its mean estimates the
advantage that p would have (truncated importance sampling, Ionides 2008). The advantages are those
of a task's plans among themselves (GRPO, Shao et al. 2024), see `mpo_core.advantages`.

The gradient is REINFORCE's (Williams 1992), -weight x advantage x grad log p(y), with that ratio of
whole plans as the weight, which for better plans is at least `ratio_floor`. Without the floor, a
better plan that was lost along with a worse one weighs next to nothing and cannot come back: p then
leaves all of the scored plans. With it p goes back to them, while worse plans still weigh the less
the less likely they are (tapered off-policy REINFORCE, Le Roux et al. 2025, arXiv 2503.14286). The
cap bounds the weight alone: a plan above it is still learnt from.

q is what the training starts from, the reference of DPO: the same model with the adapter off or
with a frozen copy of the adapter (`adapter.load_start`), or with full training a frozen copy of the
model. So a training that is resumed has the same q. Its probabilities are those at temperature 1.
"""

from collections import Counter
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any

from mpo_core.chat_templates import ChatTemplate
from mpo_core.config import PgConfig
from mpo_core.conversations import ScoredExample
from mpo_core.training.answers import answer_tokens, load_tokenizer
from mpo_core.training.rows import (
    BLANK,
    TOO_LONG,
    Fit,
    mean_of_last,
    naming_row,
    read_records,
    require_any,
)
from mpo_core.training.settings import TrainingJob
from mpo_core.training.trainer import build_trainer

# What the summary takes from the last steps, by its name in the log.
FINAL_METRICS = {
    "ratio": "ratio/mean",
    "ratio_capped": "ratio/capped",
    "logratio_better": "logratio/better",
    "logratio_worse": "logratio/worse",
    "kl": "kl",
    "entropy": "entropy",
}
NO_ADVANTAGE = "the advantage is 0, as where the plans of a task tie"

COLLAPSE = 0.1
"""Fall of the better plans' log-probability per token, in nats, from which they count as lost."""
MOSTLY = 0.5
"""Share of the plans above which so many at the cap say that the weights say little: half of them
are the better ones, which are to rise."""
FAR = 0.5
"""Divergence per token, in nats, from which the planner is another than the one that wrote the
plans, and their scores say little about it."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Prompt and completion messages and advantage of a JSONL file of `ScoredAnswer` or such rows.

    Raises:
        InputError: for a missing or empty file, or a line that is not a scored answer.
    """
    return [row.model_dump() for row in read_records(path, ScoredExample, "scored answer")]


def plan_losses(logps: Any, reference: Any, advantages: Any, config: PgConfig) -> Any:
    """The loss of each plan, (plans,): in value and in gradient as the module's docstring says.

    With `beta`, the advantage is less beta x log ratio, whose mean under p is the divergence
    KL(p || q): the penalty on the reward of reinforcement learning from feedback.

    Args:
        logps, reference: log-probabilities of whole plans, (plans,), under p and under q.
    """
    logratio = logps - reference
    now = logratio.detach()
    ratio = now.clamp(max=log(config.ratio_cap)).exp()
    weight = ratio.clamp(min=config.ratio_floor).where(advantages > 0, ratio)
    return -(advantages - config.beta * now) * (ratio + weight * (logratio - now))


def make_trainer(
    job: TrainingJob[PgConfig],
    rows: list[dict],
    validation: list[dict] | None,
    common: dict[str, Any],
) -> tuple[Any, Fit]:
    """A trainer for these rows, the model loaded, and what of the rows is trained on.

    Args:
        validation: rows to measure on.
        common: the arguments that every objective shares (`run.common_arguments`).

    Raises:
        InputError: when no row is left that teaches something.
    """
    config = job.config
    tokenizer, template = load_tokenizer(job)
    kept, dropped, cut = _tokenized(job.rows, rows, tokenizer, template, config.max_length)
    require_any(len(kept), job.rows, dropped)
    measured, *_ = _tokenized(
        job.validation, validation or [], tokenizer, template, config.max_length
    )
    from trl import DPOConfig

    trainer = build_trainer(
        _trainer_class(config),
        DPOConfig,
        job,
        common,
        kept=kept,
        measured=measured,
        reference=True,
        processing_class=tokenizer,
        data_collator=_batch,
    )
    return trainer, Fit(cut, dropped, fmean(len(row["answer_ids"]) for row in kept))


def warnings(curve: list[dict[str, float]], config: PgConfig, fit: Fit) -> list[str]:
    """Says so when the planner has gone where the scored plans tell it nothing.

    Read off the last quarter of the steps: most weights at the cap, the better plans less likely
    than they were, or the whole of the plans far less likely.
    """
    found, advice = [], "lower planner.pg.learning_rate or its epochs, or raise planner.pg.beta"
    capped = mean_of_last(curve, "ratio/capped")
    if capped > MOSTLY:
        found.append(f"{capped:.0%} of the plans' weights are at ratio_cap: {advice}")
    better = any("logratio/better" in row for row in curve)
    fall = -mean_of_last(curve, "logratio/better") / fit.answer_tokens if better else 0.0
    if fall >= COLLAPSE:
        found.append(
            f"the better plans' log-probability collapsed, by {fall:.2f} per token against the "
            "start: raise planner.pg.sft_weight or planner.pg.beta, or lower the learning rate"
        )
    divergence = mean_of_last(curve, "kl")
    if divergence >= FAR:
        found.append(
            f"the planner is {divergence:.2f} nats a token from the one that wrote the plans, so "
            f"their scores say little about it: {advice}"
        )
    return found


def _trainer_class(config: PgConfig) -> type:
    """TRL's DPOTrainer, for its reference and its engine, with this loss."""
    import torch
    from trl import DPOTrainer

    class PolicyGradientTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset, *_):
            return dataset

        def _set_signature_columns_if_needed(self):
            self._signature_columns = ["prompt_ids", "answer_ids", "advantage"]

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            advantages = inputs.pop("advantage")
            mask = inputs["completion_mask"]
            outputs = model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                labels=inputs["input_ids"].masked_fill(mask == 0, -100),
                use_cache=False,
                fused_lm_head=True,
            )
            logps = outputs.log_probs.float().sum(dim=1)
            # TRL gives them for the two sides of pairs: the halves of the batch.
            reference = torch.cat(self.compute_ref_log_probs(self.ref_model or model, inputs))
            losses = plan_losses(logps, reference.float(), advantages, config)
            n_tokens = mask.sum(dim=1)
            if config.sft_weight:
                losses = losses - config.sft_weight * (advantages > 0) * logps / n_tokens
            # As the log-probabilities, 0 where nothing is learnt.
            entropy = outputs.entropy.float().sum(dim=1)
            logratios = (logps - reference).detach()
            rows = torch.stack([logratios, advantages, n_tokens, entropy.detach()], dim=1)
            self._note(self.accelerator.gather_for_metrics(rows).double())
            if self.model.training:
                n_read = self.accelerator.gather_for_metrics(inputs["attention_mask"].sum())
                self._total_train_tokens += n_read.sum().item()
                self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
            return losses.mean()

        def _note(self, rows):
            """Keep a batch's figures, an entry a plan: the log row is their mean."""
            logratios, advantages, n_tokens, entropy = rows.unbind(dim=1)
            cap = log(config.ratio_cap)
            figures = {
                "ratio/mean": logratios.clamp(max=cap).exp(),
                "ratio/capped": logratios >= cap,
                "logratio/better": logratios[advantages > 0],
                "logratio/worse": logratios[advantages < 0],
                # The plans are the start's: their mean fall is KL(q || p).
                "kl": -logratios / n_tokens,
                "entropy": entropy / n_tokens,
            }
            for name, values in figures.items():
                if len(values):
                    metrics = self._metrics["train" if self.model.training else "eval"]
                    metrics[name].extend(values.double().tolist())

    return PolicyGradientTrainer


def _batch(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as tensors, padded at the end; what pads is neither read nor learnt."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    def padded(sequences: list[list[int]]) -> Any:
        return pad_sequence([torch.tensor(ids) for ids in sequences], batch_first=True)

    sides = [(row["prompt_ids"], row["answer_ids"]) for row in rows]
    return {
        "input_ids": padded([given + answer for given, answer in sides]),
        "attention_mask": padded([[1] * len(given + answer) for given, answer in sides]),
        "completion_mask": padded(
            [[0] * len(given) + [1] * len(answer) for given, answer in sides]
        ),
        "advantage": torch.tensor([row["advantage"] for row in rows], dtype=torch.float32),
    }


def _tokenized(
    path: Path | None, rows: list[dict], tokenizer: Any, template: ChatTemplate, max_length: int
) -> tuple[list[dict[str, Any]], Counter[str], int]:
    """The rows that teach something within `max_length`, why the others are left out, and how many
    of the rows lose their end."""
    kept: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    cut = 0
    for number, row in enumerate(rows, start=1):
        if not row["advantage"]:
            dropped[NO_ADVANTAGE] += 1
            continue
        [answer] = row["completion"]
        if not answer["content"].strip():
            dropped[BLANK] += 1
            continue
        with naming_row(path, number):
            given, answer_ids = answer_tokens(row["prompt"], answer, tokenizer, template)
        room = max_length - len(given)
        if room <= 0:
            dropped[TOO_LONG] += 1
            continue
        cut += len(answer_ids) > room
        kept.append(
            {
                "prompt_ids": given,
                "answer_ids": answer_ids[:room],
                "advantage": row["advantage"],
            }
        )
    return kept, dropped, cut
