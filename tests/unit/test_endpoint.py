"""An endpoint whose server lacks or spoils something, against `tests.fake_server`."""

import asyncio
import pickle
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest

from mpo_core.chat import ChatRequest
from mpo_core.config import EndpointModelConfig
from mpo_core.connection import address_of
from mpo_core.endpoint import BEGIN_WITH
from mpo_core.errors import ContextFull, InputError, ModelUnavailable
from mpo_core.models import connect
from tests.fake_server import ACTION, ERROR, PLAN, Mode, fake_server

ASKED = [{"role": "user", "content": "Write a plan."}]
ACTING = [{"role": "user", "content": "Say Action: and act."}]
GIVEN = [*ACTING, {"role": "assistant", "content": "Action:"}]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    real = asyncio.sleep
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        return real(0)

    # In the module alone: other loops of this process are to wait as they do.
    monkeypatch.setattr(
        "mpo_core.again.asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep})
    )
    return waited


def chat(server, messages=ASKED, *, config=None, calls=1, **options):
    """The replies of each call, and the model."""
    model = connect("llm", EndpointModelConfig(endpoint=server.url, retries=3, **(config or {})))

    async def run():
        try:
            return [await model.chat(ChatRequest(messages, **options)) for _ in range(calls)]
        finally:
            await model.close()

    return asyncio.run(run()), model


def texts(replies):
    return [reply.text for reply in replies]


def test_a_server_that_takes_everything_is_sent_everything():
    with fake_server() as server:
        [replies], model = chat(server, n=3, seed=5, temperature=0.7, stop=["\nObs"], session="s")
    assert texts(replies) == [PLAN] * 3 and not model.lacks
    [body] = server.asked
    assert (body["n"], body["seed"], body["temperature"], body["stop"]) == (3, 5, 0.7, ["\nObs"])
    assert server.seen_headers[0]["x-session-id"] == "s"
    assert (replies[0].prompt_tokens, replies[0].completion_tokens) == (7, 3)


EXTRA = "Extra inputs are not permitted"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "lacks"),
    [
        (Mode(ignores=frozenset({"n"})), {"n"}),
        (Mode(refuses={"n": (400, {"error": {"message": "Only one completion choice"}})}), {"n"}),
        (Mode(refuses={"n": (400, ERROR)}), {"n"}),
        (Mode(refuses={"n": (501, "not implemented")}), {"n"}),
        (Mode(refuses={"seed": (422, {"detail": [{"loc": ["seed"], "msg": EXTRA}]})}), {"seed"}),
        (Mode(refuses={"stop": (400, "Unsupported parameter: 'stop'")}), {"stop"}),
        (
            Mode(refuses={"max_completion_tokens": (422, f"max_completion_tokens: {EXTRA}")}),
            {"max_completion_tokens"},
        ),
        (
            Mode(refuses={"n": (400, "n must be 1"), "seed": (400, "no seed"), "stop": (400, "x")}),
            {"n", "seed", "stop"},
        ),
    ],
)
def test_what_a_server_lacks_is_learnt_once_and_done_without(mode, lacks, caplog):
    with fake_server(mode) as server:
        first, model = chat(server, n=3, seed=5, temperature=0.7, stop=["\nStep 2"], calls=2)
    assert all(texts(replies) == [PLAN.split("\n")[0]] * 3 for replies in first)
    assert model.lacks == lacks
    assert len(caplog.messages) == len(lacks)  # Said once.
    sent = server.asked[-1]
    assert sent.get("n", 1) == 1 if "n" in lacks else sent["n"] == 3
    assert "seed" not in sent if "seed" in lacks else sent["seed"] in (5, 6, 7)


