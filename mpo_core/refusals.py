"""What a server's refusal means, whatever its status and words.

A prompt that is too long, a request that it will never take, or something that another try may
mend; and which of a request's fields it does not know.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from mpo_core.errors import ContextFull, InputError

LONGEST_WORDS = 300
LONGEST_WAIT_S = 60.0
MENDED_BY_WAITING = (408, 409, 425, 429)


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
        return beginning(body)
    words: list[str] = []
    _messages(tree, words)
    return _line("; ".join(dict.fromkeys(words))) or beginning(body)


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


def error_status(error: Any) -> int:
    """The status that an error in a body claims; 0 where it claims none."""
    claims = (
        [error.get(key) for key in ("code", "status", "status_code")]
        if isinstance(error, dict)
        else []
    )
    for claim in map(str, claims):
        if claim.isdecimal() and 400 <= int(claim) < 600:
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
    if found is None:
        return None
    told = {
        unit: float(value) for unit, value in found.groupdict().items() if value and unit != "ms"
    }
    if not told:
        return None
    seconds = told.get("s", 0.0) * (0.001 if found["ms"] else 1)
    return told.get("delay", 0.0) + told.get("h", 0) * 3600 + told.get("m", 0) * 60 + seconds


def last_line(error: BaseException | str, most: int = 200) -> str:
    """The last line of an error that may hold a whole remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][-most:] if lines else type(error).__name__


def beginning(text: str) -> str:
    """How a server's answer began, in quotes."""
    return repr(_line(text, 120)) if text.strip() else "(nothing)"


def _line(text: str, most: int = LONGEST_WORDS) -> str:
    line = " ".join(clean(text).split())
    return line if len(line) <= most else f"{line[:most]}..."


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


def clean(text: str) -> str:
    """Text that every file and server can hold: halves of characters joined or replaced, no NUL."""
    if text.isascii():
        return text.replace("\0", "")
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\0", "")
