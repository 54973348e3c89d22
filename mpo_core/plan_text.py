"""What a planner's words mean: the steps of the plan in its answer.

An answer is read in three stages: which part of it holds the plan, its lines by what they begin
with (`mpo_core.plan_lines`), and which of these lines are steps. A plan as JSON or as a list in
Python's notation is read by its values.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mpo_core.markup import seen, unstyled
from mpo_core.plan_lines import MARKED, Line, lines_of, step_text
from mpo_core.plan_list import listed
from mpo_core.plan_values import steps_of_values
from mpo_core.reasoning import calls_tool, encodable, refuses, split_reasoning


class PlanReading(NamedTuple):
    """What a planner's answer holds."""

    text: str | None
    """The plan as lines `Step k: ...`; None when there is none."""
    fault: str
    """Why there is none: `empty`, `only reasoning`, `refusal`, `tool call`, `no steps`,
    `empty steps`, `cut before the first step ended`."""


def read_plan(answer: str, truncated: bool = False) -> PlanReading:
    """The plan in a planner's answer, or why there is none.

    Read is the first list of steps, inside <plan> or <workflow> tags when there are such: lines
    labelled as steps in any of several languages, else numbered ones, else bullets, a table, or
    JSON. What stands before and after is dropped, a second list too. Sub-steps stay inside their
    step. A truncated answer loses its last, unfinished step.
    """
    reasoning, answer = split_reasoning(encodable(answer))
    if not answer.strip():
        return PlanReading(None, "only reasoning" if reasoning else "empty")
    refused = refuses(answer)
    found = None
    for body in _bodies(answer):
        found = found or _steps_of(body, lenient=not refused)
    if found is None:
        fault = "refusal" if refused else "tool call" if calls_tool(answer) else "no steps"
        return PlanReading(None, fault)
    steps = found.steps[:-1] if truncated and not found.finished else found.steps
    parts = (part for step in steps for part in _INLINE_STEP.split(step_text(step)))
    steps = [text for part in parts if (text := step_text(part))]
    if steps:
        return PlanReading("\n".join(f"Step {k}: {text}" for k, text in enumerate(steps, 1)), "")
    cut = any(map(step_text, found.steps))
    return PlanReading(None, "cut before the first step ended" if cut else "empty steps")


@dataclass(frozen=True)
class _Body:
    text: str
    tagged: bool = False
    closed: bool = False
    """Its end was reached: a closing tag follows."""


@dataclass(frozen=True)
class _Steps:
    steps: list[str]
    finished: bool = False
    """The last step is whole, even if the answer was cut."""