def test_single_requests_have_seeds_of_their_own():
    with fake_server(Mode(ignores=frozenset({"n"}))) as server:
        chat(server, n=3, seed=5)
    assert sorted(body["seed"] for body in server.asked) == [5, 6, 7]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "given"),
    [
        (Mode(), True),
        (Mode(refuses={"prefill": (400, "continue_final_message: " + EXTRA)}), False),
        (Mode(refuses={"prefill": (500, "Assistant response prefill is incompatible")}), False),
        (Mode(refuses={"prefill": (400, ERROR)}), False),
        (Mode(ignores=frozenset({"prefill"})), False),
        (Mode(ignores=frozenset({"echo"})), False),
    ],
)
def test_a_beginning_is_given_or_asked_for(mode, given):
    with fake_server(mode) as server:
        [[reply]], model = chat(server, GIVEN, stop=["\n"])
    assert ("prefill" in model.lacks) != given
    last = server.asked[-1]["messages"][-1]
    assert (last["role"] == "assistant") == given
    if given:
        assert (reply.text, reply.whole) == (" go to countertop 1", False)
    else:
        assert BEGIN_WITH in last["content"] and last["content"].endswith("Action:")
        assert (reply.text, reply.whole) == (ACTION, True)


def test_a_server_once_seen_to_go_on_is_not_doubted_again():
    with fake_server() as server:
        model = connect("llm", EndpointModelConfig(endpoint=server.url))

        async def run():
            await model.chat(ChatRequest(GIVEN))
            server.mode = replace(server.mode, action="Action: Thought: hm")
            [reply] = await model.chat(ChatRequest(GIVEN))
            await model.close()
            return reply

        reply = asyncio.run(run())
    assert (reply.text, reply.whole, model.lacks) == (" Thought: hm", False, frozenset())


def test_answers_are_cut_here_where_the_server_does_not():
    with fake_server(Mode(action=f"{ACTION}\nObservation: you win", ignores={"stop"})) as server:
        [[reply]], _ = chat(server, ACTING, stop=["\nObservation:"])
    assert reply.text == ACTION


def test_a_limit_that_is_ignored_is_sent_by_its_older_name():
    usage = {"prompt_tokens": 1, "completion_tokens": 999}
    with fake_server(Mode(usage=usage)) as server:
        chat(server, max_tokens=16, calls=2)
    assert [body.get("max_tokens") for body in server.asked] == [None, 16]


def test_fields_are_added_left_out_and_switched_as_the_config_says():
    config = {
        "extra_body": {"top_k": 5},
        "omit": ["temperature", "seed"],
        "reasoning": "off",
        "extra_headers": {"X-Team": "blue"},
    }
    with fake_server() as server:
        chat(server, config=config, seed=1)
    [body], [headers] = server.asked, server.seen_headers
    assert body["top_k"] == 5 and "temperature" not in body and "seed" not in body
    assert body["chat_template_kwargs"] == {"enable_thinking": False, "thinking": False}
    assert headers["x-team"] == "blue"


@pytest.mark.parametrize("yaml_value", [False, "off"])
def test_reasoning_off_is_meant_however_yaml_reads_it(yaml_value):
    assert EndpointModelConfig(endpoint="http://a/v1", reasoning=yaml_value).reasoning == "off"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (401, {"error": {"message": "Incorrect API key"}}, InputError, "OPENAI_API_KEY"),
        (404, {"detail": "Not Found"}, InputError, "models.llm.name"),
        (422, {"detail": "something else"}, InputError, "something else"),
        (400, "Unsupported value: 'temperature'", InputError, r"models.llm.omit=\[temp"),
        (400, "This model's maximum context length is 4", ContextFull, "maximum context length"),
        (429, {"error": {"code": "insufficient_quota", "message": "pay"}}, InputError, "pay"),
        (500, "boom", ModelUnavailable, "boom"),
        (200, "<html>", InputError, "base URL"),
        (200, '{"choices": null}', ModelUnavailable, "holds no sample"),
        (200, '{"cho', ModelUnavailable, "not whole JSON"),
        (200, b"\xff\xfe\x00", ModelUnavailable, "not whole JSON"),
    ],
)
def test_a_failure_keeps_the_servers_reason(status, body, error, says):
    with fake_server(Mode(fails=(status, body))) as server, pytest.raises(error, match=says):
        chat(server)
    assert len(server.asked) <= 4


