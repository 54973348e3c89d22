"""The training function without Ray: every ZeRO stage, LoRA and full, and no training without
DeepSpeed."""

import json

import pytest

from tests.integration.training.tiny_planner import make_pairs
from tests.integration.training.torchrun import run, run_all, write_job

SETTINGS = {
    "batch_size": 8,
    "micro_batch_size": 4,
    "learning_rate": 5e-3,
    "lora": {"rank": 4, "alpha": 8},
    "max_steps": 6,
    "save_steps": 4,
    "max_length": 64,
}
KINDS = [("lora", 1, "fp32"), ("lora", 3, "bf16"), ("full", 2, "bf16"), ("full", 3, "fp32")]

# The usual way to train on a CPU: plain PyTorch, without a word.
WITHOUT_DEEPSPEED = """
import sys
import mpo_core.training.dpo as dpo
import mpo_core.training.run as run
from mpo_core.training.__main__ import main
arguments = run.common_arguments
def prepare_for_cpu(config):
    from accelerate import PartialState
    PartialState(cpu=True)
run.prepare_process = prepare_for_cpu
run.common_arguments = lambda job: arguments(job) | {"use_cpu": True, "deepspeed": None}
dpo.allow_bf16_on_cpu = lambda arguments: None
main(sys.argv[1])
"""


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    """Folder by kind of training, all run by two processes under torchrun."""
    root = tmp_path_factory.mktemp("torchrun")
    pairs = make_pairs(root / "pairs.jsonl", n=24, long=2)
    folders = {kind: root / "-".join(map(str, kind)) for kind in KINDS}
    jobs = [
        write_job(
            folder,
            model,
            pairs,
            SETTINGS | {"method": method, "zero_stage": stage, "precision": precision},
        )
        for (method, stage, precision), folder in folders.items()
    ]
    run_all(root, jobs)
    return folders


@pytest.mark.parametrize("kind", KINDS)
def test_every_stage_trains_and_saves_what_transformers_loads(trained, kind):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    method, stage, precision = kind
    planner = trained[kind] / "planner"
    summary = json.loads((planner / "training.json").read_text())
    assert summary["engine"] == "DeepSpeedEngine"
    assert summary["precision"] == precision
    assert (summary["world_size"], summary["zero_stage"], summary["steps"]) == (2, stage, 6)
    assert (summary["n_rows"], summary["n_cut"]) == (24, 2)
    assert summary["loss_last"] < summary["loss_first"]
    loader = AutoPeftModelForCausalLM if method == "lora" else AutoModelForCausalLM
    loaded = loader.from_pretrained(planner)
    assert all(weight.numel() for weight in loaded.parameters())
    assert AutoTokenizer.from_pretrained(planner).chat_template


def test_accelerates_cpu_switch_is_refused(tmp_path, model, pairs):
    job = write_job(tmp_path, model, pairs, SETTINGS | {"workers": 1})
    done = run("-m", "mpo_core.training", job, ACCELERATE_USE_CPU="true")
    assert done.returncode != 0
    assert "ACCELERATE_USE_CPU is set" in done.stderr
    assert not (tmp_path / "planner").exists()


def test_nothing_is_trained_without_deepspeed(tmp_path, model, pairs):
    program = tmp_path / "without_deepspeed.py"
    program.write_text(WITHOUT_DEEPSPEED)
    config = SETTINGS | {"workers": 1, "precision": "fp32"}
    done = run(program, write_job(tmp_path, model, pairs, config))
    assert done.returncode != 0
    assert "not by DeepSpeedEngine; nothing was trained" in done.stderr, done.stderr[-3000:]
    assert '"step"' not in done.stdout
    assert not (tmp_path / "planner").exists()


def test_a_wrong_number_of_processes_is_refused(tmp_path, model, pairs):
    done = run(
        "-m", "mpo_core.training", write_job(tmp_path, model, pairs, SETTINGS | {"workers": 2})
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "training.workers is 2, but 1 process(es) were started"
