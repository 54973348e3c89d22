"""What a conversation's task is, and which of its messages holds it."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from mpo_core.config import ProxyConfig
from mpo_core.proxy.asked import Asked, Turn

EXAMPLES = re.compile(r"<(examples?)\b[^<>]*>.*?</\1>", re.DOTALL | re.IGNORECASE)
"""Worked examples within a message."""


class TaskRule:
    """How the task is read from a request, by the config."""

    def __init__(self, config: ProxyConfig) -> None:
        self._regex = re.compile(config.task_regex) if config.task_regex else None
        self._path = jmespath.compile(config.task_jmespath) if config.task_jmespath else None

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
        last = max((k for k, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
        said = next((turn for turn in turns[last + 1 :] if turn.role == "user"), None)
        return self.read(said) if said else None

    def place(self, turns: Sequence[Turn], task: str) -> int | None:
        """The turn that holds the task, the same in every request of a conversation.

        It is the first of the user's turns of which the rule makes the task; else the first that
        contains it; else the first of all.
        """
        said = [k for k, turn in enumerate(turns) if turn.role == "user"]
        if self._path is None:
            said_task = next((k for k in said if self.read(turns[k]) == task), None)
            if said_task is not None:
                return said_task
        containing = (k for k in said if task and task in turns[k].text)
        return next(containing, said[0] if said else None)

    def read(self, turn: Turn) -> str | None:
        """The task in what the user says."""
        if self._regex is None:
            return _text_of(EXAMPLES.sub("", turn.text))
        found = self._regex.search(turn.text)
        if found is None:
            return None
        groups = found.groupdict()
        return _text_of(groups["task"] if "task" in groups else found[1 if found.re.groups else 0])


def _text_of(value: Any) -> str | None:
    """A text that says something, without the space around it."""
    return (value.strip() or None) if isinstance(value, str) else None
