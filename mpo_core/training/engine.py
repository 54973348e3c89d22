"""The process a worker trains in, and the proof that DeepSpeed does the training.

accelerate falls back to plain DDP without a word (when ACCELERATE_USE_CPU is set, for one), and
nothing but memory use and speed then tells. So the engine is looked at before the first step.
"""

import os
import sys
from typing import Any, NoReturn

from mpo_core.config import TrainingConfig
from mpo_core.errors import InputError
from mpo_core.hardware import free_port

ENGINE = "DeepSpeedEngine"


class NotDeepSpeed(RuntimeError):
    """The training would run on something else than DeepSpeed."""


def prepare_process(config: TrainingConfig) -> None:
    """Set this process up for DeepSpeed: device, process group, threads. Call before TRL's import.

    Works in a process of its own, under torchrun and in a Ray Train worker, whose rank variables
    and process group are used where they exist.

    Raises:
        NotDeepSpeed: when the environment would make accelerate skip DeepSpeed.
        InputError: when the number of processes is not `training.workers`.
    """
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on", "y", "t"):
        raise NotDeepSpeed(
            "ACCELERATE_USE_CPU is set: accelerate would train without DeepSpeed; unset it"
        )
    on_gpu = config.gpus_per_worker > 0
    os.environ["DS_ACCELERATOR"] = "cuda" if on_gpu else "cpu"
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not on_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
    world_size = int(os.environ["WORLD_SIZE"])
    if world_size != config.workers:
        raise InputError(
            f"training.workers is {config.workers}, but {world_size} process(es) were started"
        )

    _import_deepspeed()
    import torch

    if on_gpu:
        if not torch.cuda.is_available():
            raise InputError("training.gpus_per_worker is 1, but this process sees no GPU")
        # cuDNN's attention is compiled for every new shape, and most batches are of a new length.
        torch.backends.cuda.enable_cudnn_sdp(False)
    else:
        torch.set_num_threads(max(1, int(config.cpus_per_worker)))
        _skip_native_ops()

    from accelerate import PartialState

    # accelerate picks nccl or a CPU-only state by itself; this state is made first and reused.
    PartialState(cpu=False, backend="nccl" if on_gpu else "gloo")


def leave(code: int) -> NoReturn:
    """End a process that has trained.

    Gloo's threads outlive their process group where anything still refers to it, and a usual exit
    may then abort the process, which torchrun counts as a failed training.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _import_deepspeed() -> None:
    """Import DeepSpeed without mlflow, which its autotuner imports: the driver alone tracks."""
    already = sys.modules.get("mlflow")
    # None makes an import fail, which typeshed does not foresee.
    sys.modules["mlflow"] = None  # type: ignore[assignment]
    try:
        import deepspeed  # noqa: F401
    finally:
        if already:
            sys.modules["mlflow"] = already
        else:
            del sys.modules["mlflow"]


def _skip_native_ops() -> None:
    """Keep DeepSpeed from compiling its shared-memory collective: 1-3 minutes for nothing.

    Only `inference_all_reduce` uses it; every collective of training goes through gloo.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}


def allow_bf16_on_cpu(arguments: Any) -> None:
    """Let DeepSpeed train in bf16 although the trainer's own `bf16` is off.

    transformers refuses `bf16=True` without a GPU unless `use_cpu=True`, which would switch
    DeepSpeed off, and then notes the difference to DeepSpeed's config as a mistake.
    """
    config = arguments.hf_deepspeed_config
    config.mismatches = [text for text in config.mismatches if "bf16.enabled" not in text]


def require_deepspeed(trainer: Any, zero_stage: int) -> str:
    """Class name of the trainer's engine.

    Raises:
        NotDeepSpeed: naming what was found, if it is not DeepSpeed's at this ZeRO stage.
    """
    engine = type(trainer.model_wrapped).__name__
    if not trainer.is_deepspeed_enabled or engine != ENGINE:
        raise NotDeepSpeed(
            f"the model is trained by {engine} (DeepSpeed enabled: {trainer.is_deepspeed_enabled}),"
            f" not by {ENGINE}; nothing was trained"
        )
    found = trainer.model_wrapped.zero_optimization_stage()
    if found != zero_stage:
        raise NotDeepSpeed(
            f"DeepSpeed runs at ZeRO stage {found}, not {zero_stage}; nothing was trained"
        )
    return engine
