"""A training's settings: batch arithmetic, DeepSpeed's config, the identity that resuming uses."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

from mpo_core.config import DpoConfig, DpoLoss, SftConfig
from mpo_core.errors import InputError
from mpo_core.training import settings
from mpo_core.training.__main__ import main
from mpo_core.training.settings import (
    TrainingJob,
    accumulation_steps,
    deepspeed_config,
    read_summary,
)
from tests.tiny_chat import WEIGHTS


@pytest.mark.parametrize(
    ("batch", "workers", "micro", "steps"), [(32, 4, 2, 4), (32, 2, 1, 16), (4, 2, 2, 1)]
)
def test_accumulation_makes_up_the_global_batch(batch, workers, micro, steps):
    config = DpoConfig(batch_size=batch, workers=workers, micro_batch_size=micro)
    assert accumulation_steps(config) == steps
    assert workers * micro * steps == batch


def test_deepspeed_config_follows_the_training_config():
    config = DpoConfig(
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
    zero = deepspeed_config(DpoConfig(zero_stage=stage))["zero_optimization"]
    assert zero["stage"] == stage
    assert ("stage3_gather_16bit_weights_on_model_save" in zero) == (stage == 3)


def make_job(folder: Path, rows: str = "a", start: Path | None = None, **settings) -> TrainingJob:
    file = folder / f"{rows}.jsonl"
    file.write_text(rows)
    config = DpoConfig(**settings)
    return TrainingJob(
        file, "org/model", folder / "out", folder / "work", config, seed=1, start=start
    )


def make_adapter(folder: Path, rank: int = 16, alpha: int = 32, weights: bytes = b"a") -> Path:
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def make_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_a_configs_own_seed_goes_before_the_runs(tmp_path):
    assert make_job(tmp_path).seed == 1
    assert make_job(tmp_path, seed=0).seed == 0
    assert make_job(tmp_path, seed=1).identity() == make_job(tmp_path).identity()
    assert make_job(tmp_path, seed=0).identity() != make_job(tmp_path).identity()


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
    config = DpoConfig(precision="auto")
    assert settings.precision(config) == taken
    assert settings.deepspeed_config(config)["bf16"]["enabled"] == (taken == "bf16")
    assert settings.precision(config.model_copy(update={"gpus_per_worker": 1})) == "bf16"


def test_identity_changes_with_the_method(tmp_path):
    fields = vars(make_job(tmp_path))
    trained = {TrainingJob(**fields | {"objective": one}).identity() for one in ("sft", "dpo")}
    assert len(trained) == 2


def test_identity_changes_with_the_weights_it_starts_from(tmp_path):
    starts = [None, make_adapter(tmp_path / "x"), make_adapter(tmp_path / "y", weights=b"b")]
    assert len({make_job(tmp_path, start=start).identity() for start in starts}) == 3


def test_an_adapter_to_continue_comes_on_top_of_the_base_model(tmp_path):
    job = make_job(tmp_path, start=make_adapter(tmp_path / "sft"))
    job.check_start()
    assert job.weights == "org/model"


def test_full_training_continues_the_whole_model(tmp_path):
    job = make_job(tmp_path, start=make_model(tmp_path / "sft"), method="full")
    job.check_start()
    assert job.weights == str(tmp_path / "sft")


@pytest.mark.parametrize(
    ("make_start", "method", "says"),
    [
        (make_model, "lora", "not a LoRA adapter"),
        (make_adapter, "full", "full training cannot start here: it holds a LoRA adapter"),
        (lambda folder: folder, "lora", "no such folder"),
        (lambda folder: folder, "full", "no such folder"),
        (lambda folder: folder.mkdir() or folder, "full", "no config.json"),
        (lambda folder: make_adapter(folder, rank=8), "lora", "are 8 and 32, the config's 16 and"),
        (lambda folder: make_adapter(folder, alpha=8), "lora", "are 16 and 8, the config's 16 and"),
    ],
)
def test_a_start_that_cannot_be_continued_is_refused(tmp_path, make_start, method, says):
    job = make_job(tmp_path, start=make_start(tmp_path / "start"), method=method)
    with pytest.raises(InputError, match=says):
        job.check_start()


def test_the_losses_are_trls():
    [package] = find_spec("trl").submodule_search_locations
    source = (Path(package) / "trainer" / "dpo_trainer.py").read_text()
    trls = set(re.findall(r'loss_type == "(\w+)"', source))
    # `sft` alone would be no preference loss; `sft_weight` adds it to one.
    assert set(get_args(DpoLoss)) == trls - {"sft"}


def test_sft_knows_nothing_of_preferences():
    with pytest.raises(ValueError, match="beta"):
        SftConfig(beta=0.1)


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ({"objective": "ppo"}, r"job\.json: unknown objective 'ppo'; known: sft, dpo"),
        ({"method": "ppo"}, r"job\.json: unknown objective 'ppo'; known: sft, dpo"),
        ({"objective": "sft", "config": {"beta": 1}}, r"job\.json: config: beta: unknown key"),
    ],
)
def test_a_faulty_job_file_is_one_line(tmp_path, job, says):
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"config": {}} | job))
    with pytest.raises(InputError, match=says):
        main(str(file))


@pytest.mark.parametrize("name", ["objective", "method"])
def test_a_trainings_summary_is_read_under_either_name_of_its_objective(tmp_path, name):
    (tmp_path / "training.json").write_text(json.dumps({name: "pg", "steps": 3}))
    assert read_summary(tmp_path) == {"objective": "pg", "steps": 3}
    assert read_summary(tmp_path / "none") == {}
