"""A server that is not this suite's: vLLM's own, as `vllm serve` starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import httpx
import openai
import pytest

from mpo_core.builtin_models import resolve_source
from mpo_core.hardware import free_port
from mpo_core.ledger import read_records
from mpo_core.proxy.planners import Source
from mpo_core.proxy.records import Usage
from mpo_core.types import Episode
from tests.commandline import mpo
from tests.planning_proxy import planning_proxy, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Base URL of `vllm serve` with the built-in model."""
    port, folder = free_port(), tmp_path_factory.mktemp("vllm")
    # What `vllm serve` runs; that command itself does not find its version in the CPU build.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model"]
    command += [str(resolve_source("builtin:smollm2-135m-instruct")), "--host=127.0.0.1"]
    command += [f"--port={port}", "--served-model-name=smol", "--max-model-len=2048"]
    command += ["--enforce-eager"]  # Compilation takes minutes on a CPU.
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_HOST_IP": "127.0.0.1", "HF_HUB_OFFLINE": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | settings | {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
        )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 500
    try:
        while not _answers(url):
            assert process.poll() is None and time.monotonic() < deadline, (
                folder / "log"
            ).read_text()[-3000:]
            time.sleep(0.5)
        yield f"{url}/v1"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.TransportError:
        return False


# Its own default prefills long prompts in parts, of which a seeded request makes vLLM 0.32 end on a
# CPU: `omit` is what a user has against that.
MODEL = "models={llm: {endpoint: '%s', name: smol, retries: 1, omit: [seed]}}"
OVERRIDES = [
    "cluster.enabled=false",
    "tracking.enabled=false",
    "envs={alfworld: {generated: {train: 6, seen: 0, unseen: 6}, tasks: {train: 2, unseen: 2}}}",
    "planner.model=llm",
    "planner.per_task=2",
    "agent.model=llm",
    "agent.example=false",
    "agent.list_actions=4",
    "agent.max_tokens=16",
    "agent.max_steps=3",
    "agent.unusable_limit=null",  # A model this small rambles.
    "scoring.repetitions=1",
    "validation=0",
    "evaluation.arms=[none,base]",
    "evaluation.bootstrap=100",
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("thoughts", [False, True])
def test_a_whole_run_against_vllm_serve_with_and_without_a_given_beginning(
    thoughts, server, tmp_path
):
    asked = [MODEL % server, f"agent.thoughts={str(thoughts).lower()}", *OVERRIDES]
    answer = mpo("run", "demo-llm", f"runs_dir={tmp_path}", "name=foreign", *asked)
    assert answer.returncode == 0, answer.stderr[-3000:]
    found = next(line for line in answer.stderr.splitlines() if line.startswith("model llm:"))
    assert "context 2048" in found and ("a given beginning" in found) == (not thoughts)
    run = tmp_path / "foreign"
    played = read_records(run / "episodes" / "scoring.jsonl", Episode)
    turns = [turn for episode in played for turn in episode.turns]
    assert len(played) == 4 and turns
    if not thoughts:
        # Every reply goes on from `Action:`, though a model this small may leave it at that.
        assert all(turn.reply.startswith("Action:") for turn in turns)
        assert any(turn.action for turn in turns)
    summary = json.loads((run / "report" / "summary.json").read_text())
    assert {row["arm"] for row in summary["conduct"]} == {"scoring", "none", "base"}
    assert sum(episode.completion_tokens for episode in played) > 0


def test_the_planning_proxy_before_it_has_its_model_plan_and_answer(server, tmp_path):
    """As a newcomer begins: one server is planner and agent's model at once."""
    planner = Source(endpoint=server, model="smol")
    asked = [{"role": "user", "content": "Make a cup of tea in the kitchen."}]
    with planning_proxy(
        tmp_path, server, planners=planner, planner_timeout_s=120, max_tokens=96
    ) as proxy:
        client = openai.OpenAI(base_url=proxy.url, api_key="none", timeout=300)
        whole = client.chat.completions.with_raw_response.create(
            model="smol", messages=asked, max_tokens=24, temperature=0, logprobs=True
        )
        plan, arm = whole.headers["x-mpo-plan"], whole.headers["x-mpo-arm"]
        chunks = client.chat.completions.create(
            model="smol", messages=asked, max_tokens=24, temperature=0, stream=True
        )
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        with proxy.store() as store:
            [kept] = store.conversations()
            wait_until(lambda: store.usage().get(kept.id, Usage()).requests == 2)
            used = store.usage()[kept.id]
    assert arm == "v1" and kept.plan_id == (None if plan == "none" else plan)
    assert kept.plan or kept.why.startswith("no plan"), "a model this small may write none"
    completion = whole.parse()
    # Of the stream, no usage was asked for.
    assert used.completion_tokens == completion.usage.completion_tokens
    assert streamed == completion.choices[0].message.content and completion.choices[0].logprobs
