import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.completions import read_completion, replies_of
from mpo_core.errors import ContextFull, InputError
from mpo_core.refusals import (
    TryAgain,
)


def completion(message: dict, **choice) -> dict:
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}]}


@pytest.mark.parametrize(
    ("message", "ended", "text", "reasoning", "fault"),
    [
        ({"content": "a"}, "stop", "a", "", ""),
        ({"content": "<think>b</think>a"}, "stop", "a", "b", ""),
        ({"content": "a", "reasoning_content": "b"}, "stop", "a", "b", ""),
        ({"content": "a", "reasoning": "b"}, "stop", "a", "b", ""),
        ({"content": "a", "thinking": "b"}, "stop", "a", "b", ""),
        ({"content": None, "reasoning_content": "b"}, "length", "", "b", "only reasoning"),
        ({"content": "<think>b"}, "length", "", "b", "only reasoning"),
        ({"content": None}, "stop", "", "", "empty"),
        # All tokens were spent, and on nothing that is shown.
        ({"content": None}, "length", "", "", "only reasoning"),
        ({"content": ""}, "MAX_TOKENS", "", "", "only reasoning"),
        ({"content": "\n\n"}, "length", "\n\n", "", "empty"),
        ({}, "stop", "", "", "empty"),
        ({"content": ""}, "content_filter", "", "", "content filter"),
        ({"content": None, "refusal": "No."}, "stop", "", "", "refusal"),
        ({"content": None, "tool_calls": [{"id": 1}]}, "tool_calls", "", "", "tool call"),
        ({"content": [{"type": "text", "text": "a"}]}, "stop", "a", "", ""),
        (
            {"content": [{"type": "thinking", "thinking": "b"}, {"type": "text", "text": "a"}]},
            "end_turn",
            "a",
            "b",
            "",
        ),
        ({"content": ["a", {"text": "b"}, 3, None]}, None, "ab", "", ""),
        ({"content": 5}, "eos_token", "", "", "empty"),
        ({"content": "a", "reasoning": [{"type": "thinking", "thinking": "b"}]}, "", "a", "b", ""),
        (
            {"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "b"}]},
            "stop",
            "",
            "b",
            "only reasoning",
        ),
    ],
)
def test_answer_reasoning_and_fault_of_a_message(message, ended, text, reasoning, fault):
    [reply] = replies_of(completion(message, finish_reason=ended))
    assert (reply.text, reply.reasoning, reply.fault) == (text, reasoning, fault)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
        ({"prompt_tokens": None, "completion_tokens": 3}, (0, 3)),
        ({"prompt_tokens": 7.9, "completion_tokens": "3"}, (7, 3)),
        ({"prompt_tokens": float("nan"), "completion_tokens": -1}, (0, 0)),
        ({}, (0, 0)),
        (None, (0, 0)),
        ([], (0, 0)),
    ],
)
def test_tokens_are_counted_where_they_are_told(usage, counts):
    [reply] = replies_of(completion({"content": "a"}) | {"usage": usage})
    assert (reply.prompt_tokens, reply.completion_tokens) == counts
    assert reply.cached_tokens is None


@pytest.mark.parametrize(
    ("details", "cached"),
    [
        ({"cached_tokens": 5}, 5),
        ({"cached_tokens": 0}, 0),
        ({"cached_tokens": None}, None),
        ({"audio_tokens": 1}, None),
        (None, None),
        ([], None),
    ],
)
def test_what_the_cache_had_is_known_where_it_is_told(details, cached):
    usage = {"prompt_tokens": 7, "prompt_tokens_details": details}
    [reply] = replies_of(completion({"content": "a"}) | {"usage": usage})
    assert reply.cached_tokens == cached


@pytest.mark.parametrize(
    ("text", "kind", "error"),
    [
        ("<html>login", "text/html", InputError),
        ("<!doctype html>", "application/json", InputError),
        ("data: {}\n\n", "text/event-stream", InputError),
        ("", "application/json", TryAgain),
        ('{"choices": [{"message"', "application/json", TryAgain),
        ('{"choices": null}', "application/json", TryAgain),
        ('{"choices": []}', "application/json", TryAgain),
        ('{"choices": [null]}', "application/json", TryAgain),
        ('{"choices": [{"message": null}]}', "application/json", TryAgain),
        ("[]", "application/json", TryAgain),
        ("3", "application/json", TryAgain),
        ('{"error": {"message": "overloaded", "code": 502}}', "application/json", TryAgain),
        ('{"error": {"message": "no credits", "code": 402}}', "application/json", InputError),
        ('{"error": "boom"}', "application/json", TryAgain),
        ('{"choices": [{"error": {"code": 400}}]}', "application/json", InputError),
        ("[" * 100_000, "application/json", TryAgain),
        ('{"object": "error", "message": "no such model", "code": 404}', "", InputError),
        ('{"detail": "Model not found"}', "application/json", TryAgain),
        ('{"choices": [{"finish_reason": "error", "message": {"content": ""}}]}', "", TryAgain),
        ("data: [DONE]\n\n", "text/event-stream", InputError),
        ('data: {"error": {"message": "no", "code": 400}}\n\n', "text/event-stream", InputError),
        ('data: {"error": {"message": "busy"}}\n\n', "text/event-stream", TryAgain),
    ],
)
def test_a_body_without_a_sample_is_one_line(text, kind, error):
    with pytest.raises(error) as raised:
        read_completion(text, kind)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("body", [3, [], "hello", {"response": "Step 1: Go", "done": True}])
