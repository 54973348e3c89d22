"""What a model's words mean: which action its reply names.

The words of actions are read here, those of plans in `mpo_core.plan_text`; both read the answer
alone, without the model's reasoning (`split_reasoning`). Whatever the text, reading raises nothing
and takes time in proportion to its length.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mpo_core.action_words import BOX, FIELD, command, field_command
from mpo_core.markup import unset
from mpo_core.patterns import matched
from mpo_core.reasoning import calls_tool, encodable, refuses, split_reasoning

__all__ = ["ActionReading", "read_action", "split_reasoning"]

_ACTION = (
    r"(?:(?:the|next|final|my|chosen|best|selected|following)[ \t]+){0,3}"
    r"(?:action(?:[ \t](?:is|taken|(?:will|should|would)[ \t]be"
    r"|to[ \t](?:take|perform|execute|be[ \t]taken)))?|act|command"
    r"|aktion|acción|ação|azione|actie|akcja|hành[ \t]động|действие|動作|动作|行动|行動|操作"
    r"|アクション|행동|الإجراء)"
)
_OBSERVATION = (
    r"(?:observations?|obs|environment|env|user|human|system|results?|response|output|feedback"
    r"|game)"
)
_THINKING = r"(?:thoughts?|think|reason(?:ing)?|rationale|explanation)"
_DECORATION = r"(?:[^\w\n\r]|_){0,30}(?:answer>|command>)?(?:\d{1,2}[.)])?(?:[^\w\n\r]|_){0,5}"
_NUMBER = (
    r"[ \t]{0,4}(?:[#_]?\d{0,3}|\[\d{1,3}\]|\((?:step[ \t])?\d{1,3}\))[ \t]{0,4}"
    r"[*_`\]]{0,4}[ \t]{0,4}"
)
_COLON = rf"{_NUMBER}[:：]{{1,2}}"
_LINE = re.compile(
    rf"^{_DECORATION}(?:(?P<action>{_ACTION})"
    rf"(?:{_COLON}|{_NUMBER}(?:[-–—=]>|[→⇒➜➡]\ufe0f?|[-–—=](?=[ \t]))"
    rf"|(?:[*_]{{2}}|\])[ \t]|{_NUMBER}$)"
    rf"|(?P<next>{_OBSERVATION}|{_THINKING})(?:{_COLON}|\](?=\s)))",
    re.IGNORECASE | re.MULTILINE,
)
_AGAIN = re.compile(rf"{_DECORATION}{_ACTION}(?:{_COLON}|\](?=\s))", re.IGNORECASE)
_ALONE = r"(?<![^\W\d_])[*_`(\[]{0,3}"
_NEXT = re.compile(rf"{_ALONE}(?:{_OBSERVATION}|{_THINKING}|{_ACTION}){_COLON}", re.IGNORECASE)
_OBSERVED = re.compile(rf"{_ALONE}{_OBSERVATION}{_COLON}|<obs", re.IGNORECASE)
_MENTION = re.compile(rf"{_ALONE}(?P<action>{_ACTION}){_COLON}", re.IGNORECASE)
# What stands before an action that is only spoken of.
_SPOKEN_OF = re.compile(
    r"(?:[`\"'“‘(]|\b(?:the|an?|my|last|previous|first|that|this|of|with|from|like|an?other)\s*)\Z",
    re.IGNORECASE,
)
_TAGGED = re.compile(
    r"<act(?:ion)?>\s*+(?P<text>[^<\n\r]*)(?:\s*+</act(?:ion)?>)?"
    r"|<(?P<tag>answer|command)>\s*+(?P<told>[^<\n\r]*+)\s*+</(?P=tag)>"
    rf"|\[action\]\s*+(?P<bracketed>[^\[\n\r]*)\[/action\]|{BOX}",
    re.IGNORECASE,
)
_TAGGED_TEXTS = ("text", "told", "bracketed", "boxed")
_INPUT = re.compile(
    rf"[ \t\r]*+\n\s*+{_DECORATION}action[ \t]+input{_COLON}(?P<text>[^\n\r]*)", re.IGNORECASE
)
_REST = re.compile(r"[^\n\r]*")
_FENCE = re.compile(r"[ \t]*+`{3,}[ \t]*\w*[ \t]*\Z")
_CLOSING_FENCE = re.compile(r"\s*+`{3,}")
# A line break that was written as its escape.
_ESCAPED_BREAK = re.compile(
    rf"(?:\\r)?\\n(?={_DECORATION}(?:{_OBSERVATION}|{_THINKING}|{_ACTION}){_COLON})", re.IGNORECASE
)


class ActionReading(NamedTuple):
    """What a reply says."""

    said: str
    """The answer up to the end of its action; whole when it holds none."""
    action: str | None
    fault: str
    """Why there is no action: `empty`, `only reasoning`, `refusal`, `tool call`, `no action
    line`, `empty action`."""


def read_action(reply: str) -> ActionReading:
    """The action that a reply names, and what of the reply is the agent's own.

    The action is the last line `Action: ...` of the turn's own answer, which ends where the model
    goes on to invent an observation or its next thought. Where no line begins so, <action> tags, a
    JSON field `action` and a label in the middle of a line are read. Markdown, quotes, fences and
    the like around label and action are no part of the action.
    """
    reasoning, answer = split_reasoning(encodable(reply))
    if not re.search(r"\w", answer):
        return ActionReading(answer, None, "only reasoning" if reasoning else "empty")
    answer = _ESCAPED_BREAK.sub("\n", unset(answer))
    for read in (_from_lines, _from_tags, _from_json, _from_mention):
        if found := read(answer):
            end, action = found
            if refuses(action):
                return ActionReading(answer, None, "refusal")
            fence = _CLOSING_FENCE.match(answer, end)
            if fence and answer.count("```", 0, end) % 2:
                end = fence.end()
            return ActionReading(answer[:end].rstrip(), action, "")
    if refuses(answer) or calls_tool(answer):
        return ActionReading(answer, None, "refusal" if refuses(answer) else "tool call")
    labelled = any(label["action"] for label in _LINE.finditer(answer))
    return ActionReading(answer, None, "empty action" if labelled else "no action line")


def _from_lines(answer: str) -> tuple[int, str] | None:
    """Where the last action line ends, and its action."""
    found = None
    for label in _LINE.finditer(answer):
        if label["action"]:
            found = _labelled(answer, label) or found
        elif found is not None:
            break
    return found


def _labelled(answer: str, label: re.Match) -> tuple[int, str] | None:
    """The action after its label, on the same line or on the next one with words."""
    start = label.end()
    while again := _AGAIN.match(answer, start):
        start = again.end()
    line = matched(_REST, answer, start)
    while not line[0].strip("*_` \t") or _FENCE.match(line[0]):
        if line.end() == len(answer):
            return None
        line = matched(_REST, answer, line.end() + 1)
        if _LINE.match(answer, line.start()):
            return None
    following = _NEXT.search(answer, line.start(), line.end())
    end = following.start() if following else line.end()
    action = command(answer[line.start() : end], shouted=label["action"].isupper())
    if not action:
        return None
    if not following and (more := _INPUT.match(answer, end)):
        value = command(more["text"])
        if value and value.lower() not in ("none", "n/a", "null"):
            action, end = f"{action} {value}", more.end()
    return end, action


def _from_tags(answer: str) -> tuple[int, str] | None:
    """Where the last <action>, [ACTION] or boxed text of the turn ends, and its action."""
    told = []
    for tag in _TAGGED.finditer(answer):
        words = next(words for name in _TAGGED_TEXTS if (words := tag[name]) is not None)
        label = _LINE.match(words)
        if label and label["next"]:
            continue
        again = _AGAIN.match(words)
        told.append((tag.end(), command(words[again.end() if again else 0 :])))
    return _last(answer, told)


def _from_json(answer: str) -> tuple[int, str] | None:
    """Where the answer ends whose last field `action` holds the action, and that."""
    told = ((field.end(), field_command(answer, field)) for field in FIELD.finditer(answer))
    found = _last(answer, told)
    if found is None:
        return None
    invented = _OBSERVED.search(answer, found[0])
    return (invented.start() if invented else len(answer)), found[1]


def _last(answer: str, told: Iterable[tuple[int, str]]) -> tuple[int, str] | None:
    """The last of several actions, by their ends, before an invented observation."""
    found, limit = None, len(answer)
    for end, action in told:
        if end > limit:
            break
        if action:
            if found is None and (invented := _OBSERVED.search(answer, end)):
                limit = invented.start()
            found = end, action
    return found


def _from_mention(answer: str) -> tuple[int, str] | None:
    """Where the last action ends that is told in the middle of a line, and that action.

    One in the middle of a sentence counts where no sentence begins so, unless it is quoted or
    spoken of ("the last Action: ...").
    """
    beginning: list[re.Match[str]] = []
    within: list[re.Match[str]] = []
    for mention in _MENTION.finditer(answer):
        before = answer[max(mention.start() - 20, 0) : mention.start()].rstrip(" \t")
        begins = not before or before[-1] in ".!?:;,。！？：；…)*\n\r"
        words = mention["action"]
        meant = begins or words[0].isupper() or words.lower().startswith(("following", "the foll"))
        if _SPOKEN_OF.search(before) or not meant:
            continue
        (beginning if begins else within).append(mention)
    for mentions in (beginning, within):
        if found := _last(answer, _on_lines(answer, mentions)):
            return found
    return None


def _on_lines(answer: str, labels: Iterable[re.Match]) -> Iterator[tuple[int, str]]:
    """Where each action ends that follows a label on its line, and that action."""
    line_end = -1
    for label in labels:
        if label.end() > line_end:
            line_end = matched(_REST, answer, label.end()).end()
        following = _NEXT.search(answer, label.end(), line_end)
        end = following.start() if following else line_end
        yield end, command(answer[label.end() : end], shouted=label["action"].isupper())