@pytest.mark.slow
def test_a_failure_that_waiting_mends_is_waited_for(no_waiting):
    mode = Mode(fails=(429, "later"), fails_times=2, headers={"retry-after": "9"})
    with fake_server(mode) as server:
        [[reply]], _ = chat(server)
    assert reply.text == PLAN and no_waiting == [9, 9]


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirection_that_loses_the_request_names_the_other_address(status):
    mode = Mode(fails=(status, ""), headers={"location": "/v2/chat/completions"})
    with fake_server(mode) as server, pytest.raises(InputError, match="redirects to /v2/chat"):
        chat(server)


def test_answers_that_are_not_encoded_as_they_say_are_told_so():
    mode = Mode(headers={"content-encoding": "gzip"})
    with fake_server(mode) as server, pytest.raises(ModelUnavailable, match="not encoded"):
        chat(server)


def test_a_filtered_prompt_is_an_answer_of_its_kind():
    body = {"error": {"code": "content_filter", "message": "content management policy"}}
    with fake_server(Mode(fails=(400, body))) as server:
        [[reply]], _ = chat(server)
    assert (reply.text, reply.fault) == ("", "content filter")


def test_a_refusal_for_another_reason_costs_nothing_that_worked():
    with fake_server(Mode(fails=(400, ERROR), fails_after=1)) as server:
        model = connect("llm", EndpointModelConfig(endpoint=server.url))

        async def run():
            await model.chat(ChatRequest(ASKED, n=2, seed=1, stop=["x"]))
            with pytest.raises(InputError, match="Bad"):
                await model.chat(ChatRequest(ASKED, n=2, seed=1, stop=["x"]))
            await model.close()

        asyncio.run(run())
    assert not model.lacks and len(server.asked) == 2


def test_surrogates_and_nuls_reach_neither_the_records_nor_the_server():
    with fake_server(Mode(message={"content": "a\ud83d\0b"})) as server:
        [[reply]], _ = chat(server, [{"role": "user", "content": "x\ud83d\0"}])
    assert reply.text == "a�b"
    assert server.asked[0]["messages"][0]["content"] == "x�"


def test_an_address_with_a_query_keeps_it_behind_every_path(monkeypatch):
    monkeypatch.setenv("AZURE_KEY", "secret")
    with fake_server() as server:
        url = f"{server.url}?api-version=2024-10-21"
        model = connect("llm", EndpointModelConfig(endpoint=url, api_key_env="AZURE_KEY"))

        async def run():
            await model.chat(ChatRequest(ASKED))
            await model.close()

        asyncio.run(run())
    assert server.paths == ["/v1/chat/completions?api-version=2024-10-21"]
    assert server.seen_headers[0]["api-key"] == "secret"


@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/models", "/", " "])
def test_a_whole_path_is_taken_for_the_base_url(path):
    with fake_server() as server:
        model = connect("llm", EndpointModelConfig(endpoint=f"{server.url}{path}"))
        asyncio.run(model.chat(ChatRequest(ASKED)))
    assert server.paths == ["/v1/chat/completions"]


