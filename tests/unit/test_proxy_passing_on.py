"""What goes through the proxy comes out as it went in."""

import http.client
import json
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.planning_proxy import (
    BLOCK,
    PLAN,
    TASK,
    USAGE,
    chat,
    planning_proxy,
    recording_upstream,
    wait_until,
)

ODD = (
    b'{ "model":"agent",  "temperature":1.00, "n": 3, "seed": 123456789012345678901234567890,\n'
    b'\t"x_unknown": {"b": 1e2, "a": [null, 1.50]}, "logprobs": true, "caf\xc3\xa9": "\\u00e9\\/",'
    b' "messages": [ {"content" : "Boil some water.", "role":"user", "name": "me"} ] , "z":0.10 }'
)
"""A body that no JSON library writes."""
EVENTS = [
    b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
    b": comment\n\n",
    b'data: {"choices":[{"delta":{"content":"caf\xc3',
    b'\xa9"}}]}\n\ndata: {"choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n",
    b"data: [DONE]\n\n",
]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with planning_proxy(tmp_path_factory.mktemp("proxy"), timeout_s=4.0) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_at_first(proxy):
    """Another test's behaviour is none of the next one's."""
    fresh = type(proxy.upstream)(seen=proxy.upstream.seen, url=proxy.upstream.url)
    proxy.upstream.__dict__.update(fresh.__dict__)
    proxy.upstream.seen.clear()


