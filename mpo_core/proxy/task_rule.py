"""What a conversation's task is, and which of its messages holds it."""

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from mpo_core.config import ProxyConfig
from mpo_core.proxy.asked import Asked, Turn
from mpo_core.proxy.expressions import LIMIT_S, Limit, compiled, found

log = logging.getLogger(__name__)
TAG = re.compile(r"<(/?)(examples?)(?:>|\s[^<>]*>)", re.IGNORECASE)
"""Where worked examples within a message begin and end."""


class TaskRule:
    """How the task is read from a request, by the config."""

    def __init__(self, config: ProxyConfig) -> None:
        self._regex = compiled(config.task_regex) if config.task_regex else None
        self._path = jmespath.compile(config.task_jmespath) if config.task_jmespath else None

    @property
    def may_be_slow(self) -> bool:
        """Whether a short text may take long, too."""
        return self._regex is not None

    def task(self, asked: Asked, beginning: int) -> str | None:
        """The task of a conversation that begins with the request's first turns.

        That of the header `X-MPO-Task`; else what the rule takes; None where there is none.
        Exchanges with the assistant in the beginning are worked examples: the task is what the
        user says after them.
        """
        if asked.headers.task:
            return asked.headers.task
        if self._path is not None:
            with suppress(JMESPathError):  # Of a body of another form than the expression's.
                return _text_of(self._path.search(asked.body))
            return None
        turns = asked.turns[:beginning]
        last = _last_reply(turns)
        said = next((turn for k, turn in _users(turns) if k > last), None)
        return self._read(said) if said else None

    def place(self, turns: Sequence[Turn], task: str) -> int | None:
        """The turn of a conversation's beginning that is to hold the plan: what the user says after
        the worked examples goes before what is said in them; of that, the first turn that contains
        the task, else the first. None where the user says nothing.
        """
        last = _last_reply(turns)
        said = sorted(_users(turns), key=lambda one: one[0] < last)
        containing = (k for k, turn in said if task in turn.text)
        return next(containing, said[0][0] if said else None)

    def _read(self, turn: Turn) -> str | None:
        """The task in what the user says; None as well where it takes longer than the limit."""
        if self._regex is None:
            return _text_of(without_examples(turn.text))
        try:
            match = found(self._regex, turn.text, Limit())
        except TimeoutError:
            log.warning("proxy.task_regex: no task found within %g s", LIMIT_S)
            return None
        if match is None:
            return None
        groups = match.groupdict()
        return _text_of(groups["task"] if "task" in groups else match[1 if match.re.groups else 0])


def _users(turns: Sequence[Turn]) -> list[tuple[int, Turn]]:
    """The user's turns that have a content, with their places."""
    said = enumerate(turns)
    return [(k, t) for k, t in said if t.role == "user" and isinstance(t.said, str | list)]


def _last_reply(turns: Sequence[Turn]) -> int:
    return max((k for k, turn in enumerate(turns) if turn.role == "assistant"), default=-1)


def without_examples(text: str) -> str:
    """A text without its `<example>` and `<examples>` blocks, in one pass whatever it holds.

    A block ends at the first end of its own name; one without an end is none.
    """
    tags = list(TAG.finditer(text))
    last_end = {tag[2].lower(): tag.start() for tag in tags if tag[1]}
    parts, at, inside = [], 0, ""
    for tag in tags:
        name = tag[2].lower()
        if inside:
            if tag[1] and name == inside:
                at, inside = tag.end(), ""
        elif not tag[1] and last_end.get(name, -1) > tag.start():
            parts.append(text[at : tag.start()])
            inside = name
    return "".join([*parts, text[at:]])


def _text_of(value: Any) -> str | None:
    """A text that says something, without the space around it."""
    return (value.strip() or None) if isinstance(value, str) else None
