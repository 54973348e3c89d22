"""Rewards sent to a proxy, from an agent's own code and from files."""

import asyncio
import json
import threading
import time
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mpo_core
from mpo_core.errors import InputError, ModelUnavailable
from mpo_core.proxy import client
from mpo_core.proxy.records import read_feedback
from mpo_core.proxy.store import Store
from tests.callers import conversation
from tests.commandline import mpo_here


class Proxy:
    """Keeps feedback as the proxy does, behind its endpoint alone."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.fails = 0
        self.seen: list[tuple[str, dict, str | None]] = []
        self.keys: list[str | None] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                key = self.headers.get("authorization")
                proxy.seen.append((self.path, body, key))
                proxy.keys.append(self.headers.get("x-mpo-key"))
                status, told = proxy.answer(body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(told).encode())

            def log_message(self, *_) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, body: dict) -> tuple[int, dict]:
        if self.fails:
            self.fails -= 1
            return 503, {"error": {"message": "busy"}}
        kept = self.store.feedback(read_feedback(body, 1.0))
        return {"late": 409, "unknown": 404}.get(kept, 200), {"result": kept}


@pytest.fixture
def proxy(tmp_path, monkeypatch) -> Iterator[Proxy]:
    monkeypatch.setattr(client, "WAIT_S", 0.001)
    for name in (client.URL_ENV, client.KEY_ENV):
        monkeypatch.delenv(name, raising=False)
    server = Proxy(tmp_path / "proxy")
    for id in ("a", "b"):
        server.store.open_conversation(conversation(id, 1, None, "off"))
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def test_a_reward_is_reported_and_what_became_of_it_is_told(proxy, monkeypatch):
    assert mpo_core.feedback("a", 0.5, url=proxy.url) == "stored"
    monkeypatch.setenv(client.URL_ENV, f"{proxy.url}/v1/")
    monkeypatch.setenv(client.KEY_ENV, "secret")
    assert mpo_core.feedback("a", 0.5) == "repeated"
    assert mpo_core.feedback("a", 1, success=True) == "late"
    assert mpo_core.feedback("c", 1) == "unknown"
    assert mpo_core.feedback("b", 0.25, final=False) == "stored"
    assert [path for path, _, _ in proxy.seen] == ["/v1/mpo/feedback"] * 5
    assert [key for _, _, key in proxy.seen] == [None, *["Bearer secret"] * 4]
    assert proxy.seen[-1][1] == {"conversation": "b", "reward": 0.25, "final": False}


def test_it_may_be_called_where_a_loop_runs_already(proxy):
    async def notebook() -> str:
        return mpo_core.feedback("a", 1.0, url=proxy.url)

    assert asyncio.run(notebook()) == "stored"


@pytest.mark.slow
def test_a_proxy_that_is_busy_is_asked_again_and_one_that_is_gone_is_named(proxy):
    proxy.fails = client.TIMES - 1
    assert mpo_core.feedback("a", 1.0, url=proxy.url) == "stored"
    proxy.fails = client.TIMES
    with pytest.raises(ModelUnavailable, match="does not answer"):
        mpo_core.feedback("b", 1.0, url=proxy.url)
    with pytest.raises(ModelUnavailable, match="does not answer"):
        mpo_core.feedback("b", 1.0, url="http://127.0.0.1:9")


NO_URLS = [
    "127.0.0.1:8100",
    "ftp://host",
    "runs/proxy",
    "http://",
    "http://[::1",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:abc",
    "http://127.0.0.1:0",
    "http://h%20b",
    r"http://h\b",
    "http://..",
    "http://xn--a",
    "http://exa mple",
    "http://ex\0",
    "http://h\ud800",
    f"http://{'a' * 64}.de",
    "http://user:SECRET@host:abc",
    "http://us:SE/CRET@h",
    "user:SECRET@h:80",
    "http://u:S?SECRET@h",
]


@pytest.mark.parametrize("url", NO_URLS)
def test_what_is_no_url_is_refused_at_once(url):
    with pytest.raises(InputError, match="not a proxy's URL") as refused:
        mpo_core.feedback("a", 1.0, url=url)
    assert "SECRET" not in "".join(traceback.format_exception_only(refused.value))
    with pytest.raises(InputError, match="not a proxy's URL"):
        client.send([], url)


def test_a_url_of_the_environments_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv(client.URL_ENV, "runs/proxy")
    with pytest.raises(InputError, match=r"^MPO_PROXY_URL: runs/proxy: not a proxy's URL"):
        mpo_core.feedback("a", 1.0)


@example("0#", "http://")
@example("0/v1?#", "http://")
@given(st.text(), st.sampled_from(["", "http://", "http://h", "https://[", "http://u:SECRET@"]))
def test_whatever_is_given_as_url_is_one_line_of_fault_or_can_be_asked(text, start):
    try:
        where, login = client.address_of_proxy(start + text)
    except InputError as refused:
        assert "SECRET" not in str(refused) or "SECRET" in text
    else:
        assert httpx.URL(where).host and "?" not in where and "#" not in where
        assert login is None or httpx.URL(where).userinfo == b""


@pytest.mark.parametrize("query", ["?token=SECRET", "#SECRET", "/v1?a=1&token=SECRET"])
def test_a_query_is_refused_and_not_shown(query):
    with pytest.raises(InputError, match="without a query") as refused:
        mpo_core.feedback("a", 1.0, url=f"http://user:SECRET@h{query}")
    assert "SECRET" not in str(refused.value)


def test_a_login_in_the_url_is_sent_and_shown_nowhere(proxy, monkeypatch):
    url = proxy.url.replace("//", "//me:SECRET@")
    assert mpo_core.feedback("a", 0.5, url=url) == "stored"
    assert proxy.seen[-1][2] == "Basic bWU6U0VDUkVU"
    assert mpo_core.feedback("a", 0.5, url=url, key="k") == "repeated"
    assert proxy.seen[-1][2] == "Basic bWU6U0VDUkVU" and proxy.keys[-1] == "k"
    monkeypatch.setattr(proxy, "answer", lambda body: (503, {}))
    with pytest.raises(ModelUnavailable, match="HTTP 503") as failed:
        mpo_core.feedback("a", 1.0, url=url)
    assert "SECRET" not in "".join(traceback.format_exception(failed.value, chain=True))


@pytest.mark.parametrize("key", ["\u043a\u043b\u044e\u0447SECRET", "SE\nCRET", "SECRET\x7f"])
def test_a_key_that_cannot_be_sent_is_refused_by_name(key, monkeypatch):
    with pytest.raises(InputError, match=r"key .*cannot be sent in an HTTP header") as refused:
        mpo_core.feedback("a", 1.0, url="http://127.0.0.1:9", key=key)
    monkeypatch.setenv(client.KEY_ENV, key)
    with pytest.raises(InputError, match=client.KEY_ENV):
        mpo_core.feedback("a", 1.0, url="http://127.0.0.1:9")
    assert "SE" not in str(refused.value).replace(client.KEY_ENV, "")


@pytest.mark.parametrize("through", ["nonsense://h:1", "http://me:SECRET@h:abc"])
def test_a_proxy_of_the_environment_that_cannot_be_used_is_named(monkeypatch, through):
    monkeypatch.setenv("http_proxy", through)
    with pytest.raises(InputError, match=r"http_proxy=.* cannot be used") as refused:
        mpo_core.feedback("a", 1.0, url="http://proxy.example")
    assert "SECRET" not in str(refused.value)


def test_what_no_other_try_can_mend_is_not_tried_again(proxy, monkeypatch):
    monkeypatch.setattr(client, "WAIT_S", 5.0)
    before = time.monotonic()
    with pytest.raises(ModelUnavailable, match="TLS"):
        mpo_core.feedback("a", 1.0, url=proxy.url.replace("http:", "https:"))
    assert time.monotonic() - before < 3


def test_however_many_are_reported_a_few_are_under_way_in_each_conversations_order(monkeypatch):
    sent, most = [], 0

    async def keep(_, one):
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        await asyncio.sleep(0)
        sent.append((one.conversation, one.reward))
        return "stored"

    monkeypatch.setattr(client, "_sent", keep)
    rows = [(f"c{n % 300}", n / 1000) for n in range(1000)]
    reports = [read_feedback({"conversation": id, "reward": reward}, 1.0) for id, reward in rows]
    assert client.send(reports, "http://127.0.0.1:9") == ["stored"] * 1000
    assert most <= client.AT_ONCE + 1
    assert sorted(sent, key=lambda one: one[0]) == sorted(rows, key=lambda one: one[0])


def test_another_server_is_told_from_a_proxy_and_a_missing_key_is_named(proxy, monkeypatch):
    monkeypatch.setattr(proxy, "answer", lambda body: (404, {"detail": "Not Found"}))
    with pytest.raises(InputError, match=r"HTTP 404: .*Not Found.*is this a proxy's URL\?"):
        mpo_core.feedback("a", 1.0, url=proxy.url)
    monkeypatch.delenv("MPO_PROXY_KEY", raising=False)
    monkeypatch.setattr(proxy, "answer", lambda body: (401, {"error": {}}))
    with pytest.raises(InputError, match="wants the proxy's key; put that into MPO_PROXY_KEY"):
        mpo_core.feedback("a", 1.0, url=proxy.url)
    monkeypatch.setenv("MPO_PROXY_KEY", "wrong")
    with pytest.raises(InputError, match="the key is not the proxy's; put that into MPO_PROXY"):
        mpo_core.feedback("a", 1.0, url=proxy.url)
    # Behind a login the key has a header of its own.
    with pytest.raises(InputError, match="the key is not the proxy's; put that into MPO_PROXY"):
        mpo_core.feedback("a", 1.0, url=proxy.url.replace("://", "://u:p@"))


def rewards(folder: Path, *rows: object) -> str:
    path = folder / "rewards.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_file_of_rewards_goes_to_the_url_or_the_folder_and_once_only(proxy, tmp_path):
    path = rewards(
        tmp_path,
        {"conversation": "a", "reward": 0.25, "final": False},
        {"conversation": "a", "reward": 0.5, "success": None},
        {"conversation": "b", "reward": 1, "success": True},
        {"conversation": "c", "reward": 1},
    )
    done = mpo_here("feedback", path, "--url", proxy.url)
    assert done.stdout.splitlines() == [
        "4 rewards: 3 stored, 1 unknown",
        "1 unknown: the proxy has no such conversation",
    ]
    done = mpo_here("feedback", path, "--folder", str(tmp_path / "proxy"))
    assert done.stdout.splitlines()[0] == "4 rewards: 3 repeated, 1 unknown"
    assert {f.reward for f in proxy.store.rewards().values()} == {0.5, 1.0}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"conversation": "a", "reward": 2}, "row 2: reward: "),
        ({"id": "a", "reward": 1}, "row 2: conversation: missing; id: unknown key"),
        ([1], "row 2: feedback: expected an object"),
    ],
)
def test_a_file_with_a_fault_is_refused_whole(proxy, tmp_path, row, fault):
    path = rewards(tmp_path, {"conversation": "a", "reward": 1}, row)
    done = mpo_here("feedback", path, "--folder", str(tmp_path / "proxy"))
    assert done.returncode == 2 and fault in " ".join(done.stderr.split())
    assert proxy.store.rewards() == {}


def test_a_folder_that_is_no_proxys_is_refused(tmp_path):
    path = rewards(tmp_path, {"conversation": "a", "reward": 1})
    done = mpo_here("feedback", path, "--folder", str(tmp_path / "no"))
    assert done.returncode == 2 and "no proxy has kept anything here" in done.stderr
    assert not (tmp_path / "no").exists()
