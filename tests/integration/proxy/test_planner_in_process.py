"""A planner whose weights the proxy loads itself: a model folder, and what a run has trained."""

from itertools import count
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from jobs.configs import named_config
from jobs.proxy import planners_of
from mpo_core.builtin_models import resolve_source
from mpo_core.config import ProxyConfig, save_config
from mpo_core.proxy.planners import Planners, Source, write_planners
from mpo_core.run_folder import RunFolder
from mpo_core.training.settings import SUMMARY_FILE
from tests.planning_proxy import chat, planning_proxy, wait_until

TASK = "Your task is to: put a clean plate in countertop."


def test_a_model_folder_writes_plans_as_its_prompt_asks_for_them(tmp_path):
    weights = resolve_source("builtin:sandbox-planner")
    source = Source(folder=weights, env="alfworld")
    with planning_proxy(tmp_path, planners=source, planner_timeout_s=120, explore=2) as proxy:
        given = [proxy.ask(chat(TASK), x_mpo_conversation=name) for name in "abcd"]
        assert {answer.headers["x-mpo-arm"] for answer in given} == {"v1"}
        plans = [answer.headers["x-mpo-plan"] for answer in given]
        assert "none" not in plans and len(set(plans)) <= 2
        [message] = proxy.upstream.last.json["messages"]
    assert message["content"].startswith(TASK) and "\nStep 1: " in message["content"]
    assert "plate" in message["content"].rpartition(TASK)[2]


def test_an_adapter_is_taken_up_by_a_running_proxy(tmp_path):
    source = str(resolve_source("builtin:sandbox-planner"))
    first = Source(folder=source, env="alfworld")
    same, noisy = (
        adapter(source, tmp_path / name, spread) for name, spread in (("a", 0), ("b", 1))
    )
    versions = {"v1": first, "v2": same, "v3": noisy}
    with planning_proxy(tmp_path, planners=first, planner_timeout_s=120) as proxy:

        def plan_by(version: str) -> str:
            write_planners(tmp_path, Planners(current=version, versions=versions))
            names = (f"{version}-{number}" for number in count())
            wait_until(lambda: arm_and_plan(next(names))[0] == version, 60)
            return arm_and_plan(next(names))[1]

        def arm_and_plan(name: str) -> tuple[str, str]:
            answer = proxy.ask(chat(TASK), x_mpo_conversation=name)
            return answer.headers["x-mpo-arm"], answer.headers["x-mpo-plan"]

        before = arm_and_plan("under way")
        # The same seed of the same task: what differs is the weights.
        assert plan_by("v2") != "none" and plan_by("v3") != plan_by("v2")
        assert arm_and_plan("under way") == before


def adapter(base: str, folder: Path, spread: float) -> Source:
    """An adapter of a model, that changes nothing where its matrices have no spread."""
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules="all-linear")
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=spread)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder)
    return Source(folder=folder, env="alfworld")


def test_what_a_run_has_trained_last_is_its_planner(tmp_path):
    config = named_config(
        "demo", [f"runs_dir={tmp_path / 'runs'}", "name=mine", "tracking.enabled=false"]
    )
    files = RunFolder(config.run_dir)
    config.run_dir.mkdir(parents=True)
    save_config(config, files.config)
    for version in ("sft", "mpo"):
        files.planner(version).mkdir(parents=True)
        (files.planner(version) / SUMMARY_FILE).write_text('{"steps": 1}')
    proxy = ProxyConfig(folder=tmp_path / "proxy")
    folder = files.planner("mpo").absolute()
    expected = Planners(current="v1", versions={"v1": Source(folder=folder, env="alfworld")})
    assert planners_of(str(config.run_dir), None, proxy) == (proxy, expected)
