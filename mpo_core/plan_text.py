"""What a planner's words mean: the steps of the plan in its answer."""

import re
from typing import NamedTuple

from mpo_core.reading import split_reasoning

_TAGGED = re.compile(r"<(plan|workflow)>(.*?)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_STEP = re.compile(r"^\W*(?:step\s*)?\d+\s*[.:)]\W*(?P<text>\S.*)$", re.IGNORECASE)


class PlanReading(NamedTuple):
    """What a planner's answer holds."""

    text: str | None
    """The plan as lines `Step k: ...`; None when there is none."""
    fault: str
    """Why there is none: `empty`, `only reasoning`, `no steps`, `empty steps`, `refusal`,
    `cut before the first step ended`."""


def read_plan(answer: str, truncated: bool = False) -> PlanReading:
    """The plan in a planner's answer, and why there is none."""
    reasoning, answer = split_reasoning(answer)
    if not answer.strip():
        return PlanReading(None, "only reasoning" if reasoning else "empty")
    tagged = _TAGGED.search(answer)
    body = tagged[2] if tagged else answer
    steps = [m["text"].strip() for line in body.splitlines() if (m := _STEP.match(line.strip()))]
    if not steps:
        return PlanReading(None, "no steps")
    if truncated and not (tagged and tagged[0].endswith(">")):
        steps = steps[:-1]
    if not steps:
        return PlanReading(None, "cut before the first step ended")
    return PlanReading("\n".join(f"Step {k}: {text}" for k, text in enumerate(steps, 1)), "")
