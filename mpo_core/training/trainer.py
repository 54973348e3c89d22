"""What the trainers of all objectives share: TRL's, over rows that are tokenized already."""

from collections.abc import Mapping, Sequence
from typing import Any

from mpo_core.config import TrainingConfig
from mpo_core.training.adapter import load_start, lora_config
from mpo_core.training.engine import allow_bf16_on_cpu
from mpo_core.training.settings import TrainingJob


def build_trainer(
    trainer_class: type,
    arguments_class: type,
    job: TrainingJob[TrainingConfig],
    arguments: Mapping[str, Any],
    *,
    kept: Sequence[dict[str, Any]],
    measured: Sequence[dict[str, Any]],
    reference: bool,
    **more: Any,
) -> Any:
    """A trainer with the job's start loaded.

    Args:
        arguments: of `arguments_class`, the objective's own and those that all share
            (`run.common_arguments`).
        kept, measured: rows to train and to measure on; of the latter there may be none.
        reference: whether the start is also kept, frozen, to train against.
        more: further arguments of `trainer_class`.
    """
    from datasets import Dataset
    from trl.trainer.utils import disable_dropout_in_model

    given = dict(arguments) if measured else {**arguments, "eval_strategy": "no"}
    settings = arguments_class(**given)
    allow_bf16_on_cpu(settings)
    trainer = _saving_frugally(trainer_class, job)(
        model=job.weights,
        args=settings,
        train_dataset=Dataset.from_list(kept),
        eval_dataset=Dataset.from_list(measured) if measured else None,
        peft_config=lora_config(job),
        **more,
    )
    load_start(trainer.model, job, reference=reference)
    if reference:
        # TRL did so before the reference adapter was there, whose dropout would blur it.
        disable_dropout_in_model(trainer.model)
    _attend_without_mask(trainer.model)
    if reference and trainer.ref_model is not None:
        _attend_without_mask(trainer.ref_model.module)
    return trainer


def _saving_frugally(trainer_class: type, job: TrainingJob[TrainingConfig]) -> type:
    """The trainer, with weights that are saved by the worker that has to, from where they are.

    With DeepSpeed, transformers copies all weights to the memory of every worker first, of LoRA the
    base model's too. At stage 3, where a worker has a part of them, it knows better.
    """

    class FrugalTrainer(trainer_class):
        def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
            in_parts = job.config.zero_stage == 3
            if not in_parts and not self.args.should_save:
                return
            if not in_parts and job.config.method == "lora":
                self._save(output_dir)
            else:
                super().save_model(output_dir, _internal_call)

    return FrugalTrainer


def _attend_without_mask(model: Any) -> None:
    """Give the model's layers no mask of what pads a row.

    That is at the row's end, where causal attention does not look. With a mask, PyTorch has fewer
    and slower kernels to choose from.
    """
    from peft import PeftModel

    whole: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    # Not of the whole model, which may weigh the tokens that are read, as of mixtures of experts.
    whole.base_model.register_forward_pre_hook(
        lambda _, positional, named: (positional, named | {"attention_mask": None}),
        with_kwargs=True,
    )
