"""Real Ray, vLLM and ScienceWorld, a tiny model: one cluster for all tests of this file."""

import asyncio
import os
import shutil
import signal
import time

import grpc
import httpx
import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model
from ray import serve
from transformers import AutoModelForCausalLM

from cluster import proxy_service
from cluster.backend import ClusterBackend
from cluster.proxy_service import ProxyArgs
from jobs.configs import named_config
from mpo_core.chat import ChatRequest
from mpo_core.endpoint import CONTINUATION
from mpo_core.envs.scienceworld import ScienceWorld
from mpo_core.episode import EpisodeProtocol, EpisodeRequest
from mpo_core.errors import ContextFull
from mpo_core.ledger import Ledger, read_records
from mpo_core.prompts import Prompts, load_prompts, plan_block
from mpo_core.proxy.planners import Planners
from mpo_core.rollout import play_owed
from mpo_core.types import Episode, Plan
from tests.planning_proxy import file_of_plans, planning_proxy
from tests.processes import command_line, descendants, gone
from tests.tiny_chat import make_chat_model, prompt_texts

PLANS = ("Step 1: Go outside.\nStep 2: Focus on an egg.", "Step 1: Wait in the kitchen.")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model that has learnt to say something of a few words."""
    rows = [("Hello", "Action: look around"), ("What is water?", "Thought: wet\nAction: go on")]
    folder = tmp_path_factory.mktemp("tiny") / "model"
    return make_chat_model(folder, rows, epochs=20, texts=prompt_texts("scienceworld"))


@pytest.fixture(scope="module")
def backend(tmp_path_factory, source):
    config = named_config(
        "demo-llm",
        [
            f"runs_dir={tmp_path_factory.mktemp('runs')}",
            f"models.tiny={{source: {source}, max_model_len: 4096}}",
            "planner.model=tiny",
            "agent.model=tiny",
            "cluster.episodes_in_flight=8",
            "cluster.logical_cpus=6",
        ],
    )
    backend = ClusterBackend(config)
    backend.model("tiny")
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def suite():
    tasks = {"tasks": {"train": 4}, "task_types": ["find-animal", "find-plant"]}
    return ScienceWorld(ScienceWorld.Config.model_validate(tasks))


def requests(suite, backend, mode: str, *, repetitions: int = 1, steps: int = 3):
    prompts = load_prompts("scienceworld")
    protocol = EpisodeProtocol(
        plan_mode=mode,
        temperature=0.8,
        max_tokens=8,
        invalid_limit=10,
        max_steps=steps,
        example=False,
        thoughts=True,
        list_actions=0,
        seed=1,
        prompts=prompts.fingerprint,
        env=suite.protocol(),
    )
    return [
        EpisodeRequest.of(
            task, Plan.of(task.id, plan, "test"), backend.fingerprint("tiny"), protocol, k
        )
        for task in suite.tasks("train")
        for plan in PLANS
        for k in range(repetitions)
    ]


def play(backend, suite, asked, path, on_episode=lambda episode: None) -> list[Episode]:
    async def main():
        suites, prompts = {"scienceworld": suite}, {"scienceworld": load_prompts("scienceworld")}
        model = backend.model("tiny")
        with Ledger(path, Episode, key=lambda e: e.key) as ledger:
            async with backend.players(suites, prompts, model) as (play_one, places):
                await play_owed(
                    asked, play_one, ledger, concurrency=places, attempts=5, on_episode=on_episode
                )

    asyncio.run(main())
    return read_records(path, Episode)


@pytest.mark.parametrize("mode", ["query", "observation", "thought"])
def test_every_episode_was_given_exactly_the_plan_it_is_filed_under(mode, backend, suite, tmp_path):
    asked = requests(suite, backend, mode)
    filed = {request.key: request for request in asked}
    episodes = play(backend, suite, asked, tmp_path / "episodes.jsonl")
    assert {episode.key for episode in episodes} == set(filed)
    for episode in episodes:
        request = filed[episode.key]
        assert (episode.task_id, episode.plan) == (request.task.id, request.plan.text)
        given = {"query": 1, "observation": episode.steps, "thought": episode.steps}[mode]
        conversation = "\n".join(message["content"] for message in episode.messages)
        assert conversation.count(plan_block(episode.plan)) == given
        assert not any(other in conversation for other in PLANS if other != episode.plan)


def test_killing_a_jvm_an_actor_and_a_replica_loses_and_invents_nothing(backend, suite, tmp_path):
    asked = requests(suite, backend, "query", repetitions=4, steps=4)
    victims = ["java-runtime/bin/java", "ray::RolloutActor", "ray::ServeReplica:mpo:AdapterServer"]
    killed = []

    def kill_next(episode: Episode) -> None:
        if len(killed) < len(victims):
            found = descendants(victims[len(killed)])
            if found:
                os.kill(found[0].pid, signal.SIGKILL)
                killed.append(found[0].pid)

    episodes = play(backend, suite, asked, tmp_path / "episodes.jsonl", kill_next)
    assert len(killed) == 3
    assert sorted(e.key for e in episodes) == sorted(request.key for request in asked)
    assert all(1 <= episode.steps <= 4 for episode in episodes)
    assert all(episode.end in ("step_limit", "done", "failed") for episode in episodes)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, source):
    """A LoRA adapter with random weights that change what the model says."""
    folder = tmp_path_factory.mktemp("planner") / "adapter"
    model = AutoModelForCausalLM.from_pretrained(source)
    lora = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
    torch.manual_seed(0)
    for name, weight in lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    lora.save_pretrained(folder)
    return folder


def answers(model) -> list[str]:
    """What a model says when it is asked four times at once."""
    question = [{"role": "user", "content": "What is water?"}]

    async def ask():
        replies = await asyncio.gather(
            *(model.chat(ChatRequest(question, max_tokens=12)) for _ in range(4))
        )
        return [reply.text for [reply] in replies]

    return asyncio.run(ask())


def test_an_adapter_is_loaded_at_run_time_and_again_by_a_new_replica(backend, adapter):
    base = answers(backend.model("tiny"))
    trained = backend.trained_model("tiny", adapter, own_engine=False)
    changed = answers(trained)
    assert changed != base
    assert trained.fingerprint == backend.trained_fingerprint("tiny", adapter)
    [replica] = descendants("ray::ServeReplica:mpo:AdapterServer")
    [engine] = descendants("VLLM::", of=replica.pid)
    os.kill(replica.pid, signal.SIGKILL)
    assert gone(engine.pid)
    assert answers(backend.trained_model("tiny", adapter, own_engine=False)) == changed
    assert answers(backend.model("tiny")) == base


def test_a_refused_request_fails_none_that_came_with_it(backend):
    model = backend.model("tiny")
    fits = [{"role": "user", "content": "What is water?"}]
    too_long = [{"role": "user", "content": "What is water? " * 3000}]

    async def ask():
        asked = (
            model.chat(ChatRequest(messages, max_tokens=12)) for messages in (fits, too_long, fits)
        )
        return await asyncio.gather(*asked, return_exceptions=True)

    first, refused, last = asyncio.run(ask())
    assert first == last and first[0].text
    assert isinstance(refused, ContextFull)


def test_on_a_cpu_an_engine_is_one_process_beside_its_replica(backend):
    assert len(descendants("VLLM::")) == 1


@pytest.mark.long
def test_a_trained_planner_can_have_an_engine_of_its_own(backend, adapter):
    own = backend.trained_model("tiny", adapter, own_engine=True)
    assert own.fingerprint != backend.fingerprint("tiny")
    assert answers(own) != answers(backend.model("tiny"))


HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0}


def post(backend, body: dict, path: str = "chat/completions", **options) -> httpx.Response:
    return httpx.post(f"{backend.url}/{path}", json=body, timeout=120, **options)


def error_of(answer: httpx.Response) -> dict:
    """An answer's error, which must be in OpenAI's form."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error


