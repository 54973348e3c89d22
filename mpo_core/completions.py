"""What an OpenAI-shaped answer means: the samples in it, or why there are none.

Servers that call themselves compatible differ in what they leave out, in the status of a refusal
and in its words. Here alone is decided what each of it means: samples, a full context, bad input,
or something that another try may mend.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from mpo_core.errors import ContextFull, InputError
from mpo_core.reading import split_reasoning

LONGEST_WORDS = 300
LONGEST_WAIT_S = 60.0
MENDED_BY_WAITING = (408, 409, 425, 429)
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


class TryAgain(Exception):
    """A failure that another try may mend."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        """How long the server asks to wait, in seconds."""


class Refused(InputError):
    """A server's refusal of a request, which the same request would meet again."""

    def __init__(self, message: str, body: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.body = body
        self.status = status


# ------------------------------------------------------------------------------------- samples


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
            f"API's base URL, such as http://host:8000/v1? It began: {_beginning(text)}"
        )
    if body is None:
        raise TryAgain(f"the answer is not whole JSON; it began: {_beginning(text)}")
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
        raise failure_of(_error_status(failed["error"]), json.dumps(failed))
    replies = [reply for choice in found if (reply := _reply(choice, prefix)) is not None]
    if not replies:
        if status := _error_status(body):
            raise failure_of(status, json.dumps(body))
        asked = "" if "choices" in body else " (is the endpoint an OpenAI-compatible base URL?)"
        began = _beginning(json.dumps(whole))
        raise TryAgain(f"the answer holds no sample{asked}; it began: {began}")
    for choice in found:
        if str(choice.get("finish_reason")).lower() in _BROKEN_OFF:
            raise TryAgain(f"the server broke the answer off ({choice['finish_reason']})")
    # Servers give the tokens of all samples as one sum: the first reply carries it.
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    prompt, completion = (_count(usage.get(f"{kind}_tokens")) for kind in ("prompt", "completion"))
    first, *others = replies
    return [replace(first, prompt_tokens=prompt, completion_tokens=completion), *others]


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
    thought = bool(reasoning) or (truncated and not said)
    return Reply(
        answer,
        truncated=truncated,
        reasoning=reasoning,
        fault="" if answer.strip() else _fault(message, ended, thought),
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
    said, thought = [], []
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


def clean(text: str) -> str:
    """Text that every file and server can hold: halves of characters joined or replaced, no NUL."""
    if text.isascii():
        return text.replace("\0", "")
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\0", "")


def _count(tokens: Any) -> int:
    """A number of tokens; servers leave it out, or give fractions."""
    try:
        return max(int(tokens), 0)
    except (TypeError, ValueError, OverflowError):
        return 0


# ------------------------------------------------------------------------------------ failures

# What servers say of a prompt that does not fit: vLLM, SGLang, llama.cpp and its Python server,
# Ollama, LM Studio, TGI, TensorRT-LLM, LMDeploy, OpenAI and Azure, Anthropic, Bedrock, Gemini,
# Groq, Mistral, Cohere, xAI, OpenRouter.
_CONTEXT = re.compile(
    r"context[\s_-]*(?:length|window|size|limit|overflow)"
    r"|context\s+the\s+overflows|contextwindow|n_ctx"
    r"|exceed[a-z]*\W[^.]{0,60}\bcontext\b|\bcontext\b[^.]{0,30}\b(?:exceed|overflow)"
    r"|context shift is disabled|超长|range of input length|max input characters"
    r"|length[^.]{0,30}(?:exceeds|greater than)\s(?:the\s)?max"
    r"|max(?:imum)?[\s_-]*(?:model|prompt|input|sequence|seq|position)[a-z]*[\s_-]*(?:len|embed)"
    r"|session_len|kv[\s_-]?(?:cache[\s_-])?size"
    r"|(?:larg|long|great|bigg)er than (?:the |its )?(?:model'?s )?context"
    r"|(?:prompt|input) exceeds (?:the )?max|tokens in the prompt[^.]{0,20} exceeds"
    r"|tokens exceed limit|exceed[a-z]* (?:the )?(?:model(?:'s)? )?token limit"
    r"|max_(?:completion_)?tokens must be at least 1, got -\d"
    r"|(?:prompt|inputs?|messages?|conversation|query|text|request)`?\s+(?:is|are|was)?\s*too\s+"
    r"(?:long|large|big)"
    r"|(?:prompt|input|sequence)(?: is| has| length)[^.]{0,30}\d[^.]{0,30}\b(?:limit|max)"
    r"|sequence length[^.]{0,20}longer|tokens of context|model'?s? window"
    r"|too[ _]many[ _](?:input[ _]|prompt[ _])?tokens|reduce the length of"
    r"|(?:input|prompt)s?`?\s*(?:tokens?|length|token count)[^.]{0,60}"
    r"(?:exceed|must be (?:<=|less)|larger|longer|greater|too)"
    r"|inputs?`? must have less than \d+ tokens"
    r"|input tokens? exceed|tokens? exceeds? the (?:maximum|limit|configured)"
    r"|exceeds? the (?:maximum|max|limit)[^.]{0,40}tokens"
    r"|prompt contains \d+ tokens|string_above_max_length|request_too_large"
    r"|(?:entity|payload|content) too large",
    re.IGNORECASE,
)
_BY_TIME = re.compile(r"per[\s-]minute|per[\s-]day|\b[tr]p[md]\b|rate[\s_-]?limit", re.IGNORECASE)
_SPENT = re.compile(
    r"insufficient[\s_-]*(?:quota|balance|funds|credit)|billing|exceeded your (?:current )?quota"
    r"|(?:credit|balance)[^.]{0,30}(?:exhaust|too low|negative|insufficient|depleted|run out)"
    r"|quota[\s_-]*(?:exceeded|exhausted)|payment|free[\s_-]?tier|per[\s-]day|\b[tr]pd\b",
    re.IGNORECASE,
)
_LATER = re.compile(
    r"(?:retry|try again|available)\s+(?:again\s+)?(?:in|after)\s+"
    r"(?:(?P<h>\d+)\s*h(?:ours?)?\s*)?(?:(?P<m>\d+)\s*m(?:in(?:utes?)?)?(?![a-z])\s*)?"
    r"(?:(?P<s>\d+(?:\.\d+)?)\s*(?P<ms>ms)?)?"
    r"|\"retryDelay\":\s*\"(?P<delay>\d+(?:\.\d+)?)s",
    re.IGNORECASE,
)
_NO_PREFILL = re.compile(r"prefill|continue_final_message|add_generation_prompt", re.IGNORECASE)
_FILTERED = re.compile(r"content_filter|responsibleaipolicy|content management policy", re.I)


def says_context_full(body: str) -> bool:
    """Whether a server's refusal means that the prompt is too long for the model."""
    if "\\u" in body:
        body = f"{body} {server_words(body)}"
    return bool(_CONTEXT.search(" ".join(body.split())))


def failure_of(
    status: int, body: str, headers: Mapping[str, str] | None = None
) -> ContextFull | TryAgain | Refused:
    """What a server's refusal means, by its status, its whole body and the wait that it asks for.

    A status of 4xx is the request's fault but for those that time mends (408, 409, 425, 429); and
    a quota that is spent is not mended by time.
    """
    said = f"HTTP {status}: {server_words(body)}" if status else server_words(body)
    # Of a rate the words are alike ("request too large ... tokens per minute").
    if status != 429 and says_context_full(body) and not _BY_TIME.search(body):
        return ContextFull(said)
    if status == 429:
        wait_s = _wait(body, headers or {})
        hopeless = wait_s is None and _SPENT.search(body)
        if hopeless or (wait_s or 0) > LONGEST_WAIT_S * 10:
            return Refused(said, body, status)
        return TryAgain(said, wait_s)
    refused = 400 <= status < 500 and status not in MENDED_BY_WAITING
    # llama.cpp says 500 of a beginning that it cannot go on from.
    if refused or status in (501, 505) or (status == 500 and _NO_PREFILL.search(body)):
        return Refused(said, body, status)
    return TryAgain(said, _wait(body, headers or {}))


def filtered(body: str) -> bool:
    """Whether a refusal is a content filter's, of this prompt alone."""
    return bool(_FILTERED.search(body))


def server_words(body: str) -> str:
    """A server's own words of an error, in one line."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return _beginning(body)
    words: list[str] = []
    _messages(tree, words)
    return _line("; ".join(dict.fromkeys(words))) or _beginning(body)


_DEEPER = ("metadata", "raw", "innererror")
"""Where gateways put the words of the server behind them."""


def _messages(tree: Any, words: list[str], depth: int = 0) -> None:
    """Collect what an error's tree says, wherever servers put it."""
    if isinstance(tree, str) and tree.strip():
        words.append(tree)
    elif isinstance(tree, list) and depth < 8:
        for entry in tree:
            _messages(entry, words, depth + 1)
    elif isinstance(tree, dict) and depth < 8:
        for key in (
            "error",
            "message",
            "msg",
            "detail",
            "errors",
            "error_message",
            "loc",
            *_DEEPER,
        ):
            if tree.get(key):
                _messages(tree[key], words, depth + 1)


def _error_status(error: Any) -> int:
    """The status that an error in a body claims; 0 where it claims none."""
    claims = (
        [error.get(key) for key in ("code", "status", "status_code")]
        if isinstance(error, dict)
        else []
    )
    for claim in claims:
        if str(claim).isdigit() and 400 <= int(claim) < 600:
            return int(claim)
    return 0


def _wait(body: str, headers: Mapping[str, str]) -> float | None:
    """Seconds after which the server wants to be asked again, where it says so."""
    asked = (headers.get("retry-after") or headers.get("x-ratelimit-reset-after") or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", asked):
        return float(asked)
    if asked:
        try:
            until = parsedate_to_datetime(asked)
            return max((until - datetime.now(until.tzinfo or UTC)).total_seconds(), 0.0)
        except (ValueError, TypeError, OverflowError):
            pass
    found = _LATER.search(body)
    told = (
        {unit: float(value) for unit, value in found.groupdict().items() if value and unit != "ms"}
        if found
        else {}
    )
    if not told:
        return None
    seconds = told.get("s", 0.0) * (0.001 if found["ms"] else 1)
    return told.get("delay", 0.0) + told.get("h", 0) * 3600 + told.get("m", 0) * 60 + seconds


def last_line(error: BaseException | str, most: int = 200) -> str:
    """The last line of an error that may hold a whole remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][-most:] if lines else type(error).__name__


def _beginning(text: str) -> str:
    return repr(_line(text, 120)) if text.strip() else "(nothing)"


def _line(text: str, most: int = LONGEST_WORDS) -> str:
    line = " ".join(clean(text).split())
    return line if len(line) <= most else f"{line[:most]}..."


# -------------------------------------------------------------------- what a refusal refers to

FIELDS: dict[str, re.Pattern] = {
    "prefill": re.compile(
        r"continue_final_message|add_generation_prompt|prefill"
        r"|(?:last|final) (?:message|role|assistant)|assistant message"
        r"|must (?:end|alternate)|ends? with (?:a )?[\"'`]?user|user last",
        re.IGNORECASE,
    ),
    "n": re.compile(
        r"[\"'`]n[\"'`]|\bn\s?(?:>|=|:|must|should|is not)|completion choice"
        r"|(?:multiple|number of|one|single) (?:completion|choice|candidate)|candidate_?count"
        r"|best_of",
        re.IGNORECASE,
    ),
    "stop": re.compile(r"[\"'`.]stop[\"'`]|\bstop (?:sequence|word|is|param)|\bstop\b", re.I),
    "seed": re.compile(r"\bseed\b", re.IGNORECASE),
    "max_completion_tokens": re.compile(
        r"max_completion_tokens|max_tokens\b[^.]{0,40}\b(?:required|missing)"
        r"|(?:required|missing)[^.]{0,40}\bmax_tokens",
        re.IGNORECASE,
    ),
    "reasoning": re.compile(
        r"chat_template_kwargs|enable_thinking|reasoning_effort|support thinking"
        r"|extra (?:inputs|fields)"
        r"|unknown (?:field|parameter|argument)|unrecognized",
        re.IGNORECASE,
    ),
}
"""What a request can do without -> how refusals name it."""


def refused_fields(body: str, sent: Sequence[str]) -> list[str]:
    """Which of the sent fields in `FIELDS` a refusal names."""
    named = [field for field in sent if FIELDS[field].search(body)]
    # Words for any unknown field mean the one that is named beside them.
    if len(named) > 1 and "chat_template_kwargs" not in body:
        return [field for field in named if field != "reasoning"]
    return named