def test_an_answer_of_another_api_is_shown_and_the_address_doubted(body):
    with pytest.raises(TryAgain, match="is the endpoint an OpenAI-compatible base URL") as raised:
        read_completion(json.dumps(body))
    assert json.dumps(body) in str(raised.value)


WHOLE = json.dumps({"choices": [{"message": {"content": "ab"}}]})


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("\ufeff" + WHOLE, "application/json"),
        ("\n\n  " + WHOLE + "\n", "application/json"),
        (WHOLE + "\n\ndata: [DONE]", "application/json"),
        (": WAIT\n\n: WAIT\n\n" + WHOLE, "application/json"),
        (WHOLE, "text/html; charset=utf-8"),
        (WHOLE, "text/plain"),
        ('{"choices": [{"delta": {"content": "ab"}}]}', "application/json"),
        ('{"choices": [{"message": "ab"}]}', "application/json"),
        ('{"choices": [{"text": "ab"}]}', "application/json"),
        ('{"choices": {"message": {"content": "ab"}}}', "application/json"),
        ('{"model": "m", "message": {"content": "ab"}, "done": true}', "application/json"),
        (
            '{"message": {"content": "a"}, "done": false}\n{"message": {"content": "b"}}\n',
            "application/x-ndjson",
        ),
        (
            ': WAIT\n\ndata: {"choices": [{"delta": {"role": "assistant", "content": "a"}}]}\n\n'
            'data: {"choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}]}\n\n'
            'data: {"choices": [], "usage": {"prompt_tokens": 1}}\n\ndata: [DONE]\n\n',
            "text/event-stream",
        ),
    ],
)
def test_a_sample_is_read_in_whatever_form_it_comes(text, kind):
    [reply] = read_completion(text, kind)
    assert reply.text == "ab"


@pytest.mark.parametrize("choice", [{}, {"message": None}])
def test_an_answer_that_a_filter_left_nothing_of_is_one(choice):
    [reply] = replies_of({"choices": [choice | {"finish_reason": "content_filter"}]})
    assert reply.fault == "content filter"


def test_streamed_samples_are_told_apart_by_their_index():
    events = [(0, "a"), (1, "c"), (0, "b"), (1, "d")]
    parts = [{"choices": [{"index": k, "delta": {"content": t}}]} for k, t in events]
    text = "\r\n\r\n".join(f"data: {json.dumps(part)}" for part in parts)
    assert [reply.text for reply in read_completion(text, "text/event-stream")] == ["ab", "cd"]


@given(st.text() | st.text().map("data: {}\ndata:".__add__))
def test_whatever_body_a_server_sends_is_samples_or_one_of_the_known_failures(text):
    try:
        read_completion(text)
    except (TryAgain, InputError, ContextFull) as error:
        assert "\n" not in str(error)


FIELDS = [
    *("choices", "message", "content", "usage", "error", "code", "text", "tool_calls"),
    *("prompt_tokens", "finish_reason", "reasoning", "refusal", "type"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_whatever_json_a_server_sends_is_samples_or_one_of_the_known_failures(body):
    try:
        replies = replies_of(body)
    except (TryAgain, InputError, ContextFull):
        return
    assert all(isinstance(reply.text, str) for reply in replies)
    json.dumps([reply.text for reply in replies]).encode()


@pytest.mark.parametrize(
    ("prefix", "text", "said", "whole"),
    [
        ("", "Action: go", "Action: go", False),
        ("Action:", " go", " go", False),
        ("Action:", "Action: go", "Action: go", True),
        ("Action:", "Thought: look", "Thought: look", True),
        ("Action:", "**Action:** go", "**Action:** go", True),
        ("Action:", "Action:", "", True),
        ("Action:", "Sure! I go.\n\nAction: go", "Sure! I go.\n\nAction: go", True),
        ("Action:", "Here's my next move.", "Here's my next move.", True),
        ("Action:", "I go first.\n**Action:** go", "I go first.\n**Action:** go", True),
        ("Thought: P.\n", "Action: go", "Action: go", False),
        ("Thought: P.\n", "Thought: Q.\nAction: go", "Thought: Q.\nAction: go", True),
        ("Thought: P.\nAction:", "Thought: P.\nAction: go", "Thought: P.\nAction: go", True),
    ],
)
def test_an_answer_goes_on_from_its_beginning_or_stands_by_itself(prefix, text, said, whole):
    [reply] = replies_of(completion({"content": text}), prefix)
    assert (reply.text, reply.whole) == (said, whole)
