"""What a caller sends reaches no more of the upstream than is served, and holds up nobody else."""

import http.client
import json
import time
from urllib.parse import urlsplit

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.proxy.asked import Asked, Headers
from mpo_core.proxy.expressions import Limit, found, left_out
from mpo_core.proxy.overheard import ResponseId
from mpo_core.proxy.store import Store, StoreFault
from mpo_core.proxy.task_rule import without_examples
from mpo_core.proxy.upstream import path_of
from tests.planning_proxy import PLAN, TASK, chat, planning_proxy

DOTS = st.sampled_from(
    ["..", ".", "%2e%2E", ".%2e", "%252e%252e", "..;a=b", "%2e;", "", "%20..%20"]
)
SEPARATORS = st.sampled_from(["/", "%2f", "%5C", "%252F", "\\"])
NAMES = st.text("abcXYZ019-_.", min_size=1).filter(lambda name: name.strip("."))


def scope(path, root=""):
    return {"raw_path": path.encode(), "path": path, "root_path": root}


@given(NAMES, SEPARATORS, DOTS, SEPARATORS, NAMES)
def test_no_path_leads_out_of_what_is_served(name, before, dots, after, rest):
    for path in (
        f"/v1/models/{name}{before}{dots}{after}{rest}",
        f"/v1/models/{name}{before}{dots}",
    ):
        with pytest.raises(ValueError):
            path_of(scope(path))


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/models/a%00b", "/v1/models/a#b", "/v1/models/a%3Fb", "/v1/models/a%23"),
        *("/%76%31/models", "/v1", "/v2/models", "/v1/models/a\u00e9"),
        "/v1/models/%" + "25" * 30_000,
    ],
)
def test_a_path_that_readers_could_take_for_another_is_refused(path):
    began = time.monotonic()
    with pytest.raises(ValueError):
        path_of(scope(path))
    assert time.monotonic() - began < 2


@given(st.lists(NAMES, min_size=1, max_size=3), st.sampled_from(["/", "%2F"]))
def test_other_paths_are_passed_on_as_they_came(names, separator):
    path = "/models/" + separator.join([*names, "caf%C3%A9", "a...b"])
    assert path_of(scope(f"/v1{path}")).decode() == path
    assert path_of(scope(f"/prefix/v1{path}", "/prefix")).decode() == path


def test_nothing_is_asked_of_the_upstream_by_a_path_that_leads_elsewhere(tmp_path):
    with planning_proxy(tmp_path, upstream_key="own") as proxy:
        for path in (
            "models/..%2f..%2fadmin",
            "responses/%2e%2e",
            "models/x%2f..",
            "models/a%5c..",
        ):
            for method in ("GET", "DELETE"):
                answer = proxy.client.request(method, f"{proxy.url}/{path}")
                assert answer.status_code in (400, 404, 405)
        elsewhere = proxy.client.post(
            f"{proxy.url}/chat/completions/", json=chat(TASK), headers={"host": "evil.example"}
        )
        assert elsewhere.status_code == 404
        straight = http.client.HTTPConnection(urlsplit(proxy.url).netloc)
        straight.request("GET", f"/v1/models/{'a' * 65_520}")
        assert straight.getresponse().status in (400, 414) and proxy.upstream.seen == []
        straight.close()


# ------------------------------------------------------------------------ expressions and texts

SIGNS = ["<example>", "</example>", "<examples>", "</examples>", "<EXAMPLE n=1>", "<example", "a"]


@given(st.lists(st.sampled_from(SIGNS)).map("".join))
def test_examples_are_left_out_as_by_the_plain_expression(text):
    plain = regex.compile(r"(?is)<(examples?)(?:>|\s[^<>]*>).*?</\1>")
    assert without_examples(text) == plain.sub("", text)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [*SIGNS, "<example <", "</example <example "])
def test_a_text_takes_time_by_its_length_alone(sign):
    began = time.monotonic()
    without_examples(sign * 50_000)
    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_no_expression_takes_longer_than_its_limit():
    slow = regex.compile(r"(a|aa|b?a)+(c|d)\1$")
    for look in (found, lambda *asked: left_out(*asked, "")):
        with pytest.raises(TimeoutError):
            look(slow, "a" * 5_000 + "b", Limit(0.2))
    with pytest.raises(TimeoutError):
        found(slow, "a", Limit(0))


