"""Meta Plan Optimization as a library: environments, models, plans, episodes, scores, pairs,
training, evaluation.

    import mpo_core as mpo

    envs = mpo.environments({"alfworld": {}})
    planner = mpo.planner(mpo.model(source="meta-llama/Llama-3.1-8B-Instruct"))
    agent = mpo.agent(mpo.model(endpoint="http://127.0.0.1:8000/v1", name="llama-8b"))
    train, unseen = envs.tasks("train"), envs.tasks("unseen")

    plans = mpo.sample_plans(envs, train, planner)
    episodes = mpo.play(envs, train, plans, agent, folder="mine")
    scores = mpo.score_plans(plans, episodes)
    pairs = mpo.make_pairs(envs, train, plans, scores)
    trained = mpo.train(pairs, planner, "mine/planner")
    arms = {"none": None, "base": planner, "mpo": trained.planner}
    mpo.evaluate(envs, unseen, arms, agent).table

Every function takes values and returns values, and may be called where an event loop runs already,
as in a notebook. From async code, call it in a thread: `await asyncio.to_thread(mpo.play, ...)`.
`from_config` makes environments, planner and agent of a config file. Bad input is an `InputError`
of one line.

Nothing is imported before it is asked for; nothing here imports Ray or vLLM, and only `training/`
imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpo_core.arms import Evaluation, evaluate
    from mpo_core.config import Config, DpoConfig, PgConfig, SftConfig
    from mpo_core.errors import ContextFull, EnvironmentLost, InputError, ModelUnavailable
    from mpo_core.expert import EXPERT
    from mpo_core.loop import play, sample_plans, score_plans, seed_plans
    from mpo_core.proxy.client import feedback
    from mpo_core.setup import (
        Agent,
        Environments,
        Model,
        Planner,
        Setup,
        agent,
        environments,
        from_config,
        model,
        planner,
    )
    from mpo_core.training.local import Trained, train
    from mpo_core.training_rows import make_demonstrations, make_pairs, scored_answers
    from mpo_core.types import (
        Demonstration,
        Episode,
        Plan,
        PlanScore,
        PreferencePair,
        ScoredAnswer,
        Task,
        TaskResult,
    )

__all__ = [
    "EXPERT",
    "Agent",
    "Config",
    "ContextFull",
    "Demonstration",
    "DpoConfig",
    "EnvironmentLost",
    "Environments",
    "Episode",
    "Evaluation",
    "InputError",
    "Model",
    "ModelUnavailable",
    "PgConfig",
    "Plan",
    "PlanScore",
    "Planner",
    "PreferencePair",
    "ScoredAnswer",
    "Setup",
    "SftConfig",
    "Task",
    "TaskResult",
    "Trained",
    "agent",
    "environments",
    "evaluate",
    "feedback",
    "from_config",
    "make_demonstrations",
    "make_pairs",
    "model",
    "planner",
    "play",
    "sample_plans",
    "score_plans",
    "scored_answers",
    "seed_plans",
    "train",
]

_HOMES = {
    "arms": ("Evaluation", "evaluate"),
    "config": ("Config", "DpoConfig", "PgConfig", "SftConfig"),
    "errors": ("ContextFull", "EnvironmentLost", "InputError", "ModelUnavailable"),
    "expert": ("EXPERT",),
    "loop": ("play", "sample_plans", "score_plans", "seed_plans"),
    "proxy.client": ("feedback",),
    "setup": (
        *("Agent", "Environments", "Model", "Planner", "Setup"),
        *("agent", "environments", "from_config", "model", "planner"),
    ),
    "training.local": ("Trained", "train"),
    "training_rows": ("make_demonstrations", "make_pairs", "scored_answers"),
    "types": (
        *("Demonstration", "Episode", "Plan", "PlanScore", "PreferencePair"),
        *("ScoredAnswer", "Task", "TaskResult"),
    ),
}
"""Module -> the names of `__all__` that it holds."""
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A name of `__all__`, its module imported at first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