def said(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def test_the_http_server_speaks_openai(backend):
    assert said(post(backend, HELLO | {"model": "tiny"})) == said(post(backend, HELLO))
    streamed = post(backend, HELLO | {"stream": True})
    assert streamed.status_code == 200 and streamed.text.endswith("data: [DONE]\n\n")
    assert post(backend, {"prompt": "Hello"}, "completions").json()["choices"][0]["text"]


def test_probabilities_take_no_longer_the_first_time(backend):
    start = time.monotonic()
    answer = post(backend, HELLO | {"logprobs": True, "top_logprobs": 2})
    assert answer.json()["choices"][0]["logprobs"]["content"]
    assert time.monotonic() - start < 5


def test_every_version_is_listed_and_answers_under_each_of_its_names(backend, adapter):
    trained = backend.trained_model("tiny", adapter, own_engine=False)
    backend.give_name("mpo", trained)
    cards = httpx.get(f"{backend.url}/models").json()["data"]
    assert {card["id"]: card["parent"] for card in cards} == {
        "tiny": None,
        "tiny:mpo": "tiny",
        trained.name: "tiny",
    }
    for card in cards:
        assert httpx.get(f"{backend.url}/models/{card['id']}").json() == card
    asked = HELLO | {"max_tokens": 12}
    [base, readable, named] = [said(post(backend, asked | {"model": card["id"]})) for card in cards]
    assert readable == named != base


def test_only_published_versions_are_served(backend, adapter, tmp_path):
    published = backend.trained_model("tiny", adapter, own_engine=False).name.partition(":")[2]
    folder = next(backend._config.run_dir.glob(f"planner/served/*/{published}")).parent
    elsewhere = shutil.copytree(adapter, tmp_path / "evil")
    (folder / "leads-out").symlink_to(elsewhere)
    versions = [str(adapter), f"../../../../{elsewhere}", "leads-out", ".", "", f"{published}/"]
    names = [f"tiny:{version}" for version in versions]
    for name in (*names, "x", f"x:{published}", str(adapter), "tiny/../tiny"):
        for path, body in (("chat/completions", HELLO), ("completions", {"prompt": "Hello"})):
            answer = post(backend, body | {"model": name}, path)
            assert answer.status_code == 404, name
            assert error_of(answer)["code"] == "model_not_found"
    answer = post(backend, HELLO, headers={"serve_multiplexed_model_id": names[0]})
    assert said(answer) == said(post(backend, HELLO))
    (folder / "leads-out").unlink()


@pytest.mark.parametrize("mode", ["query", "thought"])
def test_the_planning_proxy_stands_before_the_engines(mode, backend, tmp_path):
    plans = file_of_plans(tmp_path, {"Hello": PLANS[1]})
    with planning_proxy(tmp_path, backend.url, planners=plans, mode=mode) as proxy:
        given = proxy.ask(HELLO | {"model": "tiny"})
        off = proxy.ask(HELLO | {"model": "tiny"}, x_mpo_plan="off")
    prefix = Prompts.reply_prefix(PLANS[1], mode)
    asked = f"Hello\n\n{plan_block(PLANS[1])}" if mode == "query" else "Hello"
    messages = [{"role": "user", "content": asked}]
    messages += [{"role": "assistant", "content": prefix}] if prefix else []
    straight = post(backend, HELLO | {"messages": messages} | (CONTINUATION if prefix else {}))
    assert said(given) == said(straight) and given.headers["x-mpo-arm"] == "v1"
    assert said(off) == said(post(backend, HELLO)) and off.headers["x-mpo-plan"] == "off"


def test_ray_serve_hosts_the_planning_proxy(backend, tmp_path):
    planners = Planners(current="v1", versions={"v1": file_of_plans(tmp_path, {"Hello": PLANS[1]})})
    args = ProxyArgs(upstream=backend.url, planners=planners, proxy={"folder": tmp_path / "proxy"})
    serve.run(proxy_service.build(args), name="proxy", route_prefix="/proxy")
    try:
        url = backend.url.replace("/v1", "/proxy/v1")
        given = httpx.post(f"{url}/chat/completions", json=HELLO | {"stream": True}, timeout=120)
        assert given.headers["x-mpo-arm"] == "v1" and given.text.endswith("data: [DONE]\n\n")
        report = {"conversation": given.headers["x-mpo-conversation"], "reward": 1.0}
        assert httpx.post(f"{url}/mpo/feedback", json=report).json()["result"] == "stored"
    finally:
        serve.delete("proxy")


def schema(**described) -> dict:
    named = {"name": "a", "schema": described}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


IMAGE = {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": [{"role": "human", "content": "Hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "Hello " * 5000}]}, ...),
        ({"messages": [*HELLO["messages"], {"role": "assistant", "tool_calls": "x"}]}, ...),
        ({"model": 5}, "model"),
        ({"temperature": -1}, ...),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": -1}, ...),
        ({"seed": 2**70}, "seed"),
        ({"n": 10**6}, "n"),
        ({"n": 0}, ...),
        ({"stop": 5}, ...),
        ({"logprobs": True, "top_logprobs": 10**6}, ...),
        ({"logit_bias": {"999999999": 5}}, ...),
        ({"allowed_token_ids": [10**9]}, ...),
        ({"chat_template": "{{ messages }}"}, "chat_template"),
        ({"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        ({"mm_processor_kwargs": {"a": 1}}, "mm_processor_kwargs"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs"),
        ({"request_id": "one"}, "request_id"),
        (schema(**{"$ref": "#"}), "response_format"),
        (schema(type="string", pattern="((("), ...),
    ],
)
def test_a_request_that_is_none_is_refused_and_ends_no_engine(backend, changes, param):
    [before] = descendants("VLLM::EngineCore")
    answer = post(backend, HELLO | changes)
    assert 400 <= answer.status_code < 500, answer.text
    assert param in (..., error_of(answer)["param"])
    assert said(post(backend, HELLO))
    assert descendants("VLLM::EngineCore") == [before]


