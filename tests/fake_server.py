"""A fake OpenAI-compatible server, in place of the many real ones that no test machine can have.

What it does differently from a well-behaved server is data: a `Mode`. It answers planners with a
plan and agents with an action, so that whole runs work against it.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PLAN = "Step 1: Look around.\nStep 2: Go to the countertop."
ACTION = "Thought: I look.\nAction: go to countertop 1"
ERROR = {"error": {"message": "Bad.", "type": "invalid_request_error", "code": None}}


@dataclass(frozen=True)
class Mode:
    """One kind of server."""

    plan: str = PLAN
    action: str = ACTION
    """What a planner and an agent are answered; a given beginning is gone on from."""
    message: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every answer's message, or others in place of the usual ones."""
    finish_reason: str | None = "stop"
    usage: Any = field(default_factory=lambda: {"prompt_tokens": 7, "completion_tokens": 3})
    ignores: frozenset[str] = frozenset()
    """Of `n`, `stop`, `prefill`, `max_completion_tokens`: taken, but not heeded. `echo`: the given
    beginning is said again before what follows it."""
    refuses: Mapping[str, tuple[int, Any]] = field(default_factory=dict)
    """Field of a request -> status and body of the refusal; `n` of more than one, `prefill`."""
    fails: tuple[int, Any] | None = None
    """Status and body in place of every answer."""
    fails_after: int = 0
    """Completions that succeed before `fails` begins."""
    fails_times: int | None = None
    """Times that `fails` is met before all is well."""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    context: int | None = None
    """What `/v1/models` says of the context length."""


class FakeServer:
    """A running server; `asked` are the bodies of the completions it was asked for."""

    def __init__(self, mode: Mode, host: str = "127.0.0.1") -> None:
        self.mode = mode
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.seen_headers: list[dict[str, str]] = []
        self.failed = 0
        self._lock = threading.Lock()
        self._http = _Quiet((host, 0), _handler(self))
        self.url = f"http://{host}:{self._http.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and body of the answer to a completion."""
        mode = self.mode
        with self._lock:
            self.asked.append(body)
            due = len(self.asked) > mode.fails_after
            if mode.fails and due and (mode.fails_times is None or self.failed < mode.fails_times):
                self.failed += 1
                return mode.fails
        prefix = body["messages"][-1]["role"] == "assistant"
        held = {**body, **({"prefill": True} if prefix else {})}
        if body.get("n", 1) == 1:
            held.pop("n", None)
        for name, refusal in mode.refuses.items():
            if name in held:
                return refusal
        samples = 1 if "n" in mode.ignores else body.get("n", 1)
        message = {"role": "assistant", "content": self._text(body), **mode.message}
        choices = [
            {"index": k, "message": message, "finish_reason": mode.finish_reason}
            for k in range(samples)
        ]
        answer = {"id": "fake", "object": "chat.completion", "choices": choices}
        return 200, answer | ({"usage": mode.usage} if mode.usage is not ... else {})

    def _text(self, body: dict[str, Any]) -> str:
        mode, last = self.mode, body["messages"][-1]
        told = "\n".join(m["content"] for m in body["messages"])
        text = mode.action if "Action:" in told else mode.plan
        if last["role"] == "assistant" and "prefill" not in mode.ignores:
            begun = last["content"]
            label = begun.rstrip().rpartition("\n")[2]
            goes_on = (
                text.partition("Action:")[2] if label == "Action:" else text.partition("\n")[2]
            )
            text = begun + goes_on if "echo" in mode.ignores else goes_on
        if "stop" not in mode.ignores:
            for word in body.get("stop") or ():
                text = text.partition(word)[0]
        return text

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def fake_server(mode: Mode | None = None, host: str = "127.0.0.1") -> Iterator[FakeServer]:
    """A server on a free port of loopback, as long as the block lasts."""
    server = FakeServer(mode or Mode(), host)
    thread = threading.Thread(target=server._http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that left does not matter."""


def _handler(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            row = {"id": "fake", "max_model_len": server.mode.context}
            listed = {"object": "list", "data": [{k: v for k, v in row.items() if v}]}
            self._say(200, listed, "application/json")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.paths.append(self.path)
            server.seen_headers.append({k.lower(): v for k, v in self.headers.items()})
            status, answer = server.answer(body)
            self._say(status, answer, server.mode.content_type)

        def _say(self, status: int, answer: Any, content_type: str) -> None:
            if isinstance(answer, bytes):
                data = answer
            else:
                text = answer if isinstance(answer, str) else json.dumps(answer)
                data = text.encode()
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(data)))
            for name, value in server.mode.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
