"""A served model's client, with a handle in the place of Ray Serve's."""

import asyncio
from dataclasses import dataclass, field

import pytest

from cluster import serving
from mpo_core.chat import ChatRequest
from mpo_core.config import ServedModelConfig
from mpo_core.errors import ContextFull, InputError, ModelUnavailable

HELLO = [{"role": "user", "content": "Hello"}]
SAID = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}


@dataclass
class Handle:
    """Answers each request with the next of `answers`; the last stays."""

    answers: list
    made: list = field(default_factory=list)
    """The options and the requests of each call."""
    chosen: dict = field(default_factory=dict)

    def options(self, **chosen):
        return Handle(self.answers, self.made, self.chosen | chosen)

    @property
    def chats(self):
        return self

    def remote(self, requests, gather_s):
        self.made.append((self.chosen, requests))
        return self._stream(requests)

    async def _stream(self, requests):
        for index in range(len(requests)):
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            yield [(index, answer)]


@pytest.fixture
def client(monkeypatch):
    def make(*answers, name="m", **config):
        handle = Handle(list(answers) or [SAID])
        monkeypatch.setattr(serving.serve, "get_deployment_handle", lambda *_: handle)
        engine = serving.Engine("m", ServedModelConfig(source="a/b", **config), "a/b")
        return serving.HandleModel(name, "fingerprint", engine), handle.made

    return make


def chat(model, *sessions):
    async def ask():
        asked = (model.chat(ChatRequest(HELLO, session=session)) for session in sessions)
        return [reply.text for [reply] in await asyncio.gather(*asked)]

    return asyncio.run(ask())


def test_requests_to_one_replica_share_a_call(client):
    model, made = client()
    assert chat(model, "a", "b", "a") == ["Hi"] * 3
    [(chosen, requests)] = made
    assert len(requests) == 3 and "session_id" not in chosen


def test_among_several_replicas_each_request_goes_where_its_session_is(client):
    model, made = client(replicas=2)
    assert chat(model, "a", "b", "a", "") == ["Hi"] * 4
    assert sorted(chosen.get("session_id", "") for chosen, _ in made) == ["", "a", "a", "b"]
    assert all(len(requests) == 1 for _, requests in made)


@pytest.mark.parametrize("name, asked", [("m", {}), ("m:1", {"multiplexed_model_id": "m:1"})])
def test_a_version_is_asked_for_by_its_name(client, name, asked):
    model, made = client(name=name)
    chat(model, "a")
    [(chosen, [request])] = made
    assert chosen == {"stream": True} | asked and request["model"] == name


@pytest.mark.slow
@pytest.mark.parametrize(
    "failure", [{"failed": "a step failed"}, serving.serve.exceptions.RayServeException("gone")]
)
def test_what_failed_is_asked_again(client, failure):
    model, made = client(failure, SAID)
    assert chat(model, "a") == ["Hi"]
    assert len(made) == 2
    model, made = client(failure, retries=0)
    with pytest.raises(ModelUnavailable, match=r"model m: .*(a step failed|gone)"):
        chat(model, "a")


@pytest.mark.parametrize(
    "message, raised",
    [
        ("This model's maximum context length is 8 tokens.", ContextFull),
        ("temperature must be a number", InputError),
    ],
)
def test_what_is_refused_is_not_asked_again(client, message, raised):
    model, made = client({"error": {"message": message, "code": 400}})
    with pytest.raises(raised):
        chat(model, "a")
    assert len(made) == 1