def straight(proxy, body, path="/chat/completions", **headers):
    """The same request without the proxy."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"content-type": "application/json"} | named
    return proxy.client.post(f"{proxy.upstream.url}{path}", content=body, headers=named)


def test_a_request_and_its_answer_are_the_same_to_the_byte_where_no_plan_is_asked_for(proxy):
    straight(proxy, ODD, accept="a/b", x_other="1", user_agent="mine")
    proxy.ask(ODD, accept="a/b", x_other="1", user_agent="mine", x_mpo_plan="off")
    without, through = proxy.upstream.seen
    assert (through.method, through.path, through.body) == (without.method, without.path, ODD)
    ours = {"host", "x-session-id"}
    assert {h for h in through.headers if h[0] not in ours} == {
        h for h in without.headers if h[0] != "host"
    } - {("connection", "keep-alive")}


def test_with_a_plan_all_bytes_but_the_plans_are_the_callers(proxy):
    proxy.ask(ODD)
    put_in = json.dumps(f"\n\n{BLOCK}")[1:-1].encode()
    assert proxy.upstream.last.body == ODD.replace(b'water."', b"water." + put_in + b'"')


@pytest.mark.parametrize("plan", ["off", None])
def test_a_stream_comes_out_byte_by_byte(proxy, plan):
    proxy.upstream.chunks = EVENTS
    proxy.upstream.headers = {"x-ratelimit-remaining-requests": "9"}
    headers = {"x_mpo_plan": plan} if plan else {}
    body = json.dumps(chat(TASK, stream=True)).encode()
    without, through = straight(proxy, body), proxy.ask(body, **headers)
    assert through.content == without.content == b"".join(EVENTS)
    own = {"x-mpo-conversation", "x-mpo-plan", "x-mpo-arm"}
    assert own <= through.headers.keys()
    assert {k: v for k, v in through.headers.items() if k not in own} == dict(without.headers)


def test_chunks_are_sent_on_as_they_come(proxy):
    proxy.upstream.chunks, proxy.upstream.pause_s = [b"data: 1\n\n", b"data: 2\n\n"], 3.0
    with proxy.client.stream("POST", f"{proxy.url}/chat/completions", json=chat(TASK)) as answer:
        began = time.monotonic()
        assert next(answer.iter_raw()) == b"data: 1\n\n"
        assert time.monotonic() - began < 2.9


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (400, {}),
        (401, {"www-authenticate": "Bearer"}),
        (429, {"retry-after": "7", "x-ratelimit-reset-tokens": "6ms"}),
        (500, {}),
        (503, {"x-request-id": "r"}),
    ],
)
def test_the_upstreams_errors_are_passed_on(proxy, status, headers):
    proxy.upstream.status, proxy.upstream.headers = status, headers
    proxy.upstream.body = b'{"error": {"message": "No.",  "type": "odd", "code": 7}}'
    answer = proxy.ask(chat(TASK))
    assert answer.status_code == status and answer.content == proxy.upstream.body
    assert headers.items() <= answer.headers.items()


def test_an_encoded_answer_stays_encoded(proxy):
    import gzip

    proxy.upstream.body = packed = gzip.compress(b'{"choices": []}')
    proxy.upstream.headers = {"content-encoding": "gzip"}
    body = json.dumps(chat(TASK)).encode()
    with proxy.client.stream("POST", f"{proxy.url}/chat/completions", content=body) as answer:
        assert b"".join(answer.iter_raw()) == packed


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"no json", b"[]", b'{"messages": 3}', b'{"messages": []}', b"\xff{}"),
        *(b"[" * 100_000, b'\xef\xbb\xbf{"messages": []}'),
        b'{"messages": [{"role": "assistant", "content": "I"}]}',
    ],
)
def test_what_is_no_conversation_is_the_upstreams_to_judge(proxy, body):
    answer = proxy.ask(body)
    assert answer.status_code == 200 and proxy.upstream.last.body == body
    assert "x-mpo-conversation" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "/models", b""),
        ("GET", "/models/org/name", b""),
        ("POST", "/completions", ODD),
        ("POST", "/embeddings?api-version=2&b=%20", ODD),
        ("GET", "/responses/resp_1", b""),
        ("DELETE", "/responses/resp_1", b""),
        ("POST", "/responses/resp_1/cancel", b""),
    ],
)
def test_all_else_is_passed_on_without_a_plan(proxy, method, path, content):
    answer = proxy.client.request(method, f"{proxy.url}{path}", content=content)
    seen = proxy.upstream.last
    sought, _, query = path.partition("?")
    assert (seen.method, seen.path, seen.query) == (method, f"/v1{sought}", query)
    assert seen.body == content and "x-mpo-plan" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/files"), ("GET", "/v1/chat/completions"), ("GET", "/v1/../admin"), ("GET", "/")],
)
def test_what_is_not_served_is_refused_and_reaches_no_upstream(proxy, method, path):
    address = urlsplit(proxy.address).netloc
    connection = http.client.HTTPConnection(address)  # It leaves `..` as it is.
    connection.request(method, path)
    answer = connection.getresponse()
    assert answer.status in (404, 405) and "is not served" in json.load(answer)["error"]["message"]
    assert proxy.upstream.seen == []


def test_neither_its_own_headers_nor_those_of_a_connection_are_sent_on(proxy):
    headers = {"X-MPO-Task": "T", "X-MPO-Plan": "off", "TE": "trailers", "X-Hop": "1"}
    proxy.client.post(
        f"{proxy.url}/chat/completions",
        json=chat(TASK),
        headers=headers | {"Connection": "keep-alive, X-Hop"},
    )
    names = [name for name, _ in proxy.upstream.last.headers]
    assert not {name for name in names if name.startswith("x-mpo-")} | {"te", "x-hop"} & {*names}


def test_a_body_over_the_limit_is_refused(tmp_path):
    with planning_proxy(tmp_path, max_body_mb=0.001) as small:
        body = json.dumps(chat("x" * 3000)).encode()
        assert small.ask(body).status_code == 413
        chunked = small.client.post(f"{small.url}/embeddings", content=iter([body]))
        assert chunked.status_code == 413 and small.upstream.seen == []


# ------------------------------------------------------------------------------ what goes wrong


def test_an_upstream_that_is_down_is_told_in_one_line(tmp_path):
    with planning_proxy(tmp_path, "http://127.0.0.1:9/v1") as alone:
        answer = alone.ask(chat(TASK))
    assert answer.status_code == 502
    assert "connection refused" in answer.json()["error"]["message"]
    assert answer.headers["x-mpo-conversation"]


@pytest.mark.slow
def test_an_upstream_that_hangs_is_given_up_after_the_time_limit(proxy):
    proxy.upstream.hangs = True
    began = time.monotonic()
    answer = proxy.ask(chat(TASK))
    assert answer.status_code == 504 and time.monotonic() - began < 30
    assert answer.json()["error"]["code"] == "upstream_timeout"
    wait_until(lambda: proxy.upstream.left == 1)


def test_an_answer_that_breaks_off_does_not_end_well_for_the_caller_either(proxy):
    proxy.upstream.chunks, proxy.upstream.breaks = EVENTS[:2], True
    with pytest.raises(httpx.RemoteProtocolError):
        proxy.ask(chat(TASK))
    assert proxy.metrics("failures_total")['{arm="v1",kind="upstream"}'] >= 1


def test_a_caller_that_leaves_in_mid_stream_ends_the_upstreams_work(proxy):
    proxy.upstream.chunks, proxy.upstream.pause_s = [b"data: 1\n\n"] * 1000, 0.02
    with proxy.client.stream("POST", f"{proxy.url}/chat/completions", json=chat(TASK)) as answer:
        next(answer.iter_raw())
    wait_until(lambda: proxy.upstream.left == 1)
    wait_until(lambda: proxy.metrics("requests_in_flight") == {"": 0.0})


@pytest.mark.slow
def test_a_caller_that_leaves_before_the_answer_ends_the_upstreams_work(tmp_path):
    with recording_upstream(hangs=True) as upstream, planning_proxy(tmp_path, upstream) as running:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{running.url}/chat/completions", json=chat(TASK), timeout=0.5)
        wait_until(lambda: upstream.left == 1)


@pytest.mark.slow
def test_what_conversations_cost_is_counted(tmp_path):
    with planning_proxy(tmp_path) as running:
        first = running.ask(chat(TASK))
        running.upstream.chunks = EVENTS
        running.ask(chat(TASK, stream=True))
        running.upstream.chunks = ()
        id = first.headers["x-mpo-conversation"]
        with running.store() as store:
            wait_until(
                lambda: store.usage().get(id) is not None and store.usage()[id].requests == 2
            )
            used = store.usage()[id]
        assert (used.prompt_tokens, used.completion_tokens) == (22, 14)
        assert running.metrics("tokens_total")['{arm="v1",kind="completion"}'] == 14


@pytest.mark.slow
def test_many_at_once_each_get_their_own_answer(proxy):
    proxy.upstream.answer = lambda body: {"said": body["messages"][0]["content"]}
    answers = {}

    def ask(k):
        answers[k] = proxy.ask(chat(f"task {k}"), x_mpo_plan="off").json()["said"]

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {k: f"task {k}" for k in range(40)} and PLAN not in str(answers)
