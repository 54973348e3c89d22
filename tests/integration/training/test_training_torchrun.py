"""The training function without Ray: every ZeRO stage, LoRA and full, and no training without
DeepSpeed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.training.tiny_planner import make_pairs

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
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

# Several trainings in one pair of processes, since importing takes longer than training here.
ALL_JOBS = """
import sys
from accelerate.state import AcceleratorState
from mpo_core.training.__main__ import main
for job in sys.argv[1:]:
    main(job)
    AcceleratorState._reset_state()
"""

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


def write_job(folder: Path, model: Path, pairs: Path, **settings) -> Path:
    folder.mkdir(exist_ok=True)
    job = {
        "rows": str(pairs),
        "model": str(model),
        "out": str(folder / "planner"),
        "work": str(folder / "work"),
        "seed": 3,
        "config": SETTINGS | settings,
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder / "job.json"


def run(*arguments, **environment):
    """A finished Python process."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    """Folder by kind of training, all run by two processes under torchrun."""
    root = tmp_path_factory.mktemp("torchrun")
    pairs = make_pairs(root / "pairs.jsonl", n=24, long=2)
    folders = {kind: root / "-".join(map(str, kind)) for kind in KINDS}
    jobs = [
        write_job(folder, model, pairs, method=method, zero_stage=stage, precision=precision)
        for (method, stage, precision), folder in folders.items()
    ]
    program = root / "all_jobs.py"
    program.write_text(ALL_JOBS)
    done = run(*TORCHRUN, program, *jobs)
    assert done.returncode == 0, done.stderr[-3000:]
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
    assert (summary["n_pairs"], summary["n_cut"]) == (24, 2)
    assert summary["loss_last"] < summary["loss_first"]
    loader = AutoPeftModelForCausalLM if method == "lora" else AutoModelForCausalLM
    loaded = loader.from_pretrained(planner)
    assert all(weight.numel() for weight in loaded.parameters())
    assert AutoTokenizer.from_pretrained(planner).chat_template


def test_accelerates_cpu_switch_is_refused(tmp_path, model, pairs):
    job = write_job(tmp_path, model, pairs, workers=1)
    done = run("-m", "mpo_core.training", job, ACCELERATE_USE_CPU="true")
    assert done.returncode != 0
    assert "ACCELERATE_USE_CPU is set" in done.stderr
    assert not (tmp_path / "planner").exists()


def test_nothing_is_trained_without_deepspeed(tmp_path, model, pairs):
    program = tmp_path / "without_deepspeed.py"
    program.write_text(WITHOUT_DEEPSPEED)
    done = run(program, write_job(tmp_path, model, pairs, workers=1, precision="fp32"))
    assert done.returncode != 0
    assert "not by DeepSpeedEngine; nothing was trained" in done.stderr, done.stderr[-3000:]
    assert '"step"' not in done.stdout
    assert not (tmp_path / "planner").exists()


def test_a_wrong_number_of_processes_is_refused(tmp_path, model, pairs):
    done = run("-m", "mpo_core.training", write_job(tmp_path, model, pairs, workers=2))
    assert done.returncode == 2
    assert done.stderr.strip() == "training.workers is 2, but 1 process(es) were started"
