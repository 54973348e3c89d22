"""The loop closed from outside: a harness that talks to the proxy alone and reports rewards there
ends with a planner that was trained on them, which the proxy serves, and whose plans earn more than
no plan and than the first planner's.

The agent is scripted (`scripted_agent`): it follows the plan that it finds in its messages. The
planner is a model of 500,000 weights that has learnt what plans look like and nothing of where
things are; all it learns of that, it learns from rewards.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import httpx
import pytest

import mpo_core
from jobs.feedback.learning import load_rounds
from jobs.pipeline import run_pipeline
from jobs.run import Run
from mpo_core.config import Config, parse_config
from mpo_core.demonstrations import of_plan
from mpo_core.hardware import free_port
from mpo_core.proxy.planners import read_planners
from mpo_core.proxy.prompt import planner_prompts
from mpo_core.proxy.store import Store
from tests.commandline import ROOT
from tests.integration.method.loop import DPO, MODEL, SFT
from tests.integration.method.toy_world import all_tasks, taught
from tests.integration.proxy.scripted_agent import MODEL as MODEL_NAME
from tests.integration.proxy.scripted_agent import endpoint, harness
from tests.tiny_chat import make_chat_model

SEED = 1
START_S = 90
PROXY = {"explore": 5, "off": 0.2, "canary": 0.5, "temperature": 0.8, "max_tokens": 32}


def settings_of(folder: Path, least_pairs: int = 30) -> Config:
    """What `mpo run` is given, again and again."""
    return parse_config(
        {
            "name": "learning",
            "source": "feedback",
            "seed": SEED,
            "runs_dir": str(folder / "runs"),
            "models": {"planner": {"source": str(folder / "first")}},
            "planner": {"model": "planner"},
            "training": DPO.model_dump(),
            "validation": 0,
            "prompts_dir": str(folder / "prompts"),
            "proxy": {"folder": str(folder / "proxy"), **PROXY},
            "feedback": {"least_pairs": least_pairs},
            "tracking": {"enabled": False},
            "cluster": {"enabled": False},
        }
    )


def make_first_planner(folder: Path) -> None:
    """A planner that has learnt plans of a teacher who guesses one of three places."""
    (folder / "prompts" / "feedback").mkdir(parents=True)
    (folder / "prompts" / "feedback" / "planner.txt").write_text("Plan for: {task}")
    told = {"toy": planner_prompts(prompts_dir=folder / "prompts")}
    learnt = [task for task in all_tasks() if task.split == "train"]
    seeds = [of_plan(taught(task, SEED), task, told) for task in learnt]
    texts = [(shown.prompt[0]["content"], shown.completion[0]["content"]) for shown in seeds]
    make_chat_model(folder / "base", texts, seed=SEED, **MODEL)
    base = mpo_core.planner(mpo_core.model(source=folder / "base"))
    mpo_core.train(seeds, base, folder / "first", SFT, seed=SEED)


@contextmanager
def proxy(folder: Path, upstream: str) -> Iterator[str]:
    """The proxy, started as a user starts it; its base URL."""
    port = free_port(0)
    named = [f"proxy.{key}={value}" for key, value in PROXY.items()]
    command = [sys.executable, "-m", "jobs.cli", "proxy", str(folder / "first")]
    command += ["--upstream", upstream, "--port", str(port), "--prompts", str(folder / "prompts")]
    command += [f"proxy.folder={folder / 'proxy'}", *named]
    with (folder / "proxy.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + START_S
            while not _answers(f"http://127.0.0.1:{port}/health"):
                said = (folder / "proxy.log").read_text()[-3000:]
                assert process.poll() is None and time.monotonic() < deadline, said
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1/"
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def wait_for(url: str, arm: str, but_not: str = "") -> None:
    """Wait until new conversations are drawn into an arm, and for a while into another no more."""
    deadline, drawn = time.monotonic() + START_S, [but_not]
    while arm not in drawn or but_not in drawn[-8:]:
        assert time.monotonic() < deadline, drawn
        asked = {"model": MODEL_NAME, "seed": 1}
        asked |= {"messages": [{"role": "user", "content": "Find the saw in the red house."}]}
        named = {"X-MPO-Conversation": f"{arm}/{but_not}/{len(drawn)}"}
        answer = httpx.post(f"{url}chat/completions", json=asked, headers=named, timeout=60)
        drawn.append(answer.headers["x-mpo-arm"])
        time.sleep(0.1)


def learnt(asked: Config) -> dict:
    with Run(asked) as run:
        return run_pipeline(run)


def test_a_harness_that_only_reports_rewards_ends_with_a_better_planner(tmp_path):
    make_first_planner(tmp_path)
    asked = settings_of(tmp_path)
    tasks = all_tasks()
    known = [task for task in tasks if task.split == "train"]
    with endpoint() as agent, proxy(tmp_path, agent) as url:
        first = harness(url, "first", known, 6)
        assert {one.arm for one in first} == {"off", "v1"}
        summary = learnt(asked)
        assert summary["pairs"] >= 30
        assert read_planners(tmp_path / "proxy").canary.version == "v2"
        wait_for(url, "v2")
        # Among these are tasks that nothing was trained on.
        second = harness(url, "second", tasks, 4)
        assert {one.arm for one in second} == {"off", "v1", "v2"}
        # What has come would do for a further round: this is to be about the first.
        asked = settings_of(tmp_path, least_pairs=10_000)
        learnt(asked)
        assert read_planners(tmp_path / "proxy").current == "v2"
        wait_for(url, "v2", but_not="v1")
        third = harness(url, "third", tasks, 1)
        assert {one.arm for one in third} == {"off", "v2"}
        summary = learnt(asked)
    arms = {arm: found["mean_reward"] for arm, found in summary["arms"].items()}
    rows = {(row["arm_a"], row["arm_b"]): row for row in summary["feedback"]["differences"]}
    for other in ("off", "v1"):
        for shown in (rows["v2", other]["same"], rows["v2", other]["all"]):
            assert shown["ci95"][0] > 0.1, (arms, rows)
    # Nor is it only the tasks that it was trained on.
    unseen = {row["arm"]: row for row in summary["table"] if row["split"] == "unseen"}
    assert unseen["v2"]["mean_reward"] > unseen["v1"]["mean_reward"] + 0.1
    # The harness has seen the same.
    played = [*first, *second, *third]
    assert summary["episodes"] == len(played)
    with Store(tmp_path / "proxy") as store:
        rewards = [found.reward for found in store.rewards().values()]
    assert fmean(rewards) == pytest.approx(fmean(one.reward for one in played))
    with Run(asked) as run:
        assert load_rounds(run)[0].state == "current"
