"""A planner whose weights the proxy loads itself: a model folder, and what a run has trained."""

from jobs.configs import named_config
from jobs.proxy import planners_of
from mpo_core.builtin_models import resolve_source
from mpo_core.config import ProxyConfig, save_config
from mpo_core.proxy.planners import Planners, Source
from mpo_core.run_folder import RunFolder
from mpo_core.training.settings import SUMMARY_FILE
from tests.planning_proxy import chat, planning_proxy

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
