"""The training function without Ray: LoRA and full at every ZeRO stage, from the first step to what
vLLM serves; and no training without DeepSpeed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from mpo_core.training.export import merged
from tests.integration.training.tiny_planner import make_pairs
from tests.integration.training.torchrun import run, run_all, write_job

SETTINGS = {
    "batch_size": 8,
    "micro_batch_size": 4,
    "learning_rate": 5e-3,
    "lora": {"rank": 4, "alpha": 8},
    "scheduler": "constant",
    "max_steps": 6,
    "save_steps": 4,
    "max_length": 64,
}
STOPPED = 4
# Method, ZeRO stage and precision.
KINDS = [
    ("lora", 1, "fp32"),
    ("lora", 2, "bf16"),
    ("lora", 3, "bf16"),
    ("full", 1, "bf16"),
    ("full", 2, "bf16"),
    ("full", 3, "fp32"),
]

# The usual way to train on a CPU: plain PyTorch, without a word.
WITHOUT_DEEPSPEED = """
import sys
import mpo_core.training.run as run
import mpo_core.training.trainer as trainer
from mpo_core.training.__main__ import main
arguments = run.common_arguments
def prepare_for_cpu(config):
    from accelerate import PartialState
    PartialState(cpu=True)
run.prepare_process = prepare_for_cpu
run.common_arguments = lambda job: arguments(job) | {"use_cpu": True, "deepspeed": None}
trainer.allow_bf16_on_cpu = lambda arguments: None
main(sys.argv[1])
"""

# The copy of all weights, which transformers has DeepSpeed make before a model is saved.
WITHOUT_COPYING = """
import sys
import mpo_core.training.run as run
from mpo_core.training.__main__ import main
prepare = run.prepare_process
def prepare_and_forbid(config):
    prepare(config)
    import deepspeed.checkpoint.utils
    deepspeed.checkpoint.utils.clone_tensors_for_torch_save = None
run.prepare_process = prepare_and_forbid
main(sys.argv[1])
"""


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    """Folder by kind of training, all run by two processes under torchrun; each also in two parts,
    in the folders `KIND-stopped` and `KIND-resumed`."""
    root = tmp_path_factory.mktemp("torchrun")
    pairs = make_pairs(root / "pairs.jsonl", n=24, long=2)
    folders = {kind: root / "-".join(map(str, kind)) for kind in KINDS}
    jobs = []
    for (method, stage, precision), folder in folders.items():
        settings = SETTINGS | {"method": method, "zero_stage": stage, "precision": precision}
        jobs.append(write_job(folder, model, pairs, settings))
        parts = {"stopped": {"max_steps": STOPPED}, "resumed": {}}
        work = str(folder / "parts")
        jobs += [
            write_job(part_of(folder, name), model, pairs, settings | change, work=work)
            for name, change in parts.items()
        ]
    run_all(root, jobs)
    return folders


def part_of(folder: Path, name: str) -> Path:
    return folder.with_name(f"{folder.name}-{name}")


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "planner" / "training.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_every_stage_trains_and_saves_what_transformers_loads(trained, kind):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    method, stage, precision = kind
    planner = trained[kind] / "planner"
    summary = summary_of(trained[kind])
    assert summary["engine"] == "DeepSpeedEngine"
    assert summary["precision"] == precision
    assert (summary["world_size"], summary["zero_stage"], summary["steps"]) == (2, stage, 6)
    assert (summary["n_rows"], summary["n_cut"]) == (24, 2)
    assert summary["loss_last"] < summary["loss_first"]
    loader = AutoPeftModelForCausalLM if method == "lora" else AutoModelForCausalLM
    loaded = loader.from_pretrained(planner)
    assert all(weight.numel() for weight in loaded.parameters())
    assert AutoTokenizer.from_pretrained(planner).chat_template


@pytest.mark.parametrize("kind", KINDS)
def test_every_stage_goes_on_from_its_checkpoint(trained, kind):
    whole, resumed = summary_of(trained[kind]), summary_of(part_of(trained[kind], "resumed"))
    assert resumed["resumed_from"] == STOPPED
    assert [row["step"] for row in resumed["curve"]] == list(range(1, SETTINGS["max_steps"] + 1))
    assert resumed["loss_last"] == pytest.approx(whole["loss_last"], rel=1e-3)


GREEDY = """
import json, os, sys
os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1",
                  VLLM_CPU_OMP_THREADS_BIND="nobind", VLLM_LOGGING_LEVEL="ERROR")
