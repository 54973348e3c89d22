"""What programs import, as Markdown that lets Sphinx read the docstrings."""

import inspect
from importlib import import_module

BASE = "mpo_core.envs.base"
PARTS = {
    "The loop": (
        *("environments", "model", "planner", "agent", "from_config", "seed_plans"),
        *("sample_plans", "play", "score_plans", "make_pairs", "make_demonstrations"),
        *("scored_answers", "train", "evaluate", "feedback"),
    ),
    "What its functions take and give": (
        *("Environments", "Model", "Planner", "Agent", "Setup", "Task", "Plan", "Episode"),
        *("PlanScore", "PreferencePair", "Demonstration", "ScoredAnswer", "Trained"),
        *("Evaluation", "TaskResult"),
    ),
    "Errors": ("InputError", "ContextFull", "EnvironmentLost", "ModelUnavailable"),
}
"""Title -> names of `mpo_core`. Its config's classes stand in the configuration's reference."""
OF_ENVIRONMENTS = ("Suite", "Host", "Environment", "Reset", "Step")


def markdown() -> str:
    """A heading a part, each name by its docstring."""
    loop = "".join(
        f"\n## {title}\n\n{_directives('mpo_core', names)}" for title, names in PARTS.items()
    )
    environments = _directives(BASE, OF_ENVIRONMENTS)
    return f"{loop}\n## An environment of one's own\n\n`{BASE}`\n\n{environments}"


def _directives(module: str, names: tuple[str, ...]) -> str:
    lines = []
    for name in names:
        thing = getattr(import_module(module), name)
        if inspect.isclass(thing):
            kind = "autoexception" if issubclass(thing, Exception) else "autoclass"
            lines += [f".. {kind}:: {module}.{name}", "   :members:", ""]
        else:
            lines += [f".. autofunction:: {module}.{name}", ""]
    return "```{eval-rst}\n" + "\n".join(lines) + "\n```\n"
