"""What a model's words mean: which action its reply names.

The words of actions are read here, those of plans in `mpo_core.plan_text`; both read the answer
alone, without the model's reasoning (`split_reasoning`). Whatever the text, reading raises nothing
and takes time in proportion to its length.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mpo_core.reasoning import encodable, split_reasoning

__all__ = ["ActionReading", "read_action", "split_reasoning"]

_ACTION = (
    r"(?:(?:next|final|my|chosen)[ \t]+)?"
    r"(?:action|aktion|acción|действие|动作|行动|操作|アクション|행동)"
)
_OBSERVATION = (
    r"(?:observations?|obs|environment|user|human|system|results?|response|output|feedback|game)"
)
_THINKING = r"(?:thoughts?|think|reason(?:ing)?|rationale|explanation)"
_DECORATION = r"(?:[^\w\n\r]|_){0,30}(?:answer>)?(?:\d{1,2}[.)])?(?:[^\w\n\r]|_){0,5}"
_NUMBER = r"[ \t]{0,4}[\[(]?(?:step[ \t])?#?\d{0,3}[ \t]{0,4}[*_`\])]{0,4}[ \t]{0,4}"
_COLON = rf"{_NUMBER}[:：]{{1,2}}"
_LINE = re.compile(
    rf"^{_DECORATION}(?:(?P<action>{_ACTION})"
    rf"(?:{_COLON}|{_NUMBER}(?:[-–—=]>|=(?=[ \t])|[-–—](?=[ \t]))|(?:[*_]{{2}}|\])[ \t]|{_NUMBER}$)"
    rf"|(?P<next>{_OBSERVATION}|{_THINKING}){_COLON})",
    re.IGNORECASE | re.MULTILINE,
)
_AGAIN = re.compile(rf"{_DECORATION}{_ACTION}{_COLON}", re.IGNORECASE)
_ALONE = r"(?<![^\W_])[*_`(\[]{0,3}"
_NEXT = re.compile(rf"{_ALONE}(?:{_OBSERVATION}|{_THINKING}|{_ACTION}){_COLON}", re.IGNORECASE)
_OBSERVED = re.compile(rf"{_ALONE}{_OBSERVATION}{_COLON}|<obs", re.IGNORECASE)
_MENTION = re.compile(rf"{_ALONE}(?P<action>{_ACTION}){_COLON}", re.IGNORECASE)
# What stands before an action that is only spoken of.
_SPOKEN_OF = re.compile(
    r"(?:[`\"'“‘(]|\b(?:the|an?|my|last|previous|first|that|this|of|with|from|like|an?other)\s*)\Z",
    re.IGNORECASE,
)
_TAGGED = re.compile(
    r"<action>\s*+(?P<text>[^<\n\r]*)(?:\s*+</action>)?"
    r"|\[action\]\s*+(?P<bracketed>[^\[\n\r]*)\[/action\]"
    r"|(?P<boxed>\\boxed\{[^\n\r]*)",
    re.IGNORECASE,
)
_FIELD = re.compile(
    r"""["'](?:next_|final_)?action["']\s{0,9}:\s{0,9}"""
    r"""(?:"(?P<text>(?:[^"\\\n]|\\.)*)"|'(?P<other>[^'\n]*)')""",
    re.IGNORECASE,
)
_INPUT = re.compile(
    rf"[ \t\r]*+\n\s*+{_DECORATION}action[ \t]+input{_COLON}(?P<text>[^\n\r]*)", re.IGNORECASE
)
# A model that will not play; what cannot be done in the game is told in other words.
_REFUSAL = re.compile(
    r"\W*+[^.\n]{0,60}?\b(?:can(?:'|’|no)?t|can not|won't|(?:unable|not able) to)\s+"
    r"(?:help with|assist|comply|fulfil|participate|engage|provide|continue with)",
    re.IGNORECASE,
)
_REST = re.compile(r"[^\n\r]*")
_FENCE = re.compile(r"[ \t]*+`{3,}[ \t]*\w*[ \t]*\Z")
_CLOSING_FENCE = re.compile(r"\s*+`{3,}")
_TAGS = re.compile(
    r"</?(?:action|answer|command|p|b|i|em|strong|code|end|eos|stop)>|<br\s?/?>|\[/?(?:action|end)\]"
    r"|(?:\\n)+\Z|\*\*",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?(?P<text>[^{}\n\r]*+)\}")
# A command in code marks, and what is said of it.
_CODE = re.compile(r"`{1,3}(?P<text>[^`]*\w[^`]*)`{1,3}\s*+(?=[^`\s])")
_MARKED = re.compile(r"`([^`]*)`")
# Emoji, halves of characters, marks without a width: no command begins or ends with them.
_SIGNS = ("So", "Sk", "Cs", "Co", "Cn", "Cf")
_JOINERS = "\ufe0f\u20e3"
_BULLET = re.compile(r"(?:(?:[-•>]|\d{1,2}[.)])\s++)+")
_PAIRS = {"“": "”", "‘": "’", "«": "»", "「": "」", "[": "]", "<": ">", "(": ")", "{": "}"}


