"""Clients of others, unchanged but for the base URL: what they get is what the upstream gives, and
their conversations get plans."""

import asyncio
import json
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import openai
import pytest

import mpo_core
from tests.foreign import installed, run_with
from tests.planning_proxy import BLOCK, TASK, USAGE, planning_proxy

KEY = "sk-callers"
SAID = [{"role": "system", "content": "You boil."}, {"role": "user", "content": TASK}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "heat",
            "description": "Heat a thing.",
            "parameters": {"type": "object", "properties": {"thing": {"type": "string"}}},
        },
    }
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "heat", "arguments": '{"thing":'}}
LOGPROBS = {
    "content": [{"token": "Well", "logprob": -0.1, "bytes": [87], "top_logprobs": []}],
    "refusal": None,
}


def completion(body):
    """A whole completion, as a server of the kind gives it."""
    choices = []
    for k in range(body.get("n") or 1):
        message = {"role": "assistant", "content": f"Well {k}.", "x_unknown": {"kept": 1}}
        if body.get("tools"):
            arguments = {"name": "heat", "arguments": '{"thing": "water"}'}
            message |= {"content": None, "tool_calls": [{**CALL, "function": arguments}]}
        choices.append({"index": k, "message": message, "finish_reason": "stop"})
        choices[-1] |= {"logprobs": LOGPROBS} if body.get("logprobs") else {}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
    return {**head, "choices": choices, "usage": USAGE, "system_fingerprint": "f"}


def response(body):
    """A whole response, by the Responses API."""
    part = {"type": "output_text", "text": "Well.", "annotations": []}
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    usage = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
    return {
        **{"id": "resp_1", "object": "response", "created_at": 1, "status": "completed"},
        **{"model": body["model"], "parallel_tool_calls": True, "tool_choice": "auto"},
        **{"tools": [], "output": [{**said, "content": [part]}], "usage": usage},
    }


def events(body):
    """The chunks of a stream."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
    head["model"] = body["model"]
    deltas = [
        {"role": "assistant", "content": ""},
        {"content": "Boil"},
        {"content": "ed, caf\u00e9."},
    ]
    if body.get("tools"):
        more = {"index": 0, "function": {"arguments": ' "water"}'}}
        deltas = [{"tool_calls": [{"index": 0, **CALL}]}, {"tool_calls": [more]}]
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": USAGE}


def answer(body):
    """What a server answers: whole, as a stream, or by the Responses API."""
    if "input" in body:
        return response(body)
    if not body.get("stream"):
        return completion(body)
    said = [json.dumps(event, ensure_ascii=False) for event in events(body)]
    return [f"data: {one}\n\n".encode() for one in [*said, "[DONE]"]]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with planning_proxy(tmp_path_factory.mktemp("proxy")) as running:
        running.upstream.answer = answer
        yield running


@pytest.fixture(autouse=True)
def _nothing_seen_yet(proxy):
    proxy.upstream.seen.clear()


def client(url):
    return openai.OpenAI(base_url=url, api_key=KEY, max_retries=0)


def plain(url):
    return client(url).chat.completions.create(model="m", messages=SAID).model_dump()


def streamed(url):
    usage = {"include_usage": True}
    chunks = client(url).chat.completions.create(
        model="m", messages=SAID, stream=True, stream_options=usage
    )
    return [chunk.model_dump() for chunk in chunks]


def tools(url):
    found = client(url).chat.completions.create(model="m", messages=SAID, tools=TOOLS)
    [call] = found.choices[0].message.tool_calls
    answer = {"role": "tool", "tool_call_id": call.id, "content": "Hot."}
    messages = [*SAID, found.choices[0].message.model_dump(exclude_none=True), answer]
    return client(url).chat.completions.create(model="m", messages=messages).model_dump()


def streamed_tools(url):
    with client(url).chat.completions.stream(model="m", messages=SAID, tools=TOOLS) as stream:
        return [event.type for event in stream], stream.get_final_completion().model_dump()


def three_samples(url):
    return client(url).chat.completions.create(model="m", messages=SAID, n=3).model_dump()


def logprobs(url):
    found = client(url).chat.completions.create(
        model="m", messages=SAID, logprobs=True, top_logprobs=2, extra_body={"x_own": [1.50]}
    )
    return found.choices[0].logprobs.model_dump()


def responses(url):
    found = client(url).responses.create(model="m", instructions="Boil.", input=TASK)
    assert found.output_text == "Well."
    return found.model_dump()


def asynchronous(url):
    async def ask():
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            chunks = await client.chat.completions.create(model="m", messages=SAID, stream=True)
            found = [chunk.model_dump() async for chunk in chunks]
            whole = await client.chat.completions.create(model="m", messages=SAID)
            return found, whole.model_dump()

    return asyncio.run(ask())


def langchain(url):
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(base_url=url, api_key=KEY, model="m", max_retries=0)
    asked = [("system", "You boil."), ("human", TASK)]
    streamed = "".join(chunk.text for chunk in model.stream(asked))
    called = model.bind_tools(TOOLS).invoke(asked).tool_calls
    return model.invoke(asked).text, streamed, called


LITELLM = """
import json, os, sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # It would ask for it on the network.
import litellm

