"""Reads the body of an OpenAI request, and refuses what is none or asks for what is not served.

Fields are taken by name from `FIELDS`, and of messages only text. vLLM knows many more, and some of
them read files and addresses, run templates, load tensors or reach into the engine: these are
refused by name. Fields that nobody knows are left out, as OpenAI's clients send some.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic
from ray.llm._internal.common.errors import VLLM_CLIENT_ERRORS
from ray.llm._internal.serve.core.ingress.utils import _sanitize_chat_completion_request

R = TypeVar("R", bound=pydantic.BaseModel)

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
    # Of tokenize and detokenize.
    "tokens", "return_token_strs",
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


def request_of(kind: type[R], body: Mapping[str, Any]) -> R:
    """A request of a kind.

    Raises:
        Refused: a field is unfit or not served; `param` names it.
    """
    for name in kind.model_fields.keys() & body.keys() - FIELDS:
        if body[name] is not None:
            raise Refused(f"{name}: not served here", param=name)
    if "messages" in kind.model_fields:
        _check_messages(body.get("messages"))
    given = body.get("chat_template_kwargs") or {}
    if not isinstance(given, dict) or "chat_template" in given or _nested(given):
        said = "chat_template_kwargs: switches of the model's own template only"
        raise Refused(said, param="chat_template_kwargs")
    if isinstance(body.get("n"), int) and body["n"] > MAX_ANSWERS:
        raise Refused(f"n: {MAX_ANSWERS} answers at most", param="n")
    known = {name: value for name, value in body.items() if name in FIELDS}
    try:
        request = kind.model_validate(known)
        # Parts of messages are checked when they are read, which is here.
        return _sanitize_chat_completion_request(request) if "messages" in known else request
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"] if part != "body") or None
        raise Refused(f"{param or 'body'}: {first['msg']}", param=param) from error
    except (ValueError, TypeError, *VLLM_CLIENT_ERRORS) as error:
        raise Refused(
            str(error).splitlines()[0], param=getattr(error, "parameter", None)
        ) from error


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


def _texts(value: Any):
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


def _nested(given: Mapping[str, Any]) -> bool:
    return any(isinstance(value, (dict, list)) for value in given.values())


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
