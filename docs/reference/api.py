"""What programs import, as Markdown that lets Sphinx read the docstrings."""

import inspect
from importlib import import_module

import mpo_core
from mpo_core.config import Section

BASE = "mpo_core.envs.base"
LOOP = (
    *("environments", "model", "planner", "agent", "from_config", "seed_plans", "sample_plans"),
    *("play", "score_plans", "make_pairs", "make_demonstrations", "scored_answers", "train"),
    "evaluate",
)
"""The functions in the order of their use; others come after them."""
OF_ENVIRONMENTS = ("Suite", "Host", "Environment", "Reset", "Step")


def parts() -> dict[str, list[str]]:
    """Title -> names of `mpo_core`. Sections of the config stand in the reference of settings."""
    things = {name: getattr(mpo_core, name) for name in mpo_core.__all__}
    classes = {name: thing for name, thing in things.items() if inspect.isclass(thing)}
    errors = [name for name, thing in classes.items() if issubclass(thing, Exception)]
    records = [
        name
        for name, thing in classes.items()
        if name not in errors and not issubclass(thing, Section)
    ]
    functions = [name for name, thing in things.items() if inspect.isfunction(thing)]
    return {
        "The loop": [*LOOP, *(name for name in functions if name not in LOOP)],
        "What its functions take and give": records,
        "Errors": errors,
    }


def markdown() -> str:
    """A heading a part, each name by its docstring."""
    loop = "".join(
        f"\n## {title}\n\n{_directives('mpo_core', names)}" for title, names in parts().items()
    )
    environments = _directives(BASE, OF_ENVIRONMENTS)
    return f"{loop}\n## An environment of one's own\n\n`{BASE}`\n\n{environments}"


def _directives(module: str, names: list[str] | tuple[str, ...]) -> str:
    lines = []
    for name in names:
        thing = getattr(import_module(module), name)
        if inspect.isclass(thing):
            kind = "autoexception" if issubclass(thing, Exception) else "autoclass"
            lines += [f".. {kind}:: {module}.{name}", "   :members:", ""]
        else:
            lines += [f".. autofunction:: {module}.{name}", ""]
    return "```{eval-rst}\n" + "\n".join(lines) + "\n```\n"
