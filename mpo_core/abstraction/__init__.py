"""The rule-based teacher: an expert's actions made into a general plan, without a model.

What the actions say is kept; where things happened to be, their numbers, looking around and detours
are not. Each environment has its own rules (`Suite.plan_steps`), mostly tables of patterns and
words; `wording.py` holds what they share.

Invariants:
- A plan holds no digit but the numbers of its steps, and `read_plan` reads it back unchanged.
- The same task and actions give the same plan everywhere.
"""

from collections.abc import Sequence

from mpo_core.envs.base import Suite
from mpo_core.errors import InputError
from mpo_core.types import Task

RULES = "rules-1"
"""Origin of the plans; raise it with every change that changes them."""

MOST_STEPS = 8


def abstract(suite: Suite, task: Task, actions: Sequence[str], beginning: str = "") -> str | None:
    """A plan `Step 1: ...` from what the expert did; None when the actions hold nothing to say.

    Args:
        suite: the task's environment.
        beginning: the episode's first observation, from which the first room is known.

    Raises:
        InputError: there are no rules for the task's environment.
    """
    steps = suite.plan_steps(task, actions, beginning)
    if steps is None:
        raise InputError(
            f"{task.env}: there is no rule-based teacher for it; let a model teach (seeds.teacher)"
        )
    told = _shortened(steps)
    return "\n".join(f"Step {k}: {_sentence(s)}" for k, s in enumerate(told, 1)) or None


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _shortened(steps: Sequence[str]) -> list[str]:
    """At most `MOST_STEPS`: the shortest neighbours become one step."""
    steps = list(steps)
    while len(steps) > MOST_STEPS:
        k = min(range(len(steps) - 1), key=lambda k: len(steps[k]) + len(steps[k + 1]))
        steps[k : k + 2] = [f"{steps[k]}, then {steps[k + 1]}"]
    return steps