@pytest.mark.slow
def test_the_expressions_of_a_config_hold_up_no_caller(tmp_path):
    settings = {"task_regex": r"((a|aa|b?a)+(c|d)\2$)|Task: .*", "record_messages": True}
    with planning_proxy(tmp_path, redact=[r"(a|aa|b?a)+(c|d)\1$"], **settings) as proxy:
        hostile = proxy.ask(chat("a" * 20_000 + "b"))
        assert (hostile.status_code, hostile.headers["x-mpo-why"]) == (200, "no task")
        time.sleep(2.5)
        with proxy.store() as store:
            assert store.messages(hostile.headers["x-mpo-conversation"]) == []


def nested(depth):
    return b'{"messages": [{"role": "user", "content": ' + b"[" * depth + b"]" * depth + b"}]}"


@pytest.mark.slow
def test_bodies_that_are_odd_are_the_upstreams_to_judge(tmp_path):
    strings = [b'{"messages": "hi"}', b'{"messages": {}}', b"[]"]
    many = json.dumps({"model": "m", "messages": [{}] * 40_000}).encode()
    with planning_proxy(tmp_path) as proxy:
        for body in [*strings, *(nested(depth) for depth in range(880, 980, 4)), many]:
            assert proxy.ask(body).status_code == 200
            assert proxy.upstream.last.body == body


@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
@pytest.mark.parametrize("role", [["user"], {"a": 1}, 5, None, "\ud800"])
def test_an_odd_role_is_the_upstreams_to_judge(tmp_path, path, role):
    turns = [{"role": role, "content": TASK}]
    body = {"model": "m", "messages": turns, "input": turns}
    with planning_proxy(tmp_path) as proxy:
        assert proxy.ask(body, path).status_code == 200
        assert proxy.upstream.last.json == body


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (json.dumps(chat(TASK)).encode("utf-16"), "the body is not UTF-8"),
        (nested(2000), "the body is nested too deep"),
        (b'{"messages": [%s]}' % b",".join([b"{}"] * 60_000), "more than 100000 values"),
        (b'{"messages": [{"content": [%s]}]}' % b",".join([b"0"] * 110_000), "100000 values"),
        (b'{"model": "m"}', "no turns"),
    ],
)
def test_a_body_that_is_not_read_goes_on_and_says_why(tmp_path, body, why):
    began = time.monotonic()
    with planning_proxy(tmp_path) as proxy:
        answer = proxy.ask(body)
        assert (answer.status_code, proxy.upstream.last.body) == (200, body)
        assert why in answer.headers["x-mpo-why"] and "x-mpo-plan" not in answer.headers
    assert time.monotonic() - began < 20


def test_a_long_text_is_no_heap_of_values(tmp_path):
    with planning_proxy(tmp_path) as proxy:
        proxy.ask(chat(TASK))
        proxy.ask(chat(TASK, 'a, "b", [c], {d}\\' * 40_000, "Go on."))
        assert proxy.upstream.last.json["messages"][0]["content"].endswith(PLAN)


def test_a_byte_order_mark_costs_no_plan(tmp_path):
    body = b"\xef\xbb\xbf" + json.dumps(chat(TASK)).encode()
    with planning_proxy(tmp_path) as proxy:
        assert "x-mpo-why" not in proxy.ask(body).headers
        assert proxy.upstream.last.body.startswith(body[:10])
        assert PLAN.encode("unicode_escape") in proxy.upstream.last.body


# ----------------------------------------------------------------------- others' conversations


def test_no_caller_begins_a_conversation_by_a_name_of_the_proxys_own(tmp_path):
    [(_, name)] = Asked("chat", json.dumps(chat(TASK)), Headers()).beginnings
    with planning_proxy(tmp_path) as proxy:
        refused = proxy.ask(chat("Steal."), x_mpo_conversation=name)
        assert refused.status_code == 400 and "another one" in refused.text
        victim = proxy.ask(chat(TASK))
        assert victim.headers["x-mpo-conversation"] == name
        assert proxy.upstream.last.json["messages"][0]["content"].endswith(PLAN)
        goes_on = proxy.ask(chat("Shortened.", "a", TASK), x_mpo_conversation=name)
        assert goes_on.headers["x-mpo-plan"] == victim.headers["x-mpo-plan"]


