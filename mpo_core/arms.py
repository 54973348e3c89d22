"""The arms of an evaluation as values: whose plans are played on held-out tasks, and what came of
it. Tables and intervals are `mpo_core.evaluation`'s."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mpo_core.config import EvaluationConfig, validated
from mpo_core.episode import EpisodeRequest, requests_of
from mpo_core.errors import InputError
from mpo_core.evaluation import Attempt, compare, task_results
from mpo_core.expert import EXPERT, expert_request
from mpo_core.loop import CLUSTER, episode_ledger, kept, played, sample_plans
from mpo_core.setup import Agent, Environments, Planner
from mpo_core.types import Episode, Plan, Task, TaskResult

EVALUATION = EvaluationConfig()
WHOSE = "an arm plays a planner's plans, given plans, None or EXPERT"
Arm = Planner | Sequence[Plan] | Literal["expert"] | None
"""Whose plans an arm plays: a planner's, given ones, or none; or the expert itself."""


@dataclass(frozen=True)
class Evaluation:
    """What the arms of an evaluation reached, and their episodes."""

    results: list[TaskResult]
    """A row for each arm and task."""
    attempts: list[Attempt[Episode]]
    """Each episode with its arm and task."""
    comparison: dict[str, Any]
    """The statistics: `mpo_core.evaluation.compare`."""

    @property
    def table(self) -> pd.DataFrame:
        """A row for each environment, split and arm: mean reward with its 95% bootstrap interval
        over tasks (`ci95`), success rate, mean steps, number of tasks and episodes."""
        return pd.DataFrame(self.comparison["table"]).drop(columns="seed")

    @property
    def differences(self) -> pd.DataFrame:
        """A row for each arm against the reference one (`sft`, `base` or `none`, else the first),
        task by task: mean difference (`diff`) and its 95% interval."""
        columns = ["env", "split", "arm_a", "arm_b", "diff", "ci95", "n"]
        return pd.DataFrame(self.comparison["paired"], columns=columns)


def evaluate(
    envs: Environments,
    tasks: Sequence[Task],
    arms: Mapping[str, Arm],
    agent: Agent,
    *,
    repetitions: int = EVALUATION.repetitions,
    temperature: float = EVALUATION.temperature,
    plan_samples: int = EVALUATION.plan_samples,
    bootstrap: int = EVALUATION.bootstrap,
    folder: str | Path | None = None,
    episodes_in_flight: int = CLUSTER.episodes_in_flight,
) -> Evaluation:
    """The arms play held-out tasks, and are compared task by task.

    Args:
        arms: name -> whose plans it plays: a planner (one plan a task, at its
            `evaluation_temperature`), given plans (at least one a task), None for no plan, or
            `EXPERT` for the environment's own solution. Arms are compared with `sft`, `base` or
            `none`, the first of these that there is, else with the first arm.
        repetitions: episodes a plan.
        temperature: of the agent's replies; 0 is greedy.
        plan_samples: further plans a task of each planner, at its `temperature`, whose results
            stand in `comparison["sampled"]`.
        bootstrap: resamples of the tasks behind each interval.
        folder: keeps plans and episodes, in `plans.jsonl` and `episodes.jsonl`.

    Raises:
        InputError: no task or arm, a task without a plan, or what `play` and `sample_plans` raise.

    Example:
        >>> arms = {"none": None, "base": planner, "mpo": trained.planner, "expert": EXPERT}
        >>> evaluate(envs, envs.tasks("unseen"), arms, agent).table
    """
    if not tasks or not arms:
        raise InputError("evaluate: no tasks or no arms to compare; give some of both")
    measured = {"repetitions": repetitions, "temperature": temperature}
    measured |= {"plan_samples": plan_samples, "bootstrap": bootstrap}
    validated(EvaluationConfig, measured, "evaluate")
    fingerprint = agent.model.fingerprint
    asked: list[tuple[str, bool, EpisodeRequest]] = []

    def ask(name: str, plans: Sequence[Plan] | None, sampled: bool = False) -> None:
        requests = requests_of(
            tasks, plans, repetitions, fingerprint, lambda t: agent.protocol(envs, t, temperature)
        )
        asked.extend((name, sampled, request) for request in requests)

    for name, arm in arms.items():
        if isinstance(arm, Planner):
            greedy = arm.settings.evaluation_temperature
            single = sample_plans(envs, tasks, arm, per_task=1, temperature=greedy, folder=folder)
            ask(name, single)
            if plan_samples:
                drawn = sample_plans(envs, tasks, arm, per_task=plan_samples, folder=folder)
                ask(name, drawn, sampled=True)
        elif isinstance(arm, str):
            if arm != EXPERT:
                raise InputError(f"evaluate: {name}: {arm!r}: {WHOSE}")
            requests = [expert_request(task, envs.of(task)[0].protocol()) for task in tasks]
            asked += [(name, False, request) for request in requests]
        else:
            _require_plans(name, arm, tasks)
            ask(name, arm)
    with kept(folder) as place, episode_ledger(place) as ledger:
        requests = [request for _, _, request in asked]
        episodes = played(envs, requests, agent, ledger, "evaluation", in_flight=episodes_in_flight)
    attempts = [
        Attempt(name, request.task, episode, sampled)
        for (name, sampled, request), episode in zip(asked, episodes, strict=True)
    ]
    results = task_results(attempts, agent.seed)
    return Evaluation(results, attempts, compare(results, bootstrap))


def _require_plans(name: str, arm: Sequence[Plan] | None, tasks: Sequence[Task]) -> None:
    """Raises InputError for given plans that lack a task's, and for what is nothing of the kind."""
    if arm is None:
        return
    if not isinstance(arm, Sequence):
        raise InputError(f"evaluate: {name}: {arm!r:.60}: {WHOSE}")
    planned = {plan.task_id for plan in arm}
    if lacking := [task.id for task in tasks if task.id not in planned]:
        raise InputError(
            f"evaluate: {name}: {len(lacking)} of {len(tasks)} tasks have no plan, the first "
            f"{lacking[0]}"
        )