class ActionReading(NamedTuple):
    """What a reply says."""

    said: str
    """The answer up to the end of its action; whole when it holds none."""
    action: str | None
    fault: str
    """Why there is no action: `empty`, `only reasoning`, `refusal`, `no action line`,
    `empty action`."""


def read_action(reply: str) -> ActionReading:
    """The action that a reply names, and what of the reply is the agent's own.

    The action is the last line `Action: ...` of the turn's own answer, which ends where the model
    goes on to invent an observation or its next thought. Where no line begins so, <action> tags, a
    JSON field `action` and a label in the middle of a line are read. Markdown, quotes, fences and
    the like around label and action are no part of the action.
    """
    reasoning, answer = split_reasoning(encodable(reply))
    if not answer.strip():
        return ActionReading(answer, None, "only reasoning" if reasoning else "empty")
    for read in (_from_lines, _from_tags, _from_json, _from_mention):
        if found := read(answer):
            end, action = found
            if _REFUSAL.match(action):
                return ActionReading(answer, None, "refusal")
            fence = _CLOSING_FENCE.match(answer, end)
            if fence and answer.count("```", 0, end) % 2:
                end = fence.end()
            return ActionReading(answer[:end].rstrip(), action, "")
    if _REFUSAL.match(answer):
        return ActionReading(answer, None, "refusal")
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
    line = _REST.match(answer, start)
    while not line[0].strip("*_` \t") or _FENCE.match(line[0]):
        if line.end() == len(answer):
            return None
        line = _REST.match(answer, line.end() + 1)
        if _LINE.match(answer, line.start()):
            return None
    following = _NEXT.search(answer, line.start(), line.end())
    end = following.start() if following else line.end()
    action = _command(answer[line.start() : end], shouted=label["action"].isupper())
    if not action:
        return None
    if not following and (more := _INPUT.match(answer, end)):
        value = _command(more["text"])
        if value and value.lower() not in ("none", "n/a", "null"):
            action, end = f"{action} {value}", more.end()
    return end, action


def _from_tags(answer: str) -> tuple[int, str] | None:
    """Where the last <action>, [ACTION] or boxed text of the turn ends, and its action."""
    told = ((tag.end(), _command(tag[tag.lastgroup])) for tag in _TAGGED.finditer(answer))
    return _last(answer, told)


def _from_json(answer: str) -> tuple[int, str] | None:
    """Where the answer ends whose last field `action` holds the action, and that."""
    told = ((field.end(), _command(_field_value(field))) for field in _FIELD.finditer(answer))
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
    beginning, within = [], []
    for mention in _MENTION.finditer(answer):
        before = answer[max(mention.start() - 20, 0) : mention.start()].rstrip(" \t")
        begins = not before or before[-1] in ".!?:;,。！？：；…)*\n\r"
        if _SPOKEN_OF.search(before) or not (begins or mention["action"][0].isupper()):
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
            line_end = _REST.match(answer, label.end()).end()
        following = _NEXT.search(answer, label.end(), line_end)
        end = following.start() if following else line_end
        yield end, _command(answer[label.end() : end], shouted=label["action"].isupper())


def _field_value(field: re.Match) -> str:
    if field["text"] is None:
        return field["other"]
    try:
        return json.loads(f'"{field["text"]}"', strict=False)
    except ValueError:
        return field["text"]


def _command(text: str, *, shouted: bool = False) -> str:
    """A command without what models put around it; empty where no word is left.

    After a label in capitals, a command in capitals is meant in the usual small letters.
    """
    if field := _FIELD.search(text):
        text = _field_value(field)
    if boxed := _BOXED.search(text):
        text = boxed["text"]
    text, before = " ".join(_TAGS.sub("", text).splitlines()).strip(), None
    if code := _CODE.match(text):
        text = code["text"]
    text = _MARKED.sub(r"\1", text)
    while text != before:
        before = text
        text = _without_signs(text.strip().strip(".。…").strip("*_`| \t\0").rstrip(";!"))
        if bullet := _BULLET.match(text):
            text = text[bullet.end() :]
        text = _unquoted(text)
    if not re.search(r"\w", text):
        return ""
    return text.lower() if shouted and text.isupper() else text


def _without_signs(text: str) -> str:
    """Without emoji and the like around it."""

    def is_sign(character: str) -> bool:
        return unicodedata.category(character) in _SIGNS or character in _JOINERS

    begin, end = 0, len(text)
    while begin < end and is_sign(text[begin]):
        begin += 1
    while begin < end and is_sign(text[end - 1]):
        end -= 1
    return text[begin:end]


def _unquoted(text: str) -> str:
    """Without quotes or brackets around the whole, and without a quote that only begins or ends."""
    for quote in "\"'":
        if len(text) > 1 and text[0] == text[-1] == quote:
            return text.strip(quote)
        if text.count(quote) == 1:
            text = text.strip(quote)
    if len(text) > 1 and _PAIRS.get(text[0]) == text[-1]:
        inner = text[1:-1]
        paired = inner.count(text[0]) == inner.count(text[-1])
        if paired and inner.find(text[0]) <= inner.find(text[-1]):
            return inner
    return text
