"""The rule-based teacher: an expert's actions made into a general plan, without a model.

What the actions say is kept; where things happened to be, their numbers, looking around and detours
are not. Each environment has its rules, mostly tables of patterns and words.

Invariants:
- A plan holds no digit but the numbers of its steps, and `read_plan` reads it back unchanged.
- The same task and actions give the same plan everywhere.
"""

from collections.abc import Sequence

from mpo_core.abstraction.alfworld import household_steps
from mpo_core.abstraction.scienceworld import science_steps
from mpo_core.errors import InputError
from mpo_core.types import Task

RULES = "rules-1"
"""Origin of the plans; raise it with every change that changes them."""

MOST_STEPS = 8

_ENVIRONMENTS = {"alfworld": household_steps, "scienceworld": science_steps}


def abstract(task: Task, actions: Sequence[str], beginning: str = "") -> str | None:
    """A plan `Step 1: ...` from what the expert did; None when the actions hold nothing to say.

    `beginning` is the episode's first observation, from which the first room is known.

    Raises:
        InputError: there are no rules for the task's environment.
    """
    if task.env not in _ENVIRONMENTS:
        raise InputError(
            f"{task.env}: there is no rule-based teacher for it; set seeds.teacher to a model"
        )
    steps = _shortened(_ENVIRONMENTS[task.env](task.description, actions, beginning))
    return "\n".join(f"Step {k}: {_sentence(s)}" for k, s in enumerate(steps, 1)) or None


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _shortened(steps: Sequence[str]) -> list[str]:
    """At most `MOST_STEPS`: the shortest neighbours become one step."""
    steps = list(steps)
    while len(steps) > MOST_STEPS:
        k = min(range(len(steps) - 1), key=lambda k: len(steps[k]) + len(steps[k + 1]))
        steps[k : k + 2] = [f"{steps[k]}, then {steps[k + 1]}"]
    return steps
