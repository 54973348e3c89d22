"""What a chat model is, and what it is asked: one record, whoever answers it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mpo_core.completions import Reply
from mpo_core.types import Message


@dataclass(frozen=True)
class ChatRequest:
    """A request for samples of what comes next in a conversation."""

    messages: Sequence[Message]
    """The conversation. One that ends with an assistant message is continued: the reply is what
    follows that message."""
    n: int = 1
    """Samples."""
    temperature: float = 0.0
    """0 is greedy."""
    max_tokens: int = 512
    """Tokens of each sample at most."""
    seed: int | None = None
    """Of what is drawn at a temperature; None draws anew each time."""
    stop: Sequence[str] = ()
    """Words before which a sample ends."""
    session: str = ""
    """Requests of one session go to one replica, whose prefix cache they share."""

    @property
    def beginning(self) -> str | None:
        """What the answer is to go on from; None where the model begins it."""
        last = self.messages[-1]
        return last["content"] if last["role"] == "assistant" else None


class ChatModel(Protocol):
    """A client for a model. It may be used by one event loop at a time."""

    name: str
    """What its server knows it by."""
    fingerprint: str
    """Names the weights, not the server: equal on every machine that serves the same model."""

    async def chat(self, request: ChatRequest) -> list[Reply]:
        """The samples asked for; a server may give fewer or more.

        Raises:
            ContextFull: the conversation does not fit the model's context.
            InputError: the request is refused, and would be again.
            ModelUnavailable: no answer within the retries.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; a later request opens them again."""
        ...
