"""A conversation's plan put into its requests, at the same places in each of them.

The words are the suite's own (`mpo_core.prompts`), and the rest of the body stays as it came.
"""

from mpo_core.endpoint import CONTINUATION
from mpo_core.prompts import Prompts, plan_block
from mpo_core.proxy.asked import Asked, Turn, parts_of
from mpo_core.proxy.places import Edits, Place, elements, members
from mpo_core.types import PlanMode

SAID_IN = {"chat": "text", "responses": "input_text"}
"""The type of a part with the user's text."""


def with_plan(asked: Asked, plan: str, at: int | None, mode: PlanMode) -> str:
    """The request's body with the plan in it.

    Args:
        at: the turn that holds the task; None where the request holds none of the user's, as one
            that goes on from what the upstream keeps.
    """
    edits = Edits(asked.text)
    if mode == "thought":
        _think(edits, asked, Prompts.reply_prefix(plan, mode), at or 0)
    elif mode == "query":
        for turn in [] if at is None else [asked.turns[at]]:
            _add(edits, asked, turn, f"\n\n{plan_block(plan)}")
    else:
        for turn in asked.turns[at or 0 :]:
            if turn.role in ("user", "tool"):
                _add(edits, asked, turn, Prompts.observation("", plan, mode, first=True))
    return edits.applied()


def _add(edits: Edits, asked: Asked, turn: Turn, text: str) -> None:
    """Put a text at the end of what a turn says."""
    if turn.item is asked.at:
        edits.append_text(asked.at, text)
        return
    content = _content_of(asked, turn)
    if content is None:
        return
    if isinstance(content.value, str):
        edits.append_text(content, text)
    elif isinstance(content.value, list):
        last = _last_text(asked, content)
        if last is not None:
            edits.append_text(last, text)
        else:
            edits.append(content, {"type": SAID_IN[asked.api], "text": text.lstrip()})


def _last_text(asked: Asked, content: Place) -> Place | None:
    """The text of the last part, where that is one."""
    if not content.value or not parts_of(content.value[-1:]):
        return None
    part = members(asked.text, elements(asked.text, content.start)[-1].start)
    return part.get("text")


def _think(edits: Edits, asked: Asked, prefix: str, at: int) -> None:
    """Let every reply begin with the plan: those that were given, and the one to come."""
    replies = [turn for turn in asked.turns[at:] if turn.role == "assistant"]
    for turn in replies:
        _begin_with(edits, asked, turn, prefix)
    if replies and replies[-1] is asked.turns[-1] and asked.body.get("continue_final_message"):
        return  # The caller's own beginning of the reply goes on after the plan.
    edits.append(asked.at, {"role": "assistant", "content": prefix})
    for name, value in CONTINUATION.items():
        if name in asked.fields:
            edits.replace(asked.fields[name], value)
        else:
            edits.add_member(asked.whole, name, value)


def _begin_with(edits: Edits, asked: Asked, turn: Turn, prefix: str) -> None:
    fields = members(asked.text, turn.item.start)
    content = fields.get("content")
    if content is None:
        edits.add_member(turn.item, "content", prefix)
    elif isinstance(content.value, str):
        edits.prepend_text(content, prefix)
    elif isinstance(content.value, list):
        edits.prepend(content, {"type": "text", "text": prefix})
    else:
        edits.replace(content, prefix)


def _content_of(asked: Asked, turn: Turn) -> Place | None:
    fields = members(asked.text, turn.item.start)
    return fields.get("content", fields.get("output"))
