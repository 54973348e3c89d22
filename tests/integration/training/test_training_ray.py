"""SFT and DPO on Ray Train with DeepSpeed: two real workers, a tiny model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from safetensors.torch import load_file, save_file

from cluster.training import train
from mpo_core.config import DpoConfig, TrainingConfig
from mpo_core.errors import InputError
from mpo_core.training.settings import CONFIGS, Objective, TrainingJob
from tests.integration.training.tiny_planner import make_adapter, make_demonstrations
from tests.processes import descendants

DRIVER = Path(__file__).with_name("training_driver.py")
# Enough that a training outlives the two seconds that its workers outlive a killed driver.
STEPS = 120
SETTINGS = {
    "batch_size": 8,
    "micro_batch_size": 2,
    "learning_rate": 1e-2,
    "lora": {"rank": 4, "alpha": 8},
    "precision": "fp32",
    "max_steps": STEPS,
    "save_steps": 10,
    "max_length": 64,
}
# A step of SFT is far shorter, unless it is made of more micro-batches.
LONG_STEPS = {"batch_size": 16, "micro_batch_size": 1}


class Case(NamedTuple):
    """One of the planner's trainings; RFT is SFT that goes on from an adapter."""

    objective: Objective
    config: TrainingConfig
    rows: Path
    start: Path | None = None

    def job(self, model: Path, out: Path, work: Path) -> TrainingJob:
        return TrainingJob(
            self.rows, str(model), out, work, self.config, 7, self.objective, self.start
        )


@pytest.fixture(scope="module")
def cases(model, pairs, tmp_path_factory):
    """Case by name. Of the 27 demonstrations two are cut and one is dropped."""
    folder = tmp_path_factory.mktemp("cases")
    shown = make_demonstrations(folder / "demonstrations.jsonl", n=26, long=2, hopeless=1)
    start = make_adapter(folder / "start", model)
    sft = CONFIGS["sft"](**SETTINGS | LONG_STEPS)
    return {
        # Its own loss alone, which is known where it starts.
        "dpo": Case("dpo", CONFIGS["dpo"](**SETTINGS | {"sft_weight": 0.0}), pairs),
        "sft": Case("sft", sft, shown),
        "rft": Case("sft", sft, shown, start),
    }


@pytest.fixture(
    scope="module",
    params=["dpo", *(pytest.param(name, marks=pytest.mark.long) for name in ("sft", "rft"))],
)
def undisturbed(request, cluster, model, cases, tmp_path_factory):
    """A whole run, its planner's folder, the rows it reported, and its case."""
    case = cases[request.param]
    folder = tmp_path_factory.mktemp("undisturbed")
    reported, at_interrupt = [], signal.getsignal(signal.SIGINT)
    summary = train(case.job(model, folder / "planner", folder / "work"), reported.append)
    assert signal.getsignal(signal.SIGINT) is at_interrupt
    return summary, folder, reported, case


def test_two_workers_train_an_adapter_on_deepspeed(undisturbed):
    summary, *_, case = undisturbed
    assert (summary["objective"], summary["engine"]) == (case.objective, "DeepSpeedEngine")
    assert summary["world_size"] == 2
    assert summary["steps"] == STEPS
    assert summary["resumed_from"] == 0
    assert [row["step"] for row in summary["curve"]] == list(range(1, STEPS + 1))
    lost = (summary["n_rows"], summary["n_cut"], summary["n_dropped"])
    if case.objective == "dpo":
        assert lost == (24, 0, 0)
        assert summary["loss_first"] == pytest.approx(0.693, abs=1e-3)
        assert summary["loss_last"] < 0.6
        assert summary["metrics"]["reward_accuracy"] == 1.0
    else:
        assert lost == (27, 2, 1)
        assert summary["loss_last"] < summary["loss_first"] - 1
        assert summary["metrics"]["token_accuracy"] > 0.5


def test_progress_reaches_the_driver_step_by_step(undisturbed):
    _, _, reported, _ = undisturbed
    steps = [row for row in reported if "step" in row]
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    assert all(row["max_steps"] == STEPS and "loss" in row for row in steps)
    assert any("status" in row for row in reported)


