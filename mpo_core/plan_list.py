"""Which lines of an answer are the steps of its plan, and what of the others belongs to them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mpo_core.plan_lines import MARKED, Line, step_text

_SENTENCE_ENDS = re.compile(r"[.!?。！？…][\"'”’)*_]*\Z")
_JOINED_BY_SPACE = re.compile(r"[.!?:;,。！？：；…][\"'”’)*_]*\Z")


@dataclass
class Step:
    """A step as it is gathered."""

    line: Line
    text: str
    below: list[str] = field(default_factory=list)
    """Its sub-steps."""
    last_below: int = 0
    """Number of the last of its numbered sub-steps; 0 before there is one."""
    paragraphs: list[str] = field(default_factory=list)
    """What stands under it where it is a heading."""
    left: bool = False
    """Words that are no part of it follow."""

    @property
    def blank(self) -> bool:
        return not step_text(self.text) and not self.below

    def add(self, words: str) -> None:
        """The step's last words go on."""
        if self.below:
            self.below[-1] += f" {words}"
        else:
            self.text += f" {words}"

    def told(self, paragraphs: Sequence[str]) -> str:
        """The step in one line."""
        text = step_text(self.text)
        for more in paragraphs:
            joint = " " if not text or _JOINED_BY_SPACE.search(text) else ": "
            text = f"{text}{joint}{more}".strip()
        below = [told for words in self.below if (told := step_text(words))]
        if not below:
            return text
        told = "; ".join([*(words.rstrip(" .;,") for words in below[:-1]), below[-1]])
        return f"{text.rstrip(' .;,:')}: {told}" if text else told


@dataclass(frozen=True)
class Listed:
    steps: list[str]
    finished: bool
    """Something else begins after the last step."""


def listed(lines: Sequence[Line], kind: str) -> Listed | None:
    """The first list whose steps are lines of this kind; None where there is none.

    It ends where the numbers start again at their first, and at somebody's next task.
    """
    numbers = {line.number: k for k, line in enumerate(lines) if line.kind == kind}
    if kind in ("roman", "letter") and not numbers.keys() >= {1, 2}:
        return None
    # `1. Look` before `Step 2: Act`: one list in two ways of numbering.
    mixed = kind == "step" and 1 not in numbers and numbers
    steps: list[Step] = []
    finished = blank = False
    highest = 0
    for position, line in enumerate(lines):
        if line.kind == "blank":
            blank = True
            continue
        if steps and (_ends(line, kind) or _restarts(line, kind, steps, highest)):
            finished = True
            break
        if not steps:
            if _begins(line, kind) or (mixed and line.kind == "number" and line.number == 1):
                steps.append(_step(line))
        elif _is_step(
            line, kind, steps, comes_later=numbers.get(steps[-1].line.number + 1, -1) > position
        ):
            steps.append(_step(line, steps[-1].last_below))
        else:
            _take_in(line, steps[-1], blank)
        highest = max(highest, steps[-1].line.number) if steps else 0
        blank = False
    if not steps:
        return None
    detailed = any(step.paragraphs for step in steps[:-1])
    told = [step.told(step.paragraphs) for step in steps[:-1]]
    # What stands under the last heading may be the answer's closing words as well.
    told.append(steps[-1].told(steps[-1].paragraphs[:1] if detailed else ()))
    return Listed(told, finished)


def _step(line: Line, last_below: int = 0) -> Step:
    """A step that begins; where its first sub-step begins it (`1.1`), without words of its own."""
    if line.sub:
        return Step(line, "", [line.text], last_below)
    return Step(line, line.text, last_below=last_below)


def _begins(line: Line, kind: str) -> bool:
    return line.kind == kind and (kind != "number" or line.number < 10)


def _ends(line: Line, kind: str) -> bool:
    return line.kind == "task" or (line.kind == "notes" and kind == "bullet")


def _deeper(line: Line, step: Step) -> bool:
    return line.indent > step.line.indent + 1


def _restarts(line: Line, kind: str, steps: Sequence[Step], highest: int) -> bool:
    """Whether a second list begins: at the first's beginning, after higher numbers."""
    if line.kind != kind or kind == "bullet" or line.sub:
        return False
    if kind != "step" and _deeper(line, steps[-1]):
        return False
    return line.number == steps[0].line.number < highest


def _is_step(line: Line, kind: str, steps: Sequence[Step], *, comes_later: bool) -> bool:
    """Whether a line is the list's next step, and no sub-step or sentence of the last one.

    Args:
        comes_later: the number after the last step's is still to come.
    """
    last = steps[-1]
    follows = line.number == last.line.number + 1
    if kind == "step" and line.kind == "number":
        below = line.sub or _deeper(line, last) or last.last_below
        return follows and not below
    if line.kind != kind or line.sub:
        return line.kind == kind and follows
    if kind == "bullet":
        same = line.sign == steps[0].line.sign
        return not _deeper(line, last) and (same or line.indent < last.line.indent)
    below = _deeper(line, last) and (line.number <= last.line.number or last.last_below)
    return kind == "step" or (not below and (follows or not comes_later))


def _take_in(line: Line, step: Step, blank: bool) -> None:
    """A line that begins no step: a part of the last one, or none of the plan."""
    if line.kind in MARKED:
        starts = line.kind in ("bullet", "letter", "roman") or line.sub or line.number == 1
        if step.left:
            return
        if starts or line.number == step.last_below + 1 or _deeper(line, step):
            step.below.append(line.text)
            step.last_below = line.number
        elif not blank:
            step.add(line.whole)
    elif step.blank and not step.left:
        step.text = line.text
    elif not step.left and _goes_on(line, step, blank):
        step.add(line.text)
    elif step.line.heading and line.kind == "words":
        if blank or not step.paragraphs:
            step.paragraphs.append(line.text)
        else:
            step.paragraphs[-1] += f" {line.text}"
    else:
        step.left = True


def _goes_on(line: Line, step: Step, blank: bool) -> bool:
    """Whether a line without a marker is a wrapped part of the step: indented below it, or the
    rest of a sentence."""
    if line.heading or line.kind != "words":
        return False
    if _deeper(line, step):
        return True
    ended = _SENTENCE_ENDS.search(step.below[-1] if step.below else step.text)
    begins = line.text[0]
    return not blank and not ended and (begins.islower() or begins.isdigit() or begins in "(,;&")
