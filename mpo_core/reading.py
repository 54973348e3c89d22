"""What a model's words mean: where its reasoning ends, and which action its reply names.

Invariants:
- What a model thinks is never its answer: no action and no plan is read from its reasoning.
- A text without marks of reasoning or of the end of a turn is its own answer, byte for byte.
- Whatever the text, reading raises nothing and takes time in proportion to its length.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# ---------------------------------------------------------------------------------- reasoning

_THOUGHT = (
    r"(?:think\w*|thoughts?|reason(?:ing)?|reflect(?:ion)?|scratch_?pad|analysis|cot"
    r"|(?:inner|internal|hidden)_?(?:monologue|thoughts?)|chain_of_thought)"
)
_ANGLE_OPEN, _ANGLE_CLOSE = r"(?:<|&lt;)", r"(?:>|&gt;)"
_WORD = rf"(?:\w{{1,20}}[:|])?{_THOUGHT}"
_OPENS = "|".join(
    (
        rf"{_ANGLE_OPEN}{_WORD}(?:\s[^<>\n]{{0,80}}|:\w{{1,20}})?(?<!/){_ANGLE_CLOSE}",
        rf"\[{_THOUGHT}\]",
        rf"◁{_THOUGHT}▷",
        rf"<\|(?:(?:start|begin)_(?:of_)?)?{_THOUGHT}\|>",
        rf"<\|open\|>\s*{_THOUGHT}\s*<\|sep\|>",
        r"<\|inner_prefix\|>|<\|channel>|<unused94>",
        r"\A\s*Here(?:'s| is) my thought process:",
    )
)
_CLOSES = "|".join(
    (
        rf"{_ANGLE_OPEN}/\s?{_WORD}(?::\w{{1,20}})?\s?{_ANGLE_CLOSE}",
        rf"\[/{_THOUGHT}\]",
        rf"◁/{_THOUGHT}▷",
        rf"<\|(?:/|end_(?:of_)?){_THOUGHT}\|>",
        rf"<\|close\|>\s*{_THOUGHT}\s*<\|sep\|>",
        r"<\|inner_suffix\|>|<channel\|>|<unused95>",
        r"\bHere(?:'s| is) my response:",
    )
)
_OTHERS = r"user|human|system|tool|ipython|observation|environment|developer"
_TURNS = "|".join(
    (
        r"<\|(?:open|close)\|>\s*\w{1,20}\s*<\|sep\|>",
        r"<[|｜][^<>|｜\n]{1,40}[|｜]>",
        r"\[\|[^\[\]|\n]{1,40}\|\]",
        r"</?s>|<(?:eos|bos|eot|eom|eod|pad)>|<(?:start|end)_of_turn>|<\|turn>|<turn\|>",
        r"\[/?INST\]|\[(?:EOS|BOS)\]|</?(?:assistant|user)>|<extra_id_1>",
    )
)
_MARK = re.compile(
    rf"(?P<opens>{_OPENS})|(?P<closes>{_CLOSES})"
    rf"|(?P<turn>{_TURNS})(?:\s*(?P<other>{_OTHERS})\b|\s*(?:assistant|model|chatbot)\b)?",
    re.IGNORECASE,
)
_OTHERS_TURN = re.compile(rf"(?:{_OTHERS})|^\[INST\]", re.IGNORECASE)

_CHANNEL = re.compile(
    r"<\|channel\|>\s*(?P<name>\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<words>.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
# The same where a server decoded the special tokens to nothing.
_BARE_FINAL = "assistantfinal"
_BARE_ANALYSIS = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)(?=[A-Z])")


def split_reasoning(text: str) -> tuple[str, str]:
    """What a model thought, and what it answered.

    Reasoning is what stands in tags such as <think>, closed or not, or before a closing tag, and
    all of harmony's channels but the final one. The answer ends where the model's turn does: what
    it writes in somebody else's place is dropped.
    """
    thoughts = []
    while (split := _in_channels(text) or _in_tags(text)) is not None:
        thought, text = split
        thoughts.append(thought)
    return "\n".join(filter(None, thoughts)), text


def encodable(text: str) -> str:
    """The text with what no file can hold mended: halves of a character that was cut in two."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _in_channels(text: str) -> tuple[str, str] | None:
    """Reasoning and answer of a text in harmony's channels; None for any other."""
    if "<|channel|>" in text:
        said = list(_CHANNEL.finditer(text))
        answer = [m["words"] for m in said if m["name"] == "final"]
        thought = [text[: said[0].start() if said else None].replace("<|channel|>", "")]
        thought += [m["words"] for m in said if m["name"] != "final"]
        return _joined(thought), _joined(answer)
    before, found, after = text.rpartition(_BARE_FINAL)
    if found:
        return _BARE_ANALYSIS.sub("", before, count=1).strip(), after.strip()
    if begins := _BARE_ANALYSIS.match(text):
        return text[begins.end() :].strip(), ""
    return None


