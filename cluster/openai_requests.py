"""Reads the body of an OpenAI request, and refuses what is none or asks for what is not served.

Fields are taken by name from `FIELDS`, and of messages only text. vLLM knows many more, and some of
them read files and addresses, run templates, load tensors or reach into the engine: these are
refused by name. Fields that nobody knows are left out, as OpenAI's clients send some.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

MAX_BYTES = 32 * 1024**2
MAX_ANSWERS = 128
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
# fmt: off
FIELDS = {
    # OpenAI's.
    "messages", "prompt", "model", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs",
    "max_tokens", "max_completion_tokens", "n", "presence_penalty", "response_format", "seed",
    "stop", "stream", "stream_options", "temperature", "top_p", "tools", "tool_choice",
    "parallel_tool_calls", "reasoning_effort", "user", "echo", "suffix",
    # vLLM's, on how to sample and what to tell of it.
    "top_k", "min_p", "repetition_penalty", "stop_token_ids", "include_stop_str_in_output",
    "ignore_eos", "min_tokens", "skip_special_tokens", "spaces_between_special_tokens",
    "truncate_prompt_tokens", "truncation_side", "prompt_logprobs", "allowed_token_ids",
    "bad_words", "return_tokens_as_token_ids", "return_token_ids", "include_reasoning",
    # vLLM's, on how messages become a prompt.
    "add_generation_prompt", "continue_final_message", "add_special_tokens",
    "chat_template_kwargs",
}
# fmt: on


class Refused(Exception):
    """A request that is answered with an error, in OpenAI's form."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status

    def as_openai(self) -> dict[str, Any]:
        """The error's object in the answer."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"message": self.message, "type": kind, "param": self.param, "code": self.code}


def read_body(content_type: str, data: bytes) -> dict[str, Any]:
    """A request's JSON object.

    Raises:
        Refused: it is of another type or no JSON object, or holds what is no text: a NUL, half of
            a surrogate pair, or a number that is not finite.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        said = f"Content-Type: application/json is needed, not {content_type or 'none'}"
        raise Refused(said, status=415)
    if len(data) > MAX_BYTES:
        raise Refused(f"the body has more than {MAX_BYTES >> 20} MiB", status=413)
    try:
        body = json.loads(data.decode(), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused("the body is no JSON object")
    for text in _texts(body):
        if "\0" in text or not _encodable(text):
            raise Refused("the body holds a NUL or half of a surrogate pair, which are no text")
    return body


def served_fields(body: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The fields of a request that are handed on.

    Args:
        known: the fields that the engine knows for such a request.

    Raises:
        Refused: a field is unfit or not served; `param` names it.
    """
    for name in known:
        if body.get(name) is not None and name not in FIELDS:
            raise Refused(f"{name}: not served here", param=name)
    if "messages" in known:
        _check_messages(body.get("messages"))
    if isinstance(body.get("n"), int) and body["n"] > MAX_ANSWERS:
        raise Refused(f"n: {MAX_ANSWERS} answers at most", param="n")
    return {name: value for name, value in body.items() if name in FIELDS}


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refused("messages: a list of at least one message", param="messages")
    for k, message in enumerate(messages):
        at = f"messages[{k}]"
        if not isinstance(message, dict):
            raise Refused(f"{at}: a message is an object", param=at)
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            known = ", ".join(ROLES)
            raise Refused(f"{at}.role: {role!r} is none of {known}", param=f"{at}.role")
        if content is None and role == "assistant":
            continue
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        if not all(
            isinstance(part, dict)
            and part.get("type") == "text"
            and isinstance(part.get("text"), str)
            for part in parts
        ):
            raise Refused(f"{at}.content: text only", param=f"{at}.content")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"{text} is no finite number")
    return number


def _texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys included."""
    open_ = [value]
    while open_:
        item = open_.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            open_ += [*item, *item.values()]
        elif isinstance(item, list):
            open_ += item


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