_TAG = r"(?:meta[-_ ]?)?(?:plan|workflow|steps)"
_TAGGED = re.compile(
    rf"<(?P<tag>{_TAG})(?:\s[^<>]{{0,80}})?>(?P<body>.*?)(?:(?P<end></(?P=tag)>)|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_CLOSING = re.compile(rf"</{_TAG}>", re.IGNORECASE)
_ITEM = re.compile(r"<(?:step|li|item)(?:[ _-]?\d{1,2}|\s[^<>]{0,80})?>|\\item\b", re.IGNORECASE)
_BREAK = re.compile(
    r"<br\s?/?>|</?(?:step[ _-]?\d{0,2}|li|item|ol|ul|p|div|h[1-6]"
    r"|answer|response|output|solution)>|\\(?:begin|end)\{(?:enumerate|itemize)\}",
    re.IGNORECASE,
)
# A line break that was written as its escape.
_ESCAPED_BREAK = re.compile(
    r"(?:\\r)?\\n(?=(?:\\n|[\s*_#>])*+(?:Step[ _]?\d|\d{1,2}[.)]\s|(?<=\*)\s|[-•]\s))",
    re.IGNORECASE,
)
_FIRST_INLINE = re.compile(r"(?:^|[:：])[ \t]*(?P<open>\(?)1(?P<close>[.)])[ \t]", re.MULTILINE)
_LATER = (
    r"(?:second(?:ly)?|third(?:ly)?|fourth|fifth|then|next|after (?:that|this)|afterwards?"
    r"|(?:and )?finally|lastly|接着|然后|再|最后|dann|danach|schließlich|zuletzt|ensuite|puis|enfin"
    r"|luego|después|finalmente|por último)"
)
_SENTENCE = re.compile(rf"(?<=[.!?;])[ \t]+(?={_LATER}\b)|(?<=[。；])(?={_LATER})", re.IGNORECASE)
_ORDER = re.compile(
    rf"\W*+(?:(?P<first>first(?:ly)?(?: of all)?|to (?:begin|start)(?: with)?|首先|zuerst|zunächst"
    rf"|d['’]abord|primero)|{_LATER})(?:[ \t]?[,:，：、]|[ \t]?[-–—][ \t]|[ \t](?!to\b|of\b|step))"
    r"[ \t]*(?P<text>\S[^\n]*)",
    re.IGNORECASE,
)
_INLINE_STEP = re.compile(
    r"(?<=[.!?;,:：|])(?:[ \t]+(?:->|→))?[ \t]+"
    r"(?=(?:\*\*|__)?Step \d{1,3}(?:\*\*|__)?(?:[:：.)]|[ \t][-–—]))"
)


def _bodies(answer: str) -> Iterator[_Body]:
    """The parts of an answer that may hold the plan, the likeliest first."""
    for tagged in _TAGGED.finditer(answer):
        yield _Body(tagged["body"], tagged=True, closed=tagged["end"] is not None)
    if (closing := _CLOSING.search(answer)) and answer[: closing.start()].strip():
        yield _Body(answer[: closing.start()], closed=True)
    yield _Body(answer)


def _steps_of(body: _Body, *, lenient: bool) -> _Steps | None:
    """The steps in a part of an answer; None where there is no list.

    A refusal's bullets (not `lenient`) are its reasons.
    """
    if steps := steps_of_values(body.text, _nested):
        return _Steps(steps, finished=True)
    text = _unquoted(_unboxed(seen(body.text)))
    text = unstyled(_ESCAPED_BREAK.sub("\n", text))
    text = _BREAK.sub("\n", _ITEM.sub("\n- ", text))
    text = _INLINE_STEP.sub("\n", text)
    lines: Sequence[Line] = lines_of(text)
    kinds = [line.kind for line in lines]
    if "step" not in kinds and kinds.count("number") < 2:
        lines = lines_of(_on_lines(text))
    lines = _final_version(lines)
    for kind in ("step", "number", "roman", "letter", "bullet")[: 5 if lenient else 4]:
        found = listed(lines, kind)
        if found and (body.tagged or kind in ("step", "number") or len(found.steps) > 1):
            return _Steps(found.steps, found.finished or body.closed)
    if told := _in_order(lines_of(_SENTENCE.sub("\n", text))):
        return _Steps(told, body.closed)
    if body.tagged and (told := [line.text for line in lines if line.kind == "words"]):
        return _Steps(told, body.closed)
    return None


def _unboxed(text: str) -> str:
    """A text without LaTeX's box around its answer."""
    before, box, inner = text.partition(r"\boxed{")
    inner, _, after = inner.rpartition("}")
    return f"{before}{inner}{after}" if box and inner else text


def _unquoted(text: str) -> str:
    """A text of several lines without the quotes around the whole."""
    words = text.strip()
    whole = words[:1] == words[-1:] and words[:1] in ('"', "'") and words.count(words[0]) == 2
    return words[1:-1] if whole and "\n" in words else text


def _on_lines(text: str) -> str:
    """A list that stands in one line (`1. Go. 2. Take.`) with a line for each number."""
    first = _FIRST_INLINE.search(text)
    if first is None:
        return text
    begin, close = first["open"], first["close"]
    at = first.start("open")
    parts, position, number = [text[:at], "\n", text[at : first.end()]], first.end(), 2
    line_end = (text.find("\n", position) + 1 or len(text) + 1) - 1
    while (mark := f" {begin}{number}{close} ") in text[position:line_end] and number < 100:
        at = text.index(mark, position, line_end)
        if not text[position:at].rstrip().endswith((".", "!", "?", ";", ",", ":", "。", "；")):
            break
        parts += [text[position:at], "\n", mark.lstrip()]
        position, number = at + len(mark), number + 1
    return "".join([*parts, text[position:]]) if number > 2 else text


def _in_order(lines: Sequence[Line]) -> list[str]:
    """The sentences of a text that tells its order in words (`First, ...`), a line each."""
    told = [m for line in lines if line.kind == "words" and (m := _ORDER.match(line.whole))]
    if len(told) < 2 or not told[0]["first"]:
        return []
    return [m["text"][0].upper() + m["text"][1:] for m in told]


def _nested(text: str) -> list[str]:
    """The steps of a text that stands for a plan inside a structure."""
    found = _steps_of(_Body(text, tagged=True), lenient=True)
    return found.steps if found else []


def _final_version(lines: Sequence[Line]) -> Sequence[Line]:
    """The lines after the heading of a final version, where there is such and more follows."""
    last = max((k for k, line in enumerate(lines) if line.kind == "final"), default=None)
    if last is None or not any(line.kind in MARKED for line in lines[last + 1 :]):
        return lines
    return lines[last + 1 :]
