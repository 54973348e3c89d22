"""Every engine and training of the presets, configured as the suite does it and not started."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args
from unittest.mock import patch

from mpo_core.config import Config, TrainingConfig, load_config
from mpo_core.config.models import LORA_RANKS
from mpo_core.training.settings import Objective, TrainingJob, deepspeed_config

PRESETS = Path(__file__).parents[2] / "jobs" / "presets"
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
"""What vLLM reads of a model before its weights: the presets' own are on a hub."""


def presets() -> dict[str, Config]:
    return {path.stem: load_config(path) for path in sorted(PRESETS.glob("*.yaml"))}


def trainings(config: Config) -> dict[str, tuple[Objective, TrainingConfig]]:
    """The trainings that a config has, by the section that is theirs."""
    planner = config.planner
    found: dict[str, tuple[Objective, TrainingConfig | None]] = {
        "training": ("dpo", config.training),
        "planner.sft": ("sft", planner.sft),
        "planner.rft.training": ("sft", planner.rft.training),
        "planner.pg": ("pg", planner.pg),
        "agent.sft": ("sft", config.agent.sft),
    }
    return {section: (objective, own) for section, (objective, own) in found.items() if own}


def faults(folder: Path) -> Iterator[str]:
    """What cannot be configured, a line each.

    Args:
        folder: an empty one.
    """
    (folder / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    (folder / "rows.jsonl").touch()
    yield from _lora_ranks()
    made = presets()
    for name, config in made.items():
        yield from _engines(name, config, folder)
    _process_of_one()
    for name, config in made.items():
        for section, (objective, own) in trainings(config).items():
            job = TrainingJob(
                folder / "rows.jsonl", str(folder), folder, folder / "work", own, 1, objective
            )
            what = f"{name}: {section}"
            yield from _fault(f"{what}: arguments of TRL", _arguments, job)
            yield from _fault(f"{what}: DeepSpeed's config", _deepspeed, own)
            yield from _fault(f"{what}: Ray Train's trainer", _ray_trainer, job)


def _fault(what: str, make: Callable[..., object], *given: object) -> Iterator[str]:
    try:
        make(*given)
    except Exception as error:
        yield f"{what}: {type(error).__name__}: {' '.join(str(error).split())}"


def _lora_ranks() -> Iterator[str]:
    from vllm.config.lora import MaxLoRARanks

    known = get_args(MaxLoRARanks)
    if known != LORA_RANKS:
        yield f"models.*.max_lora_rank: vLLM takes {known}, the config {LORA_RANKS}"


def _engines(name: str, config: Config, folder: Path) -> Iterator[str]:
    from cluster.serving import Engine, openai_app

    for key, model in config.served_models.items():
        engine = Engine(key, model, str(folder))
        yield from _fault(f"{name}: engine {key}", _engine, engine)
        yield from _fault(f"{name}: server of {key}", openai_app, [engine], {})


def _engine(engine: Any) -> None:
    """Ray's config of an engine, and vLLM's as Ray makes it of that.

    For a processor that this build of vLLM does not know, vLLM's arguments alone.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs
    from vllm.platforms import current_platform

    from cluster.serving import _llm_config

    config = _llm_config(engine, None).get_engine_config()
    FrontendArgs(**config.frontend_kwargs)
    arguments = AsyncEngineArgs(
        **config.get_initialization_kwargs() | {"distributed_executor_backend": "mp"},
        skip_tokenizer_init=True,
    )
    on_gpu = engine.config.gpus_per_replica > 0
    if on_gpu == current_platform.is_cpu():
        return
    if not current_platform.device_type:
        # A machine without a GPU; Ray, too, configures engines where there is none.
        current_platform.device_type = "cuda"
    made = arguments.create_engine_config()
    assert made.model_config.max_model_len == engine.config.max_model_len
    assert bool(made.lora_config) == engine.adapters
    assert made.parallel_config.world_size == max(engine.config.gpus_per_replica, 1)


def _process_of_one() -> None:
    """Make this process the one worker of a training on a CPU, which TRL's arguments ask for."""
    from mpo_core.config import DpoConfig
    from mpo_core.training.engine import prepare_process

    prepare_process(DpoConfig(workers=1))


def _arguments(job: TrainingJob) -> None:
    from trl import DPOConfig, SFTConfig

    from mpo_core.training import dpo, sft
    from mpo_core.training.engine import allow_bf16_on_cpu
    from mpo_core.training.run import common_arguments

    kind, own = {
        "sft": (SFTConfig, sft.own_arguments),
        "dpo": (DPOConfig, dpo.own_arguments),
        "pg": (DPOConfig, lambda config: {}),
    }[job.objective]
    with patch("transformers.training_args.is_torch_bf16_gpu_available", lambda: True):
        made = kind(**common_arguments(job) | own(job.config))
    allow_bf16_on_cpu(made)
    assert made.learning_rate == job.config.learning_rate
    assert math.isclose(made.warmup_steps, job.config.warmup_ratio)


def _deepspeed(config: TrainingConfig) -> None:
    from deepspeed.runtime.config import DeepSpeedConfig

    workers = SimpleNamespace(get_data_parallel_world_size=lambda: config.workers)
    made = DeepSpeedConfig(deepspeed_config(config), mpu=workers)
    assert made.zero_optimization_stage == config.zero_stage
    assert made.train_batch_size == config.batch_size
    assert made.gradient_clipping == config.max_grad_norm


def _ray_trainer(job: TrainingJob) -> None:
    from cluster.training import _trainer

    with patch("ray.nodes", lambda: [None]):
        made = _trainer(job)
    assert made.scaling_config.num_workers == job.config.workers
    assert made.run_config.failure_config.max_failures == job.config.max_failures
