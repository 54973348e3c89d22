"""What servers say when they refuse a request, and what is made of it."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.errors import ContextFull
from mpo_core.refusals import (
    Refused,
    TryAgain,
    clean,
    failure_of,
    refused_fields,
    says_context_full,
    server_words,
)

# Status and body in the form of each server's refusal of a prompt that is too long.
FULL = {
    "vllm": (400, "This model's maximum context length is 64 tokens. However, you requested 80."),
    "vllm engine": (400, "The decoder prompt (length 90) is longer than the maximum model length"),
    "vllm room": (
        400,
        "'max_tokens' or 'max_completion_tokens' is too large: 512. This model's "
        "maximum context length is 256 tokens and your request has 100 input tokens",
    ),
    "sglang": (400, "The input (90 tokens) is longer than the model's context length (64 tokens)."),
    "sglang sum": (400, "Requested token count exceeds the model's maximum context length of 64"),
    "llama.cpp": (
        400,
        {
            "error": {
                "code": 400,
                "type": "exceed_context_size_error",
                "message": "the request exceeds the available context size, try increasing it",
            }
        },
    ),
    "llama.cpp 500": (500, {"error": {"code": 500, "message": "context shift is disabled"}}),
    "llama.cpp kv": (500, "the request exceeds the available context size. try increasing it"),
    "llama.cpp batch": (500, "input is too large to process. increase the physical batch size"),
    "llama-cpp-python": (
        400,
        {
            "error": {
                "code": "context_length_exceeded",
                "message": "maximum context length is 64 tokens, however you requested 80",
            }
        },
    ),
    "llama-cpp-python 500": (500, "Requested tokens (80) exceed context window of 64"),
    "ollama": (400, {"error": "the input length exceeds the context length"}),
    "ollama prompt": (400, {"error": "prompt too long; exceeded max context length by 9 tokens"}),
    "lm studio": (
        400,
        {
            "error": "Trying to keep the first 90 tokens when context the overflows. "
            "However, the model is loaded with context length of only 64 tokens"
        },
    ),
    "tgi": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= "
            "64. Given: 80 `inputs` tokens and 16 `max_new_tokens`",
            "error_type": "validation",
        },
    ),
    "tgi inputs": (
        422,
        "Input validation error: `inputs` must have less than 64 tokens. Given: 80",
    ),
    "tensorrt-llm": (400, "prompt length (90) exceeds maximum input length (64)"),
    "lmdeploy": (400, "input token length is larger than session_len"),
    "anthropic": (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "prompt is too long: 210000 tokens > 200000 maximum",
            },
        },
    ),
    "anthropic sum": (400, "input length and `max_tokens` exceed context limit: 19 + 20 > 30"),
    "anthropic bytes": (413, {"type": "error", "error": {"type": "request_too_large"}}),
    "bedrock": (400, {"message": "Input is too long for requested model."}),
    "bedrock tokens": (400, {"message": "Too many input tokens for this model"}),
    "gemini": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "status": "INVALID_ARGUMENT",
                    "message": "The input "
                    "token count (90) exceeds the maximum number of tokens allowed (64).",
                }
            }
        ],
    ),
    "groq": (
        400,
        {
            "error": {
                "message": "Please reduce the length of the messages or completion.",
                "code": "context_length_exceeded",
            }
        },
    ),
    "azure": (
        400,
        {
            "error": {
                "code": "context_length_exceeded",
                "param": "messages",
                "message": "Your messages resulted in 90 tokens.",
            }
        },
    ),
    "azure limit": (400, "Input tokens exceed the configured limit of 64 tokens."),
    "openai": (400, "Your input exceeds the context window of this model."),
    "mistral": (400, "Prompt contains 90 tokens, too large for model with 64 maximum context len"),
    "cohere": (400, "too many tokens: total number of tokens in the prompt cannot exceed 64"),
    "xai": (400, "This model's maximum prompt length is 64 but the request contains 90 tokens."),
    "litellm": (400, "litellm.ContextWindowExceededError: ContextWindowExceededError: xyz"),
    "vllm no room": (400, "max_tokens must be at least 1, got -92."),
    "koboldcpp": (400, "The prompt is larger than the context"),
    "mlx": (400, "Prompt exceeds max_kv_size"),
    "dashscope": (400, "Range of input length should be [1, 64]"),
    "zhipu": (400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    "moonshot": (400, {"error": {"message": "Your request exceeded model token limit: 64"}}),
    "baidu": (400, {"error_code": 336007, "error_msg": "the max input characters is 64"}),
    "perplexity": (400, {"error": {"message": "Requested tokens exceed limit"}}),
    "together": (400, "The number of tokens in the prompt (90) exceeds the model's limit"),
    "watsonx": (
        400,
        {"errors": [{"message": "the number of input tokens 90 cannot exceed the total tokens"}]},
    ),
    "a proxy": (413, "<html>413 Request Entity Too Large</html>"),
    "of its window": (400, "Requested 90 tokens but the model's window is 64"),
    "of its limit": (400, "prompt is 90 tokens, but the limit is 64"),
    "of its support": (400, "This model only supports 64 tokens of context, got 90"),
    "a code": (400, {"error": {"code": "too_many_tokens"}}),
    "vllm, negative": (400, "max_tokens must be at least 1, got -37."),
    "sglang allowed": (
        400,
        "Input length (90 tokens) exceeds the maximum allowed length (64 tokens).",
    ),
    "moonshot, plain": (400, "Invalid request: Your request exceeded model token limit: 64"),
    "zhipu, Chinese": (400, {"error": {"code": "1261", "message": "Prompt 超长"}}),
    "tabbyapi": (400, {"detail": "Prompt length 90 is greater than max_seq_len 64"}),
    "a gateway's raw words": (
        400,
        {"error": {"message": "Provider error", "metadata": {"raw": "prompt is too long: 9 > 4"}}},
    ),
    "in a 200": (0, {"error": {"message": "This endpoint's maximum context length is 64 tokens."}}),
}


@pytest.mark.parametrize("server", FULL)
def test_a_full_context_is_known_whoever_says_so(server):
    status, body = FULL[server]
    text = body if isinstance(body, str) else json.dumps(body)
    assert isinstance(failure_of(status, text), ContextFull)


@pytest.mark.parametrize(
    "words",
    [
        "Unsupported parameter: 'temperature'",
        "The model `gpt-9` does not exist",
        "Incorrect API key provided",
        "max_tokens must be at least 1",
        "Extra inputs are not permitted",
        "Rate limit reached for requests",
        "Image input is not supported",
        "You exceeded your monthly token limit",
        "max_tokens must be at least 1, got 0",
    ],
)
def test_other_refusals_are_no_full_context(words):
    assert not says_context_full(words)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        *((status, "no", Refused) for status in (400, 401, 402, 403, 404, 405, 413, 422, 501)),
        *((status, "no", TryAgain) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
        (429, '{"error": {"code": "insufficient_quota"}}', Refused),
        (429, "You exceeded your current quota, please check your plan and billing", Refused),
        (429, "Insufficient balance", Refused),
        # A quota that comes back in seconds is said in the same words.
        (429, "You exceeded your current quota. Please retry in 33.4s.", TryAgain),
        (429, '{"error": {"details": [{"retryDelay": "33s"}], "message": "quota"}}', TryAgain),
        (413, "Request too large for model on tokens per minute (TPM): Limit 6000", Refused),
        (500, "Assistant response prefill is incompatible with enable_thinking.", Refused),
    ],
)
def test_what_waiting_may_mend_is_tried_again_and_nothing_else(status, body, kind):
    assert type(failure_of(status, body)) is kind


def test_the_wait_that_a_server_asks_for_is_kept():
    assert failure_of(429, "slow down", {"retry-after": "7"}).wait_s == 7
    assert failure_of(429, "Please try again in 1.5s.").wait_s == 1.5
    assert failure_of(429, "Please try again in 200ms.").wait_s == pytest.approx(0.2)
    assert failure_of(503, "busy").wait_s is None
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert failure_of(429, "slow down", {"retry-after": soon}).wait_s == pytest.approx(30, abs=2)
    assert failure_of(429, "slow down", {"retry-after": "soon"}).wait_s is None
    assert failure_of(429, "Please try again in 1m2.5s.").wait_s == 62.5
    assert isinstance(failure_of(429, "Rate limit. Please try again in 27m36.5s."), Refused)
    assert isinstance(failure_of(429, "slow down", {"retry-after": "86400"}), Refused)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"error": {"message": "A."}}, "A."),
        ({"error": "B."}, "B."),
        ({"message": "C."}, "C."),
        ({"detail": [{"loc": ["body", "seed"], "msg": "D"}]}, "D"),
        ([{"error": {"message": "E."}}], "E."),
        ({"object": "error", "message": "F.\nG."}, "F. G."),
        ({"error": {"message": "Gate.", "metadata": {"raw": "H."}}}, "Gate.; H."),
        ("plain words", "plain words"),
        ("", "(nothing)"),
    ],
)
def test_the_servers_own_words_are_found_wherever_they_stand(body, says):
    assert says in server_words(body if isinstance(body, str) else json.dumps(body))


@given(st.integers(0, 599), st.text())
def test_whatever_a_server_refuses_with_is_one_line(status, body):
    assert "\n" not in str(failure_of(status, body))


surrogates = st.text(st.characters(exclude_categories=()) | st.just("\0"))


@given(surrogates)
def test_cleaned_text_can_be_written_anywhere_and_keeps_what_could_be(text):
    cleaned = clean(text)
    cleaned.encode()
    assert "\0" not in cleaned
    if "\0" not in text and text.isprintable():
        assert cleaned == text


def test_halves_of_one_character_are_joined():
    assert clean("\ud83d\ude00") == "\U0001f600"
    assert clean("a\ud83d") == "a�"


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("Only one completion choice is allowed", "n"),
        ("Unsupported parameter: 'n'", "n"),
        ("n must be 1", "n"),
        ("Multiple candidates is not enabled", "n"),
        ("Extra inputs are not permitted: seed", "seed"),
        ("Unsupported parameter: 'stop' is not supported with this model.", "stop"),
        ("extra_forbidden continue_final_message", "prefill"),
        ("This model does not support assistant message prefill.", "prefill"),
        ("Expected last role User or Tool for serving; the last message is assistant", "prefill"),
        ("Expected last role User or Tool for serving but got assistant", "prefill"),
        ("final assistant content cannot end with trailing whitespace", "prefill"),
        ("'messages' must contain user last", "prefill"),
        ("Assistant response prefill is incompatible with enable_thinking.", "prefill"),
        ("unknown field max_completion_tokens", "max_completion_tokens"),
        ("Unrecognized request argument supplied: chat_template_kwargs", "reasoning"),
        ("Extra inputs are not permitted", "reasoning"),
        ("parameter n: must be <= 1", "n"),
        ("llama does not support thinking", "reasoning"),
        ("max_tokens: Field required", "max_completion_tokens"),
    ],
)
def test_what_a_refusal_names_is_found(words, field):
    sent = ["n", "prefill", "stop", "seed", "max_completion_tokens", "reasoning"]
    assert refused_fields(words, sent) == [field]
