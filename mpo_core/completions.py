"""What an OpenAI-shaped answer means: the samples in it, or why there are none.

Servers that call themselves compatible differ in what they leave out and in how they wrap the
rest. Here alone is decided what their answers mean; what their refusals mean, in
`mpo_core.refusals`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mpo_core.reading import split_reasoning
from mpo_core.refusals import Refused, TryAgain, beginning, clean, error_status, failure_of

UNUSABLE = (
    *("empty", "empty action", "only reasoning", "refusal", "content filter", "tool call", "cut"),
)
"""Faults of a reply that say nothing about a plan: none of its model's words is an answer."""


@dataclass(frozen=True)
class Reply:
    """One sample of a model. Tokens of a shared prompt are counted once, with the first sample."""

    text: str
    """The answer alone, without what the model thought."""
    truncated: bool = False
    """The answer was cut at `max_tokens`."""
    reasoning: str = ""
    """What the model thought before it answered, where it says so."""
    fault: str = ""
    """Why there is no answer: one of `UNUSABLE`."""
    whole: bool = False
    """The answer does not go on from the beginning that it was given, but stands by itself."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    """Of the prompt's, those that the server found in its cache; None where it does not say."""


def read_completion(
    text: str, content_type: str = "application/json", prefix: str = ""
) -> list[Reply]:
    """The samples in the body of a chat completion.

    Args:
        prefix: the beginning of the answer that the model was given to go on from.

    Raises:
        ContextFull, Refused: the body is an error that says so.
        TryAgain: the body is cut, or holds no sample.
    """
    kind, text = content_type.partition(";")[0].strip().lower(), text.removeprefix("\ufeff")
    body = streamed(text) or _json(text)
    begins = text.lstrip()[:1]
    strange = kind == "text/event-stream" or begins == "<" or text.startswith("data:")
    if body is None and (strange or kind == "text/html"):
        raise Refused(
            f"answered with {kind or 'no JSON'}, not with a chat completion; is the endpoint the "
            f"API's base URL, such as http://host:8000/v1? It began: {beginning(text)}"
        )
    if body is None:
        raise TryAgain(f"the answer is not whole JSON; it began: {beginning(text)}")
    return replies_of(body, prefix)


def _json(text: str) -> Any:
    """The JSON that a text begins with, after comments that keep a connection open; or None."""
    words = re.sub(r"\A(?:\s*+:[^\n]*\n)*\s*", "", text)
    try:
        value, end = json.JSONDecoder().raw_decode(words)
    except (ValueError, RecursionError):
        return None
    return value if re.match(r"\s*+(?:data:|:|\Z)", words[end:]) else None


def replies_of(body: Any, prefix: str = "") -> list[Reply]:
    """The samples of a chat completion, as `read_completion` gives them."""
    whole, body = body, body if isinstance(body, dict) else {}
    found = _choices(body)
    failed = body if body.get("error") else next((c for c in found if c.get("error")), None)
    if failed is not None:
        raise failure_of(error_status(failed["error"]), json.dumps(failed))
    replies = [reply for choice in found if (reply := _reply(choice, prefix)) is not None]
    if not replies:
        if status := error_status(body):
            raise failure_of(status, json.dumps(body))
        asked = "" if "choices" in body else " (is the endpoint an OpenAI-compatible base URL?)"
        began = beginning(json.dumps(whole))
        raise TryAgain(f"the answer holds no sample{asked}; it began: {began}")
    for choice in found:
        if str(choice.get("finish_reason")).lower() in _BROKEN_OFF:
            raise TryAgain(f"the server broke the answer off ({choice['finish_reason']})")
    # Servers give the tokens of all samples as one sum: the first reply carries it.
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    prompt, completion = (_count(usage.get(f"{kind}_tokens")) for kind in ("prompt", "completion"))
    details = usage.get("prompt_tokens_details")
    told = details.get("cached_tokens") if isinstance(details, dict) else None
    cached = None if told is None else _count(told)
    first, *others = replies
    counted = replace(
        first, prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached
    )
    return [counted, *others]


_FILTERS = ("content_filter", "safety", "recitation", "blocklist", "prohibited_content")
"""What servers say of an answer that their content filter stopped, as reason to finish."""
_BROKEN_OFF = ("error", "abort", "aborted", "cancelled", "failed", "insufficient_system_resource")
"""What servers say of an answer that they could not finish, as reason to finish."""


