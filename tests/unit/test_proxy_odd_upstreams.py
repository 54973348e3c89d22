"""What an upstream or a planner answers reaches the caller, or costs no more than it must."""

import os
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from mpo_core.proxy.metrics import _forget_the_dead
from mpo_core.proxy.overheard import Tokens
from mpo_core.proxy.planners import Source
from tests.planning_proxy import TASK, chat, planning_proxy, recording_upstream


@contextmanager
def raw_upstream(*connections):
    """The URL of a server that gives a connection's answers and closes it, one connection after
    the other, and the requests that it was sent."""
    seen = []

    def serve():
        for answers in connections:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    seen.append(connection.recv(65_536))
                    work_s, said = answer if isinstance(answer, tuple) else (0, answer)
                    time.sleep(work_s)
                    connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", seen


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nno", 502, None),
        (b"HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nno", 599, b"no"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n", 304, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nno\r\n0\r\n\r\n",
            200,
            b"no",
        ),
    ],
)
def test_an_answer_is_whole_whatever_its_headers_say(tmp_path, answer, status, body):
    with raw_upstream([answer]) as (url, _), planning_proxy(tmp_path, url) as proxy:
        answered = proxy.client.get(f"{proxy.url}/models")
        assert answered.status_code == status
        assert body is None or answered.content == body


def test_an_upstream_that_closes_a_new_connection_is_not_asked_twice(tmp_path):
    with raw_upstream([b""], [b""]) as (url, seen), planning_proxy(tmp_path, url) as proxy:
        assert proxy.ask(chat(TASK)).status_code == 502
        assert len(seen) == 1


def test_a_request_goes_once_more_where_a_kept_connection_turns_out_to_be_closed(tmp_path):
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with raw_upstream([ok, b""], [ok]) as (url, seen), planning_proxy(tmp_path, url) as proxy:
        for _ in range(2):
            assert proxy.client.get(f"{proxy.url}/models").content == b"ok"
        assert len(seen) == 3


@pytest.mark.slow
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_an_upstream_that_has_worked_on_a_request_is_not_asked_twice(tmp_path, said):
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    upstream = raw_upstream([ok, (0.2, said)], [ok])
    with upstream as (url, seen), planning_proxy(tmp_path, url) as proxy:
        assert [proxy.ask(chat(TASK)).status_code for _ in range(2)] == [200, 502]
        assert len(seen) == 2


def test_an_answer_that_is_too_long_is_no_plan(tmp_path):
    said = {"role": "assistant", "content": "Step 1: " + "Go on. " * 100_000}
    answer = {"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}
    with recording_upstream(answer=lambda body: answer) as planner:
        source = Source(endpoint=planner.url, model="planner")
        with planning_proxy(tmp_path, planners=source) as proxy:
            answered = proxy.ask(chat(TASK))
            assert answered.headers["x-mpo-why"] == "no plan: answer too long"
            assert proxy.upstream.last.json == chat(TASK)


def test_what_was_under_way_in_a_worker_that_died_is_forgotten(tmp_path):
    mine, dead = (tmp_path / f"gauge_livesum_{pid}.db" for pid in (os.getpid(), 2**22 + 1))
    counted = tmp_path / f"counter_{2**22 + 1}.db"
    for path in (mine, dead, counted):
        path.write_bytes(b"")
    _forget_the_dead(tmp_path)
    assert (mine.exists(), dead.exists(), counted.exists()) == (True, False, True)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", ["9" * 25, "9" * 400, "-1", "1.5"])
def test_an_odd_count_of_tokens_takes_nothing_from_others(tmp_path, tokens):
    with planning_proxy(tmp_path) as proxy:
        proxy.ask(chat(TASK), x_mpo_conversation="before")
        proxy.upstream.body = b'{"usage": {"prompt_tokens": %s}}' % tokens.encode()
        assert proxy.ask(chat(TASK), x_mpo_conversation="odd").status_code == 200
    with proxy.store() as store:
        assert store.usage()["before"].prompt_tokens == 11
        assert store.usage()["odd"].requests == 1


USAGES = [
    (
        b'{"usage": {"prompt_tokens": 12, "completion_tokens" : 7}, "token_ids": [%s1]}'
        % (b"1, " * 9000)
    ),
    b'{"usage": {"output_tokens": 7, "x": {"y": 1}, "input_tokens": 12\n}}',
    b'data: {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\n'
    b'data: {"usage": {"prompt_tokens": 12, "completion_tokens": 7}}\n\ndata: [DONE]\n\n',
    rb'{"text": "\"prompt_tokens\": 9, ", "usage": {"prompt_tokens": 12, "completion_tokens": 7}}',
]


@pytest.mark.parametrize("answer", USAGES)
@pytest.mark.parametrize("size", [1, 10, 100_000])
def test_tokens_are_counted_wherever_they_are_told(answer, size):
    tokens = Tokens()
    for k in range(0, len(answer), size):
        tokens.read(answer[k : k + size])
    assert (tokens.prompt, tokens.completion) == (12, 7)


def test_an_upstream_that_is_another_proxy_says_nothing_of_ours(tmp_path):
    said = {"x-mpo-conversation": "theirs", "X-MPO-Arm": "v9", "x-other": "1"}
    with recording_upstream(headers=said) as upstream, planning_proxy(tmp_path, upstream) as proxy:
        answer = proxy.ask(chat(TASK), x_mpo_conversation="ours")
        assert answer.headers.get_list("x-mpo-conversation") == ["ours"]
        assert answer.headers["x-mpo-arm"] == "v1" and answer.headers["x-other"] == "1"


def test_thought_before_an_upstream_that_is_down_is_a_bad_gateway(tmp_path):
    with planning_proxy(tmp_path, "http://127.0.0.1:9/v1", mode="thought") as proxy:
        assert proxy.ask(chat(TASK)).status_code == 502
