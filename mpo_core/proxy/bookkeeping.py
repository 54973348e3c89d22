"""What conversations cost and say, written down beside the answering: once a second, in one go."""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import regex

from mpo_core.errors import InputError
from mpo_core.proxy.expressions import Limit, compiled, left_out
from mpo_core.proxy.store import Store

log = logging.getLogger(__name__)
EVERY_S = 1.0
REDACTED = "[redacted]"
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
"""Of JSON."""


class Bookkeeping:
    """What is not yet written of one worker's conversations. A kill loses the last second of it."""

    def __init__(
        self, store: Store, in_thread: Callable[..., Awaitable[Any]], redact: Sequence[str]
    ) -> None:
        self._store, self._in_thread = store, in_thread
        self._redact = [compiled(pattern) for pattern in redact]
        self._usage: dict[str, tuple[int, int, int]] = {}
        self._messages: dict[str, list[Any]] = {}

    def used(self, id: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a request of a conversation."""
        requests, prompt, completion = self._usage.get(id, (0, 0, 0))
        self._usage[id] = requests + 1, prompt + prompt_tokens, completion + completion_tokens

    def said(self, id: str, messages: list[Any]) -> None:
        """Keep a conversation's messages, in the place of those before."""
        self._messages[id] = messages

    async def write_on(self) -> None:
        """Write what there is, again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self._in_thread(self.write)

    def write(self) -> None:
        """Write what there is."""
        usage, self._usage = self._usage, {}
        messages, self._messages = self._messages, {}
        for id, amounts in usage.items():
            self._kept(id, self._store.record_usage, *amounts)
        for id, said in messages.items():
            self._kept(id, self._said, said)

    def _said(self, id: str, messages: list[Any]) -> None:
        try:
            kept = redacted(messages, self._redact, Limit())
        except TimeoutError as error:
            raise InputError("proxy.redact takes too long over its messages") from error
        self._store.record_messages(id, kept)

    def _kept(self, id: str, write: Callable[..., None], *values: Any) -> None:
        """What is wrong with one conversation takes nothing from the others."""
        try:
            write(id, *values)
        except Exception as error:
            words = " ".join(str(error).split())
            log.warning("what conversation %s costs or says is not kept: %s", id, words)


def redacted(value: Any, patterns: Sequence["regex.Pattern[str]"], limit: Limit) -> Any:
    """A value with the patterns' matches left out of all of its texts, keys among them.

    Raises:
        TimeoutError: it takes longer than the limit.
    """

    def of_text(found: re.Match[str]) -> str:
        text = json.loads(found[0])
        for pattern in patterns:
            text = left_out(pattern, text, limit, REDACTED)
        return json.dumps(text)

    # As JSON, whose strings stand side by side however deep they are.
    return json.loads(STRING.sub(of_text, json.dumps(value))) if patterns else value