@pytest.mark.slow
def test_a_model_can_be_sent_to_an_actor_with_its_key_and_what_it_has_learnt(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with fake_server(Mode(ignores=frozenset({"n"}))) as server:
        _, model = chat(server, n=2)
        sent = pickle.dumps(model)
        monkeypatch.delenv("OPENAI_API_KEY")
        arrived = pickle.loads(sent)
        assert arrived.lacks == {"n"} and arrived.fingerprint == model.fingerprint
        asyncio.run(arrived.chat(ChatRequest(ASKED)))
    assert server.seen_headers[-1]["authorization"] == "Bearer secret"
    assert "secret" not in repr(vars(arrived))


@pytest.mark.parametrize("key", ["abc\ndef", "abc\r\ndef", "k\u00e9y", "a\0b"])
def test_a_key_that_cannot_be_sent_is_named_and_not_shown(key):
    environment = {"OPENAI_API_KEY": key}
    with pytest.raises(InputError, match="OPENAI_API_KEY") as raised:
        address_of("llm", EndpointModelConfig(endpoint="http://a/v1"), environment)
    assert "abc" not in str(raised.value) and "def" not in str(raised.value)


def test_a_key_with_more_than_the_key_is_told_so(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "'abc'")
    mode = Mode(fails=(401, ERROR))
    with fake_server(mode) as server, pytest.raises(InputError, match="more than the key") as said:
        chat(server)
    assert "abc" not in str(said.value)


def test_a_header_of_the_environment_that_cannot_be_sent_is_named(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "\u00fc")
    with fake_server() as server, pytest.raises(InputError, match="OPENAI_ORG_ID"):
        chat(server)


def test_a_login_in_an_address_is_not_shown():
    model = connect("llm", EndpointModelConfig(endpoint="http://user:secret@a:1/v1"))
    assert "secret" not in model.where + repr(model.address) and "http://a:1/v1" in model.where


def test_a_key_from_a_file_with_a_last_newline_is_sent():
    address = address_of(
        "llm", EndpointModelConfig(endpoint="http://a/v1"), {"OPENAI_API_KEY": "abc\n"}
    )
    assert address.key == "abc"


def test_a_header_of_the_config_takes_its_secret_from_the_environment():
    config = EndpointModelConfig(endpoint="http://a/v1", extra_headers={"X-Key": "Token $GATE"})
    assert address_of("llm", config, {"GATE": "s"}).headers == {"X-Key": "Token s"}
    with pytest.raises(InputError, match="GATE is not set"):
        address_of("llm", config, {})


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "localhost/v1", "ftp://a/v1", "http://", ""])
def test_an_address_that_is_no_url_is_refused_with_the_config(url):
    with pytest.raises(ValueError, match="endpoint"):
        EndpointModelConfig(endpoint=url)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "environment", "says"),
    [
        ("http://127.0.0.1:{dead}/v1", {}, "connection refused"),
        ("http://no-such-host.invalid/v1", {}, "DNS: no such host as no-such-host.invalid"),
        ("https://127.0.0.1:{live}/v1", {}, "TLS"),
        ("http://127.0.0.1:{live}/v1", {"HTTP_PROXY": "http://u:pw@127.0.0.1:{dead}"}, "NO_PROXY"),
        ("http://127.0.0.1:{live}/v1", {"ALL_PROXY": "socks5://127.0.0.1:{dead}"}, "ALL_PROXY"),
        ("http://127.0.0.1:{live}/v1", {"http_proxy": "http://127.0.0.1:port"}, "http_proxy"),
        ("http://127.0.0.1:{live}/v1", {"SSL_CERT_FILE": "/no/such.pem"}, "SSL_CERT_FILE"),
    ],
)
def test_a_connection_that_fails_says_why(url, environment, says, monkeypatch):
    dead = free_port()
    with fake_server() as server:
        live = server.url.split(":")[2].removesuffix("/v1")
        for name, value in environment.items():
            monkeypatch.setenv(name, value.format(dead=dead))
        server.url = url.format(dead=dead, live=live)
        with pytest.raises((InputError, ModelUnavailable), match=says) as raised:
            chat(server)
    assert "pw" not in str(raised.value) and "\n" not in str(raised.value)
    for name in environment:
        assert name in str(raised.value)


@pytest.mark.parametrize("spared", ["127.0.0.1", "*", "10.0.0.0/8, x/y, 127.0.0.0/8"])
def test_a_proxy_that_the_address_does_not_need_is_left_alone(spared, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", spared)
    with fake_server() as server:
        [[reply]], _ = chat(server)
    assert reply.text == PLAN