def _in_tags(text: str) -> tuple[str, str] | None:
    """Reasoning and answer of a text with tags and special tokens; None for one without."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    thought, answer, open_at_end = _split_at(text, marks, nested=True)
    if open_at_end:
        # More openings than closings: one of them is only spoken of, or the last is unfinished.
        thought, answer, _ = _split_at(text, marks, nested=False)
    return thought, answer


def _split_at(text: str, marks: list[re.Match], *, nested: bool) -> tuple[str, str, bool]:
    """Reasoning, answer, and whether the text ends in the middle of reasoning."""
    thought: list[str] = []
    answer: list[str] = []
    depth = position = 0
    answered = False
    for mark in marks:
        words = text[position : mark.start()]
        (thought if depth else answer).append(words)
        answered = answered or (not depth and bool(words.strip()))
        position = mark.end()
        if mark["opens"]:
            depth = depth + 1 if nested else 1
        elif mark["closes"]:
            if not depth:
                thought += answer
                answer, answered = [], False
            depth = max(depth - 1, 0)
        elif not depth and (answered or _OTHERS_TURN.search(mark[0])):
            return _joined(thought), _joined(answer), False
    (thought if depth else answer).append(text[position:])
    return _joined(thought), _joined(answer), depth > 0


def _joined(parts: list[str]) -> str:
    return "\n".join(stripped for part in parts if (stripped := part.strip()))


# ------------------------------------------------------------------------------------- actions

_ACTION = (
    r"(?:(?:next|final|my|chosen)[ \t]+)?"
    r"(?:action|aktion|acción|действие|动作|行动|操作|アクション|행동)"
)
_OBSERVATION = r"(?:observations?|obs|environment|user|human|system)"
_THINKING = r"(?:thoughts?|think|reasoning)"
_DECORATION = r"(?:[^\w\n\r]|_){0,30}(?:answer>)?(?:\d{1,2}[.)])?(?:[^\w\n\r]|_){0,5}"
_NUMBER = r"[ \t]{0,4}#?\d{0,3}[ \t]{0,4}[*_`\]]{0,4}[ \t]{0,4}"
_COLON = rf"{_NUMBER}[:：]"
_LINE = re.compile(
    rf"^{_DECORATION}(?:(?P<action>{_ACTION})"
    rf"(?:{_COLON}|{_NUMBER}(?:[-–—=]>|[-–—](?=[ \t]))|(?:[*_]{{2}}|\])[ \t]|{_NUMBER}$)"
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
_TAGGED = re.compile(r"<action>\s*+(?P<text>[^<\n\r]*)(?:\s*+</action>)?", re.IGNORECASE)
_FIELD = re.compile(
    r"""["'](?:next_|final_)?action["']\s{0,9}:\s{0,9}"""
    r"""(?:"(?P<text>(?:[^"\\\n]|\\.)*)"|'(?P<other>[^'\n]*)')""",
    re.IGNORECASE,
)
_INPUT = re.compile(
    rf"[ \t\r]*+\n\s*+{_DECORATION}action[ \t]+input{_COLON}(?P<text>[^\n\r]*)", re.IGNORECASE
)
_REST = re.compile(r"[^\n\r]*")
_FENCE = re.compile(r"[ \t]*+`{3,}[ \t]*\w*[ \t]*\Z")
_CLOSING_FENCE = re.compile(r"\s*+`{3,}")
_TAGS = re.compile(r"</?(?:action|answer|command)>|\*\*", re.IGNORECASE)
_BULLET = re.compile(r"(?:(?:[-•>]|\d{1,2}[.)])\s++)+")
_PAIRS = {"“": "”", "‘": "’", "«": "»", "「": "」", "[": "]", "<": ">", "(": ")", "{": "}"}


class ActionReading(NamedTuple):
    """What a reply says."""

    said: str
    """The answer up to the end of its action; whole when it holds none."""
    action: str | None
    fault: str
    """Why there is no action: `empty`, `only reasoning`, `no action line`, `empty action`."""


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
            fence = _CLOSING_FENCE.match(answer, end)
            if fence and answer.count("```", 0, end) % 2:
                end = fence.end()
            return ActionReading(answer[:end].rstrip(), action, "")
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
    """Where the last <action> of the turn ends, and its action."""
    told = ((tag.end(), _command(tag["text"])) for tag in _TAGGED.finditer(answer))
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
    text, before = " ".join(_TAGS.sub("", text).splitlines()), None
    while text != before:
        before = text
        text = text.strip().strip(".。…").strip("*_` \t\0")
        if bullet := _BULLET.match(text):
            text = text[bullet.end() :]
        text = _unquoted(text)
    if not re.search(r"\w", text):
        return ""
    return text.lower() if shouted and text.isupper() else text


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