def test_what_is_no_json_object_of_text_is_refused(backend):
    bodies = [b"", b"{", b"[]", b"\xff", b'{"model": NaN}', b'{"messages": ' + b"[" * 10_000]
    for text in (rb"\u0000", rb"\ud83d"):
        bodies.append(b'{"messages": [{"role": "user", "content": "' + text + b'"}]}')
    for path in ("chat/completions", "completions"):
        for body in bodies:
            answer = httpx.post(
                f"{backend.url}/{path}", content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code == 400, body
            error_of(answer)
        answer = httpx.post(f"{backend.url}/{path}", data={"model": "tiny"})
        assert answer.status_code == 415
        error_of(answer)


@pytest.mark.parametrize(
    "path", ["load_lora_adapter", "embeddings", "responses", "audio/transcriptions", "../tokenize"]
)
def test_nothing_else_is_offered(backend, path):
    answer = post(backend, {"lora_name": "x", "lora_path": "/", "input": "x"}, path)
    assert answer.status_code == 404
    error_of(answer)
    assert httpx.get(f"{backend.url}/chat/completions").status_code == 405


def test_what_listens_beyond_loopback_answers_only_to_the_clusters_token(backend):
    """Ray Serve's replicas bind the port by which they call each other to every address."""
    backend.model("tiny")
    open_to_all = [
        (" ".join(command_line(process)), connection.laddr.port)
        for process in descendants("")
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr.ip not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    ]
    assert all(name.startswith("ray::ServeReplica:") for name, _ in open_to_all), open_to_all
    for _, port in open_to_all:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=30)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