def test_the_planner_folder_is_whole_and_the_checkpoints_are_gone(undisturbed):
    summary, folder, *_ = undisturbed
    names = {file.name for file in (folder / "planner").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert json.loads((folder / "planner" / "training.json").read_text()) == summary
    assert [entry.name for entry in folder.iterdir() if entry.name.startswith(".")] == []
    assert list((folder / "work").iterdir()) == []


def test_the_adapter_prefers_the_better_plan(undisturbed, model):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, folder, *_ = undisturbed
    tokenizer = AutoTokenizer.from_pretrained(folder / "planner")
    base = AutoModelForCausalLM.from_pretrained(model)
    planner = PeftModel.from_pretrained(base, folder / "planner")

    def gain(plan: str) -> float:
        messages = [
            {"role": "user", "content": "heat the water 50"},
            {"role": "assistant", "content": plan},
        ]
        ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
        labels = ids["input_ids"]
        after = planner(**ids, labels=labels).loss
        with planner.disable_adapter():
            before = planner(**ids, labels=labels).loss
        return (before - after).item()

    assert gain("go to the kitchen find water heat it 50") > gain("look around wait look around 50")


@pytest.mark.parametrize(
    "end",
    [
        signal.SIGKILL,
        *(pytest.param(end, marks=pytest.mark.long) for end in (signal.SIGINT, signal.SIGUSR1)),
    ],
)
def test_an_ended_driver_continues_from_its_last_checkpoint(end, undisturbed, model, tmp_path):
    """Killed, interrupted, or warned by a scheduler: then the last checkpoint is of the last
    step."""
    whole, *_, case = undisturbed
    planner, work = tmp_path / "planner", tmp_path / "work"
    settings = case.config.model_dump_json()
    command = [sys.executable, DRIVER, case.objective, model, case.rows, settings, planner, work]
    command += [case.start] if case.start else []
    environment = os.environ | {"PYTHONPATH": str(DRIVER.parents[3])}
    with (tmp_path / "driver.log").open("w") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    deadline = time.monotonic() + 240
    while not list(work.glob("*/checkpoint-*/COMPLETE")):
        assert driver.poll() is None, (tmp_path / "driver.log").read_text()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(end)
    driver.wait(60)
    psutil.wait_procs(family, timeout=10)
    assert not planner.exists()
    checkpoints = [mark.parent.name for mark in work.glob("*/checkpoint-*/COMPLETE")]
    last = max(int(name.removeprefix("checkpoint-")) for name in checkpoints)
    said = (tmp_path / "driver.log").read_text()
    if end == signal.SIGINT:
        assert driver.returncode != 0 and said.endswith("KeyboardInterrupt\n")
    if end == signal.SIGUSR1:
        assert f"KeyboardInterrupt: stopped after step {last}\n" in said

    summary = train(case.job(model, planner, work))
    assert 0 < summary["resumed_from"] == last < STEPS
    assert summary["steps"] == whole["steps"]
    assert len(summary["curve"]) == len(whole["curve"])
    assert summary["loss_last"] == pytest.approx(whole["loss_last"], rel=0.05)


@pytest.mark.long
def test_a_killed_worker_is_replaced(cluster, model, pairs, tmp_path):
    killed = []

    def kill_one(row):
        if row.get("step") == 12 and not killed:
            worker = descendants("RayTrainWorker")[-1]
            killed.append(worker.pid)
            worker.kill()

    config = DpoConfig(**SETTINGS | {"max_failures": 1})
    job = Case("dpo", config, pairs).job(model, tmp_path / "p", tmp_path / "work")
    summary = train(job, kill_one)
    assert killed
    assert summary["steps"] == STEPS
    assert 0 < summary["resumed_from"] < STEPS
    assert [row["step"] for row in summary["curve"]] == list(range(1, STEPS + 1))


def test_a_workers_error_is_one_line(cluster, model, pairs, tmp_path):
    broken = tmp_path / "model"
    broken.mkdir()
    for file in model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(model / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.ndim == 2)
    weights[name] = weights[name][:-1].clone()
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    config = DpoConfig(**SETTINGS | {"max_failures": 0})
    with pytest.raises(RuntimeError, match=r"training worker \d failed: \w*Error") as caught:
        train(Case("dpo", config, pairs).job(broken, tmp_path / "p", tmp_path / "w"))
    assert "\n" not in str(caught.value)
    assert "Traceback" in next((tmp_path / "w").glob("*/failure.txt")).read_text()
    assert not (tmp_path / "p").exists()


def test_too_few_cpus_are_refused_at_once(cluster, model, pairs, tmp_path):
    config = DpoConfig(**SETTINGS | {"workers": 4, "cpus_per_worker": 2})
    with pytest.raises(InputError, match="needs 8 CPUs"):
        train(Case("dpo", config, pairs).job(model, tmp_path / "p", tmp_path / "w"))
