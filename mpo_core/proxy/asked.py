"""What a caller asks for: a request's turns, read alike from chat completions and responses."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from mpo_core.errors import InputError
from mpo_core.proxy.places import Place, elements, members, whole

Api = Literal["chat", "responses"]
Role = Literal["system", "user", "assistant", "tool", "other"]
LIST = {"chat": "messages", "responses": "input"}
"""Where an API's requests hold the turns."""
ROLES: dict[Any, Role] = {
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
            ValueError: the body holds no turns; what it is instead is the upstream's to say.
        """
        self.api, self.text, self.headers = api, text, headers
        body = whole(text)
        if not isinstance(body.value, dict):
            raise ValueError("no object")
        self.whole = body
        self.body: dict[str, Any] = body.value
        self.fields = members(text, body.start)
        turns = self.fields.get(LIST[api])
        forms = list if api == "chat" else list | str
        if turns is None or not isinstance(turns.value, forms):
            raise ValueError("no turns")
        self.at = turns
        self._beginnings: list[tuple[int, str]] | None = None

    def read_whole(self) -> None:
        """Read all of it at once, which may take long, rather than what is wanted."""
        self._beginnings = list(self._read_beginnings())

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
        return previous if isinstance(previous, str) else None

    def beginnings(self) -> Iterator[tuple[int, str]]:
        """Turns up to which this may be the beginning of a conversation, the shortest first, each
        with the hash of what stands there.

        A beginning ends where the assistant speaks next, or where the request does: all later
        requests of the conversation begin with it. Part of it are who speaks and what is said, the
        instructions, the model and the plan asked for by header; not the tools, the sampling or
        marks such as `cache_control`, which may change from one request to the next.
        """
        return self._read_beginnings() if self._beginnings is None else iter(self._beginnings)

    def _read_beginnings(self) -> Iterator[tuple[int, str]]:
        head = [self.api, self.model, self.body.get("instructions"), self.headers.plan]
        digest = hashlib.sha256(_canonical(head))
        for k, turn in enumerate(self.turns, start=1):
            digest.update(_canonical([turn.role, _content(turn.said)]))
            ends = k == len(self.turns) or self.turns[k].role == "assistant"
            if turn.role != "assistant" and ends:
                yield k, own_name(digest.copy().hexdigest())


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
        return Turn(ROLES.get(role, "other"), value.get("content"), item)
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


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _decoded(value: str) -> str:
    """A header's value: percent-encoded where it says so, else UTF-8 where it is that."""
    if value.startswith(EXTENDED):
        return unquote(value.removeprefix(EXTENDED), errors="replace")
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
