"""What a caller asks for: a request's turns, read alike from chat completions and responses."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from mpo_core.errors import InputError
from mpo_core.proxy.places import Place, elements, value_at, whole_object
from mpo_core.refusals import clean

Api = Literal["chat", "responses"]
Role = Literal["system", "user", "assistant", "tool", "other"]
LIST = {"chat": "messages", "responses": "input"}
"""Where an API's requests hold the turns."""
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
LONGEST_ID = 200
OWN = "mpo-"
"""How the names of conversations begin that their callers have not named."""
EXTENDED = "UTF-8''"
"""How a header's value begins that is percent-encoded (RFC 8187)."""
LONG = 2**16
"""Bytes of a body that take some time to read."""
MANY = 2000
"""Commas of a body, of which a short one may have thousands of turns, that do so too."""
MOST_VALUES = 100_000
"""Values of a body that is read; each takes some of the worker's time and memory."""
SIGNS = ",{["
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class Turn(NamedTuple):
    """A message, or another item, of a request."""

    role: Role
    said: Any
    """Its content: a text, or parts."""
    item: Place

    @property
    def text(self) -> str:
        """Its text; of several parts, a line each."""
        if isinstance(self.said, str):
            return self.said
        return "\n".join(part["text"] for part in parts_of(self.said) if "text" in part)


@dataclass(frozen=True)
class Headers:
    """What a caller tells the proxy besides the request."""

    conversation: str | None = None
    task: str | None = None
    plan: str | None = None
    """`off`, `fresh` or a plan's id."""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Headers":
        """From a request's headers. Raises InputError for a conversation's name that is none."""
        named = {key: headers.get(f"x-mpo-{key}", "") for key in ("conversation", "task", "plan")}
        told = {key: _decoded(value).strip() or None for key, value in named.items()}
        name = told["conversation"]
        if name and (len(name) > LONGEST_ID or not name.isprintable() or not name.isascii()):
            raise InputError(
                f"X-MPO-Conversation: expected at most {LONGEST_ID} printable ASCII characters"
            )
        return cls(**told)


class Asked:
    """A request for what comes next in a conversation."""

    def __init__(self, api: Api, text: str, headers: Headers) -> None:
        """
        Args:
            text: the body as it came.

        Raises:
            ValueError: the body holds no turns, or too much; the upstream is to judge it.
        """
        if _holds_too_much(text):
            raise ValueError(f"the body holds more than {MOST_VALUES} values")
        self.api, self.text, self.headers = api, text, headers
        self.whole, self.fields = whole_object(text)
        self.body: dict[str, Any] = self.whole.value
        turns = self.fields.get(LIST[api])
        forms = list if api == "chat" else list | str
        if turns is None or not isinstance(turns.value, forms):
            raise ValueError("no turns")
        self.at = turns

    @cached_property
    def turns(self) -> list[Turn]:
        """In order. A text as the only input is the user's."""
        if isinstance(self.at.value, str):
            return [Turn("user", self.at.value, self.at)]
        return [_turn(item) for item in elements(self.text, self.at.start)]

    @property
    def model(self) -> str:
        """As the caller names it."""
        return str(self.body.get("model", ""))

    @property
    def served_state(self) -> str | None:
        """What names the conversation that the upstream itself keeps, by the Responses API."""
        if self.api != "responses":
            return None
        kept = self.body.get("conversation")
        kept = kept.get("id") if isinstance(kept, dict) else kept
        return own_name(hashlib.sha256(_canonical(kept)).hexdigest()) if kept else None

    @property
    def previous_response(self) -> str | None:
        """The response that this request goes on from, which the upstream keeps."""
        previous = self.body.get("previous_response_id") if self.api == "responses" else None
        return clean(previous) if isinstance(previous, str) else None

    @property
    def named(self) -> str | None:
        """The conversation that the request itself names."""
        return self.headers.conversation or self.served_state

    @property
    def goes_on(self) -> bool:
        """Whether the upstream keeps what was said before."""
        return (self.previous_response or self.served_state) is not None

    @cached_property
    def beginnings(self) -> list[tuple[int, str]]:
        """Turns up to which this may be the beginning of a conversation, the shortest first, each
        with the hash of what stands there.

        A beginning ends where the assistant speaks next, or where the request does: all later
        requests of the conversation begin with it. Part of it are who speaks and what is said, the
        instructions, the model, and the task and the plan that the headers name; not the tools, the
        sampling or marks such as `cache_control`, which may change from one request to the next.
        """
        told = self.headers
        head = [self.api, self.model, self.body.get("instructions"), told.task, told.plan]
        digest = hashlib.sha256(_canonical(head))
        found = []
        for k, turn in enumerate(self.turns, start=1):
            digest.update(_words(turn))
            ends = k == len(self.turns) or self.turns[k].role == "assistant"
            if turn.role != "assistant" and ends:
                found.append((k, own_name(digest.copy().hexdigest())))
        return found

    def mark(self, turn: Turn) -> str:
        """A hash of what a turn says, and of the response after which it is said."""
        after = _canonical(self.previous_response)
        return hashlib.sha256(after + _words(turn)).hexdigest()[:24]

    def marked(self, mark: str) -> int | None:
        """The turn of that mark: the first of the user's, as another one may say the same.

        Where none has it, as in a history that was cut, it is the first of the user's turns; in a
        request that goes on from what the upstream keeps, which has the turn there, it is none.
        """
        users = [k for k, turn in enumerate(self.turns) if turn.role == "user"]
        found = next((k for k in users if self.mark(self.turns[k]) == mark), None)
        if found is None and users and not self.goes_on:
            return users[0]
        return found