url, key, said, tools = json.loads(sys.argv[1])
named = {"model": "openai/m", "api_base": url, "api_key": key, "messages": said}
whole = litellm.completion(**named).choices[0].message.content
streamed = [c.choices[0].delta.content for c in litellm.completion(**named, stream=True)]
called = litellm.completion(**named, tools=tools).choices[0].message.tool_calls
print(json.dumps([whole, streamed, [call.function.arguments for call in called]]))
"""


@cache
def litellm_folder():
    """Removed when this process ends."""
    folder = TemporaryDirectory(prefix="litellm-")
    installed(Path(folder.name), "litellm==1.110.2")
    return folder


def litellm(url):
    return run_with(Path(litellm_folder().name), LITELLM, json.dumps([url, KEY, SAID, TOOLS]))


def curl(url):
    body = json.dumps({"model": "m", "messages": SAID, "stream": True})
    command = ["curl", "--silent", "--no-buffer", f"{url}/chat/completions", "--data", body]
    command += ["--header", "Content-Type: application/json"]
    return subprocess.run(command, check=True, capture_output=True, timeout=30).stdout


CALLS = [plain, streamed, tools, streamed_tools, three_samples, logprobs, responses, asynchronous]


@pytest.mark.parametrize("call", [*CALLS, langchain, litellm, curl], ids=lambda call: call.__name__)
def test_a_client_gets_through_the_proxy_what_it_gets_without_it(proxy, call):
    upstream = proxy.upstream
    without = call(upstream.url)
    straight, upstream.seen[:] = [*upstream.seen], []
    through = call(proxy.url)
    assert through == without
    assert len(upstream.seen) == len(straight)
    for one, other in zip(straight, upstream.seen, strict=True):
        put_in = json.dumps(f"\n\n{BLOCK}")[1:-1].encode()
        assert other.body.count(put_in) == 1 and other.body.replace(put_in, b"") == one.body
        assert one.header("authorization") == other.header("authorization")


def named_openai(url, name):
    headers = {"X-MPO-Conversation": name}
    with openai.OpenAI(base_url=url, api_key=KEY, default_headers=headers) as named:
        named.chat.completions.create(model="m", messages=SAID)


def named_langchain(url, name):
    from langchain_openai import ChatOpenAI

    headers = {"X-MPO-Conversation": name}
    ChatOpenAI(base_url=url, api_key=KEY, model="m", default_headers=headers).invoke("Boil.")


NAMED = LITELLM.partition("whole = ")[0] + (
    'litellm.completion(**named, extra_headers={"X-MPO-Conversation": tools})\nprint("{}")\n'
)


def named_litellm(url, name):
    run_with(Path(litellm_folder().name), NAMED, json.dumps([url, KEY, SAID, name]))


@pytest.mark.parametrize("call", [named_openai, named_langchain, named_litellm])
def test_a_client_names_its_conversation_as_documented_and_its_reward_finds_it(proxy, call):
    name = f"{call.__name__}-3"
    call(proxy.url, name)
    assert mpo_core.feedback(name, 1.0, url=proxy.url) == "stored"
