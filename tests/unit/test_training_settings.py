"""A training's settings: batch arithmetic, DeepSpeed's config, the identity that resuming uses."""

from pathlib import Path

import pytest

from mpo_core.config import TrainingConfig
from mpo_core.training import settings
from mpo_core.training.settings import TrainingJob, accumulation_steps, deepspeed_config


@pytest.mark.parametrize(
    ("batch", "workers", "micro", "steps"), [(32, 4, 2, 4), (32, 2, 1, 16), (4, 2, 2, 1)]
)
def test_accumulation_makes_up_the_global_batch(batch, workers, micro, steps):
    config = TrainingConfig(batch_size=batch, workers=workers, micro_batch_size=micro)
    assert accumulation_steps(config) == steps
    assert workers * micro * steps == batch


def test_deepspeed_config_follows_the_training_config():
    config = TrainingConfig(
        batch_size=32, workers=4, micro_batch_size=2, max_grad_norm=0.5, precision="bf16"
    )
    made = deepspeed_config(config)
    assert made["train_batch_size"] == 32
    assert made["train_micro_batch_size_per_gpu"] == 2
    assert made["gradient_accumulation_steps"] == 4
    assert made["gradient_clipping"] == 0.5
    assert made["bf16"] == {"enabled": True}


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_stage_is_the_configured_one_and_stage_3_saves_whole_weights(stage):
    zero = deepspeed_config(TrainingConfig(zero_stage=stage))["zero_optimization"]
    assert zero["stage"] == stage
    assert ("stage3_gather_16bit_weights_on_model_save" in zero) == (stage == 3)


def make_job(folder: Path, rows: str = "a", **settings) -> TrainingJob:
    file = folder / f"{rows}.jsonl"
    file.write_text(rows)
    config = TrainingConfig(**settings)
    return TrainingJob(file, "org/model", folder / "out", folder / "work", config, seed=1)


def test_identity_changes_with_what_decides_the_result(tmp_path):
    one = make_job(tmp_path).identity()
    assert make_job(tmp_path, rows="b").identity() != one
    assert make_job(tmp_path, beta=0.2).identity() != one
    assert make_job(tmp_path, zero_stage=3).identity() != one


def test_identity_ignores_where_and_how_safely_it_runs(tmp_path):
    one = make_job(tmp_path).identity()
    assert make_job(tmp_path, save_steps=7, max_failures=9, cpus_per_worker=2).identity() == one


@pytest.mark.parametrize(("multiplies", "taken"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_the_precision_that_the_processor_is_fast_at(multiplies, taken, monkeypatch):
    monkeypatch.setattr(settings, "multiplies_bf16", lambda: multiplies)
    config = TrainingConfig(precision="auto")
    assert settings.precision(config) == taken
    assert settings.deepspeed_config(config)["bf16"]["enabled"] == (taken == "bf16")
    assert settings.precision(config.model_copy(update={"gpus_per_worker": 1})) == "bf16"
