"""The LoRA adapter that is trained: a new one, or one that a training continues.

PEFT keeps several adapters on one copy of the base model. The one trained is `default`; `ref` is
where TRL's DPOTrainer looks for a reference other than the base model.
"""

from typing import Any

from mpo_core.config import TrainingConfig
from mpo_core.errors import InputError
from mpo_core.training.settings import TrainingJob

TRAINED, REFERENCE = "default", "ref"


def lora_config(job: TrainingJob[TrainingConfig]) -> Any:
    """PEFT's config of the adapter to train; None where all weights are trained."""
    if job.config.method == "full":
        return None
    from peft import LoraConfig

    lora = job.config.lora
    if job.start:
        # Where its weights go is decided by the adapter to continue.
        config = LoraConfig.from_pretrained(str(job.start))
        config.inference_mode = False
        config.lora_dropout = lora.dropout
        return config
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )


def load_start(model: Any, job: TrainingJob[TrainingConfig], *, reference: bool) -> None:
    """Give a trainer's model, its adapter still new, the weights of the adapter to continue.

    Args:
        reference: also keep a second, frozen copy of that adapter as the reference.

    Raises:
        InputError: for an adapter of another model.
    """
    if not job.start or job.config.method == "full":
        return
    for name in (TRAINED, REFERENCE) if reference else (TRAINED,):
        loaded = model.load_adapter(
            str(job.start),
            name,
            torch_device="cpu",
            # ZeRO-3 cannot mix types, and PEFT would make bf16 adapters fp32; TRL does the same.
            autocast_adapter_dtype=job.config.zero_stage != 3,
        )
        if loaded.missing_keys or loaded.unexpected_keys:
            raise InputError(f"{job.start}: not an adapter of {job.model}")