def _choices(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The choices of a body, each with its message."""
    choices = body.get("choices")
    if choices is None and isinstance(body.get("message"), dict):
        choices = [body]  # Ollama's own form.
    if isinstance(choices, dict):
        choices = [choices]
    found = [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
    return [
        choice
        if isinstance(choice.get("message"), dict)
        else {**choice, "message": _message(choice)}
        for choice in found
    ]


def _message(choice: Mapping[str, Any]) -> dict[str, Any] | None:
    """The message of a choice that has none under its usual name."""
    if isinstance(choice.get("delta"), dict):
        return choice["delta"]
    text = choice.get("message") if isinstance(choice.get("message"), str) else choice.get("text")
    if isinstance(text, str):
        return {"content": text}
    # Azure leaves the message out of an answer that its filter stopped.
    return {} if str(choice.get("finish_reason")).lower() in _FILTERS else None


def streamed(text: str) -> dict[str, Any] | None:
    """The completion that a server streamed although it was not asked to; None for other texts."""
    if re.match(r"\s*+(?::[^\n]*\n\s*+|event:[^\n]*\n\s*+)*+data:", text):
        events = [_json(line[5:]) for line in text.splitlines() if line.startswith("data:")]
    elif re.match(r"\s*+\{[^\n]*\}[ \t\r]*\n\s*+\{", text):
        events = [_json(line) for line in text.splitlines() if line.strip()]
    else:
        return None
    whole: dict[str, Any] = {}
    choices: dict[Any, dict[str, Any]] = {}
    for event in events:
        if not isinstance(event, dict):
            continue
        whole |= {k: v for k, v in event.items() if v is not None and k != "choices"}
        for part in _choices(event):
            choice = choices.setdefault(str(part.get("index", 0)), {"message": {}})
            if part.get("finish_reason") is not None:
                choice["finish_reason"] = part["finish_reason"]
            for name, said in (part["message"] or {}).items():
                before = choice["message"].get(name)
                both = isinstance(before, str) and isinstance(said, str) and name != "role"
                if said is not None:
                    choice["message"][name] = before + said if both else said
    return whole | {"choices": list(choices.values())} if choices or whole.get("error") else None


def reply_of(text: str, **known: Any) -> Reply:
    """A sample by its whole text, reasoning and answer told apart."""
    reasoning, answer = split_reasoning(text)
    if "fault" not in known and not answer.strip():
        known["fault"] = "only reasoning" if reasoning else "empty"
    return Reply(answer, reasoning=reasoning, **known)


def _reply(choice: Mapping[str, Any], prefix: str) -> Reply | None:
    message = choice.get("message")
    if not isinstance(message, dict):
        return None
    said, thought = _words(message.get("content"))
    for field in ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thought"):
        thought = thought or "".join(_words(message.get(field)))
    within, answer = split_reasoning(said)
    reasoning = "\n".join(part for part in (thought, within) if part)
    answer, whole = _after(prefix, answer)
    ended = str(choice.get("finish_reason") or "").lower()
    truncated = ended in ("length", "max_tokens", "model_length")
    # An answer that was cut before it began: some servers hide what their models think.
    thinks = bool(reasoning) or (truncated and not said)
    return Reply(
        answer,
        truncated=truncated,
        reasoning=reasoning,
        fault="" if answer.strip() else _fault(message, ended, thinks),
        whole=whole,
    )


def _fault(message: Mapping[str, Any], ended: str, thought: bool) -> str:
    """Why a message has no words.

    Args:
        thought: the model has thought.
    """
    if ended in _FILTERS:
        return "content filter"
    if message.get("refusal") or ended == "refusal":
        return "refusal"
    if message.get("tool_calls") or message.get("function_call") or ended == "tool_calls":
        return "tool call"
    return "only reasoning" if thought else "empty"


def _words(content: Any) -> tuple[str, str]:
    """A message's content as text, and the reasoning that stands in parts of its own."""
    if isinstance(content, str):
        return clean(content), ""
    if isinstance(content, dict):
        content = [content]
    said: list[str] = []
    thought: list[str] = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            said.append(part)
            continue
        if not isinstance(part, dict):
            continue
        thinks = str(part.get("type")) in ("thinking", "reasoning", "redacted_thinking")
        text = next(
            (
                part[k]
                for k in ("text", "thinking", "reasoning", "content", "summary")
                if part.get(k)
            ),
            "",
        )
        text = text if isinstance(text, str) else _words(text)[0]
        (thought if thinks else said).append(text)
    return clean("".join(said)), clean("".join(thought))


_LABEL = re.compile(r"[\s*_#>`-]{0,10}(thoughts?|action)\b[\s*_`]{0,5}[:：]", re.IGNORECASE)
_LATER_LABEL = re.compile(r"^[ \t*_#>`-]{0,10}action\b[ \t*_`]{0,5}[:：]", re.I | re.M)
# Nobody goes on from a label so.
_ANSWERS = re.compile(
    r"\s*(?:sure|certainly|of course|absolutely|ok(?:ay)?|alright|great|understood"
    r"|here(?:'s|’s| is| are| comes)|I['’](?:ll|m|ve)|let me|let['’]s|based on"
    r"|to (?:solve|complete))\b",
    re.IGNORECASE,
)


def _after(prefix: str, answer: str) -> tuple[str, bool]:
    """What follows the beginning that a model was given, and whether it began anew instead."""
    words, given = answer.lstrip(), prefix.strip()
    if not given:
        return answer, False
    if words.startswith(given):
        # The beginning said again, by the server or the model; alone, it is no answer.
        return words if words[len(given) :].strip() else "", True
    label = _LABEL.match(answer)
    if given.endswith(":"):
        anew = label or _LATER_LABEL.search(answer) or _ANSWERS.match(answer)
        return answer, anew is not None
    return answer, label is not None and label[1].lower() != "action"


def _count(tokens: Any) -> int:
    """A number of tokens; servers leave it out, or give fractions."""
    try:
        return max(int(tokens), 0)
    except (TypeError, ValueError, OverflowError):
        return 0