def takes_long(body: bytes) -> bool:
    """Whether others are to be answered while a body is read."""
    return len(body) > LONG or body.count(b",") > MANY


def own_name(digits: str) -> str:
    """The name of a conversation that its caller has not named."""
    return f"{OWN}{digits[:24]}"


def parts_of(said: Any) -> list[dict[str, Any]]:
    """The parts of a content that is a list, those that are none left out."""
    parts = said if isinstance(said, list) else []
    return [p for p in parts if isinstance(p, dict) and isinstance(p.get("text", ""), str)]


def _turn(item: Place) -> Turn:
    value = item.value if isinstance(item.value, dict) else {}
    kind = value.get("type", "message")
    if kind == "message" or "role" in value:
        role = value.get("role")
        known = ROLES.get(role, "other") if isinstance(role, str) else "other"
        return Turn(known, value.get("content"), item)
    if isinstance(kind, str) and kind.endswith("_output"):
        return Turn("tool", value.get("output"), item)
    # What a model has thought and called stands beside what it has said.
    return Turn("assistant", None, item)


def _content(said: Any) -> Any:
    """A content, the same whether its text is given as one or as the only part."""
    if isinstance(said, str):
        return [said]
    if not isinstance(said, list):
        return said
    return [
        part["text"]
        if isinstance(part, dict) and isinstance(part.get("text"), str)
        else {k: v for k, v in part.items() if k != "cache_control"}
        if isinstance(part, dict)
        else part
        for part in said
    ]


def _words(turn: Turn) -> bytes:
    """Who speaks and what is said, so that no two turns in a row read like others."""
    content = _content(turn.said)
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], str):
        # As JSON below, but in a fraction of the time.
        return f"{turn.role} {len(content[0])} {content[0]}".encode(errors="surrogatepass")
    return _canonical([turn.role, content])


def _canonical(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()


def _holds_too_much(text: str) -> bool:
    """Whether a body holds more values than are read, of which each but the first stands after one
    of three signs. Raises ValueError for some of what is no JSON."""
    if sum(map(text.count, SIGNS)) <= MOST_VALUES:
        return False
    # Strings hold those signs, too. There are two of them at most for each that counts.
    n = at = 0
    for _ in range(2 * MOST_VALUES + 2):
        quote = text.find('"', at)
        end = len(text) if quote < 0 else quote
        n += sum(text.count(sign, at, end) for sign in SIGNS)
        if n > MOST_VALUES or quote < 0:
            return n > MOST_VALUES
        at = value_at(text, quote).end
    return True


def _decoded(value: str) -> str:
    """A header's value: percent-encoded where it says so, else UTF-8 where it is that."""
    if value.startswith(EXTENDED):
        return unquote(value.removeprefix(EXTENDED), errors="replace")
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
