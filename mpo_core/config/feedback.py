"""How a planner learns from what callers of the proxy report (`source: feedback`)."""

from typing import Literal

from pydantic import PositiveInt

from mpo_core.config.declare import Section, decides, operational


class FeedbackConfig(Section):
    """What of the conversations in `proxy.folder` is learnt from, and how."""

    method: Literal["dpo", "rft"] = decides("dpo")
    """Prefer a task's better plans to its worse ones (`training`), or imitate them (`planner.rft`,
    with settings of its own in `planner.rft.training`)."""
    models: list[str] = decides([])
    """The agents, by the names that callers give them, whose conversations count. By default there
    may be one only: rewards of several agents say less about plans than about agents."""
    planners: list[str] = decides([])
    """Versions of the planner whose plans are learnt from; by default all."""
    prompts: str = decides("feedback")
    """Whose prompt the planner is asked by: `feedback`, for any task, or an environment's."""
    least_pairs: PositiveInt = operational(30)
    """Pairs of plans that a round waits for before it trains."""