def test_a_response_of_another_place_gets_no_plan(tmp_path):
    with planning_proxy(tmp_path) as proxy:
        for previous in ("resp_elsewhere", "mpo-" + "0" * 24, "\ud800"):
            asked = {"model": "m", "input": TASK, "previous_response_id": previous}
            answer = proxy.ask(asked, "/responses")
            assert "x-mpo-conversation" not in answer.headers
            assert answer.headers["x-mpo-why"] == "goes on from a response that is not known"
            assert proxy.upstream.last.json == asked


IDS = [
    "resp_" + "a" * 48,
    "resp-abc",
    "gen-12",
    "0f0f-11",
    "resp_" + "aZ09+/=" * 60,
    'a"b\\é',
    "x" * 9000,
]


def as_one(id):
    return json.dumps({"object": "response", "conversation": {"id": "no"}, "id": id, "output": []})


def as_events(id):
    created = {"type": "response.created", "id": "no", "response": {"id": id, "object": "response"}}
    item = {"type": "response.output_item.added", "item": {"id": "no"}}
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in (item, created, item))


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("told", [as_one, as_events])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_response_is_followed_by_whatever_id_however_it_arrives(id, told, size):
    answer, reading = told(id).encode(), ResponseId()
    size = max(size, len(answer) // 50)
    found = [reading.read(answer[k : k + size]) for k in range(0, len(answer), size)]
    assert [one for one in found if one] == [id]


def test_an_answer_without_an_id_is_looked_through_no_further_than_its_beginning():
    reading = ResponseId()
    for chunk in (b'{"output": [', b'{"id": "item"},' * 10_000, b'{}], "id": "late"}'):
        assert reading.read(chunk) is None
    assert len(reading._seen) < 2**18


@pytest.mark.slow
@pytest.mark.parametrize("id", ["resp_1", "gen-12"])
def test_a_response_is_followed(tmp_path, id):
    answer = as_one(id).encode()
    with planning_proxy(tmp_path) as proxy:
        proxy.upstream.chunks, proxy.upstream.pause_s = [answer[:40], answer[40:]], 0.01
        first = proxy.ask({"model": "m", "input": TASK}, "/responses", accept_encoding="gzip")
        assert proxy.upstream.last.header("accept-encoding") == "identity"
        later = {"model": "m", "input": TASK, "previous_response_id": id}
        named = proxy.ask(later, "/responses").headers["x-mpo-conversation"]
        assert named == first.headers["x-mpo-conversation"]
        assert proxy.upstream.last.json == later


@pytest.mark.parametrize("headers", [{}, {"x_mpo_conversation": "c"}, {"x_mpo_plan": "fresh"}])
def test_a_conversation_that_began_without_a_plan_gets_none_later(tmp_path, monkeypatch, headers):
    with planning_proxy(tmp_path) as proxy:
        with monkeypatch.context() as broken:
            broken.setattr(Store, "open_conversation", raising(StoreFault("the disk is full")))
            assert "x-mpo-plan" not in proxy.ask(chat(TASK), **headers).headers
        for said in (["a", "b"], ["a", "b", "c", "d"]):
            later = proxy.ask(chat(TASK, *said), **headers)
            assert later.headers["x-mpo-plan"] == "none" and later.headers["x-mpo-why"]
            assert proxy.upstream.last.json == chat(TASK, *said)


def raising(error):
    def fails(*_):
        raise error

    return fails


@pytest.mark.parametrize(("error", "status"), [(StoreFault("full"), 503), (OSError("full"), 500)])
def test_feedback_that_is_not_kept_is_to_be_sent_again(tmp_path, monkeypatch, error, status):
    with planning_proxy(tmp_path) as proxy:
        proxy.ask(chat(TASK), x_mpo_conversation="c")
        with monkeypatch.context() as broken:
            broken.setattr(Store, "feedback", raising(error))
            refused = proxy.feedback(conversation="c", reward=1.0)
            assert refused.status_code == status and refused.json()["error"]["code"] == "mpo"
            # A kept connection that the server closes has the next reward lost on its way.
            assert status == 503 or refused.headers["connection"] == "close"
        assert proxy.feedback(conversation="c", reward=1.0).json()["result"] == "stored"