from vllm import LLM, SamplingParams
asked, *folders = sys.argv[1:]
prompts = [{"prompt_token_ids": ids} for ids in json.loads(asked)]
settings = dict(dtype="float32", enforce_eager=True, max_model_len=128, seed=0)
for folder in folders:
    answers = LLM(folder, **settings).generate(
        prompts, SamplingParams(temperature=0, max_tokens=16), use_tqdm=False
    )
    print(json.dumps([list(answer.outputs[0].token_ids) for answer in answers]), flush=True)
"""


SERVED = [("lora", 3, "bf16"), ("full", 3, "fp32")]
"""The exports that vLLM is started for, which reads of one nothing but what `layout` is of."""


@pytest.fixture(scope="module")
def asked(model, pairs) -> list[list[int]]:
    """The tokens of four prompts."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [json.loads(line) for line in pairs.read_text().splitlines()[:4]]
    return [
        tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        for row in rows
    ]


def greedy(planner, asked: list[list[int]]) -> list[list[int]]:
    """What a model of transformers answers."""
    answers = (
        planner.generate(input_ids=torch.tensor([ids]), max_new_tokens=16, do_sample=False)[0]
        for ids in asked
    )
    return [answer[len(ids) :].tolist() for ids, answer in zip(asked, answers, strict=True)]


def trainers_answers(trained, kind, asked) -> list[list[int]]:
    """Those of the planner as it was saved."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    loader = AutoPeftModelForCausalLM if kind[0] == "lora" else AutoModelForCausalLM
    planner = loader.from_pretrained(part_of(trained[kind], "resumed") / "planner")
    return greedy(planner.float(), asked)


def export(trained, kind, model) -> Path:
    return merged(str(model), part_of(trained[kind], "resumed") / "planner")


def layout(folder: Path) -> tuple[dict[str, list[int]], dict]:
    """Shape by name of the weights, and the config, of which vLLM is told another precision."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    config = json.loads((folder / "config.json").read_text())
    return shapes, {name: value for name, value in config.items() if name != "dtype"}


def test_vllm_serves_exports_with_the_trainers_greedy_answers(trained, model, asked, tmp_path):
    folders = [export(trained, kind, model) for kind in SERVED]
    (tmp_path / "greedy.py").write_text(GREEDY)
    done = run(tmp_path / "greedy.py", json.dumps(asked), *folders)
    assert done.returncode == 0, done.stderr[-3000:]
    served = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    for kind, answers in zip(SERVED, served, strict=True):
        assert answers == trainers_answers(trained, kind, asked), kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in SERVED])
def test_every_other_export_is_laid_out_alike_and_answers_as_the_trainer_does(
    trained, model, asked, kind
):
    from transformers import AutoModelForCausalLM

    folder = export(trained, kind, model)
    [like] = [served for served in SERVED if served[0] == kind[0]]
    assert layout(folder) == layout(export(trained, like, model))
    whole = AutoModelForCausalLM.from_pretrained(folder).float()
    assert greedy(whole, asked) == trainers_answers(trained, kind, asked)


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


def test_an_adapter_is_saved_without_a_copy_of_its_base(tmp_path, model, pairs):
    program = tmp_path / "without_copying.py"
    program.write_text(WITHOUT_COPYING)
    config = SETTINGS | {"workers": 1, "precision": "fp32", "max_steps": 1}
    done = run(program, write_job(tmp_path, model, pairs, config))
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "planner" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "work" / "checkpoint-1" / "COMPLETE").is_file()


def test_a_wrong_number_of_processes_is_refused(tmp_path, model, pairs):
    done = run(
        "-m", "mpo_core.training", write_job(tmp_path, model, pairs, SETTINGS | {"workers": 2})
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "training.workers is 2, but 1 process(es) were started"
