"""Plans, episodes and scores as functions of values, in a program or a notebook, without a config
or a run's folder.

Each call opens what it needs (an environment's process, a connection, weights) and closes it at its
end. With `folder`, what is expensive is kept there as it comes, in ledgers: the same call takes it
up again, and what was sampled or played under the same settings is not done twice. Without it,
nothing is left on disk. Every call may be made where an event loop runs already.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from mpo_core import aio, planning, scoring
from mpo_core.completions import Reply
from mpo_core.config import ClusterConfig, PlannerConfig, ScoringConfig, validated
from mpo_core.episode import EpisodeRequest, requests_of
from mpo_core.errors import InputError
from mpo_core.expert import EXPERT, Recital, expert_request
from mpo_core.ledger import Ledger
from mpo_core.planning import Sampling, plan_ledger
from mpo_core.progress import EpisodeProgress, ModelProgress
from mpo_core.rollout import Player, play_owed
from mpo_core.setup import Agent, Environments, Planner
from mpo_core.teacher import Lesson, ModelTeacher, RuleTeacher, Teacher, make_seeds, seeds_of
from mpo_core.types import Episode, Plan, PlanScore, Task

log = logging.getLogger(__name__)
SCORING, CLUSTER = ScoringConfig(), ClusterConfig()


def sample_plans(
    envs: Environments,
    tasks: Sequence[Task],
    planner: Planner,
    *,
    per_task: int | None = None,
    temperature: float | None = None,
    folder: str | Path | None = None,
) -> list[Plan]:
    """Plans that a planner writes for the tasks.

    Args:
        per_task: plans a task; by default the planner's.
        temperature: by default the planner's; 0 is greedy.
        folder: keeps them, in `plans.jsonl`.

    Returns:
        `per_task` plans a task, in the order of the tasks.

    Raises:
        InputError: a task is short of plans that can be read, or the model cannot be used.
        ModelUnavailable: its server does not answer; what was sampled stays in `folder`.

    Example:
        >>> plans = sample_plans(envs, envs.tasks("train"), planner, per_task=5)
    """
    asked = {"per_task": per_task, "temperature": temperature}
    changed = {key: value for key, value in asked.items() if value is not None}
    sampling = _sampling(planner, changed, "sample_plans")
    for task in tasks:
        envs.of(task)
    with kept(folder) as place, plan_ledger(place / "plans.jsonl") as ledger:
        origin = sampling.origin(planner.model.fingerprint, envs.prompts)
        ids = {task.id for task in tasks}
        done = sum(
            plan.origin == origin and plan.task_id in ids and plan.sample < sampling.per_task
            for plan in ledger
        )
        total = len(ids) * sampling.per_task
        if done < total:
            with ModelProgress("plans", total, done, "plans") as progress:

                def note(task: Task, replies: Sequence[Reply]) -> None:
                    tokens = sum(r.completion_tokens for r in replies)
                    progress.answered(sampling.per_task, tokens)

                async def sample() -> None:
                    model = planner.model.connect()
                    try:
                        await planning.sample_plans(
                            tasks, model, envs.prompts, ledger, sampling, on_plans=note
                        )
                    finally:
                        await model.close()

                aio.run(sample())
        return planning.sampled_plans(tasks, ledger, origin, sampling.per_task)


def seed_plans(
    envs: Environments,
    tasks: Sequence[Task],
    teacher: Planner | None = None,
    *,
    folder: str | Path | None = None,
) -> list[Plan]:
    """Plans that a teacher makes of the experts' episodes of the tasks, to fine-tune a planner on.

    Args:
        teacher: a model that is shown each episode and writes its `per_task` plans; by default the
            environments' rules of abstraction, one plan a task.
        folder: keeps episodes and plans, in `episodes.jsonl` and `seeds.jsonl`.

    Returns:
        The plans, in the order of the tasks; the tasks that gave none are named in the log.

    Raises:
        InputError: no task gave a plan.
        ModelUnavailable, EnvironmentLost: what was done stays in `folder`.

    Example:
        >>> rows = make_demonstrations(envs, train, seed_plans(envs, train))
    """
    told: Teacher = RuleTeacher(envs.suites)
    if teacher is not None:
        told = _model_teacher(envs, teacher)
    with kept(folder) as place, plan_ledger(place / "seeds.jsonl") as ledger:
        requests = [expert_request(task, envs.of(task)[0].protocol()) for task in tasks]
        with episode_ledger(place) as solved:
            episodes = played(envs, requests, None, solved, "expert")
        episode_of = dict(zip((task.id for task in tasks), episodes, strict=True))
        done = len({plan.task_id for plan in seeds_of(tasks, told, ledger)})
        faults: dict[str, str] = {}
        if done < len(tasks):
            with ModelProgress("seeds", len(tasks), done, "tasks") as progress:

                def note(lesson: Lesson) -> None:
                    progress.answered(1, sum(r.completion_tokens for r in lesson.replies))

                def solution(task: Task) -> Episode:
                    return episode_of[task.id]

                async def make() -> dict[str, str]:
                    if teacher is None:
                        return await make_seeds(tasks, solution, told, ledger, on_lesson=note)
                    model = teacher.model.connect()
                    try:
                        asked = _model_teacher(envs, teacher, model)
                        return await make_seeds(tasks, solution, asked, ledger, on_lesson=note)
                    finally:
                        await model.close()

                faults = aio.run(make())
        plans = seeds_of(tasks, told, ledger)
    for task_id, fault in faults.items():
        if not plans:
            none = f"seeds: none of the {len(tasks)} tasks gave a plan"
            raise InputError(f"{none}, the first {task_id}: {fault}")
        log.warning("%s: no seed plan: %s", task_id, fault)
    return plans


def play(
    envs: Environments,
    tasks: Sequence[Task],
    plans: Sequence[Plan] | None,
    agent: Agent,
    *,
    repetitions: int | Literal["auto"] = SCORING.repetitions,
    temperature: float = SCORING.temperature,
    folder: str | Path | None = None,
    episodes_in_flight: int = CLUSTER.episodes_in_flight,
) -> list[Episode]:
    """Episodes of the agent, attempting each task under each of its plans.

    Args:
        plans: of these tasks; None plays every task without a plan.
        repetitions: episodes a plan (N), or `auto`: one, and more only where they tell most about
            which of a task's plans is best.
        temperature: of the agent's replies; 0 is greedy.
        folder: keeps the episodes, in `episodes.jsonl`.
        episodes_in_flight: episodes that are played at a time.

    Returns:
        `repetitions` episodes a plan, plan by plan: each with its conversation and reward, 0..1.

    Raises:
        InputError: a plan of another task, too many replies that hold no answer (the agent's
            `unusable_limit`), or a model that cannot be used.
        ModelUnavailable, EnvironmentLost: after several attempts; what was played stays in
            `folder`.

    Example:
        >>> episodes = play(envs, train, plans, agent, repetitions=5)
        >>> scores = score_plans(plans, episodes)
    """
    if plans is None and repetitions == "auto":
        raise InputError("play: repetitions: auto compares plans, and there are none")
    asked = {"repetitions": repetitions, "temperature": temperature}
    config = validated(ScoringConfig, asked, "play")
    fingerprint = agent.model.fingerprint

    def ask(count: int | Mapping[str, int]) -> list[EpisodeRequest]:
        return requests_of(
            tasks, plans, count, fingerprint, lambda t: agent.protocol(envs, t, temperature)
        )

    requests: list[EpisodeRequest] = []
    episodes: list[Episode] = []
    with kept(folder) as place, episode_ledger(place) as ledger:
        while len(more := scoring.requests_to_score(plans or (), config, ask, episodes)) > len(
            requests
        ):
            requests = more
            episodes = played(
                envs, requests, agent, ledger, "episodes", in_flight=episodes_in_flight
            )
    return episodes


def score_plans(plans: Sequence[Plan], episodes: Sequence[Episode]) -> list[PlanScore]:
    """Monte Carlo scores: a plan's mean final reward (0..1) over its episodes, with its standard
    error.

    Returns:
        A score a plan, in the order in which the plans first come; the same text sampled twice for
        a task is one plan.

    Raises:
        InputError: a plan has no episode, or the episodes are of several agents, whose rewards
            cannot be compared.

    Example:
        >>> best = max(score_plans(plans, episodes), key=lambda score: score.exact)
    """
    wanted = dict.fromkeys((plan.task_id, plan.id) for plan in plans)
    of_plan: dict[tuple[str, str], dict[str, float]] = {}
    agents = set()
    for episode in episodes:
        key = (episode.task_id, episode.plan_id or "")
        if key in wanted:
            of_plan.setdefault(key, {})[episode.key] = episode.reward
            agents.add((episode.model, episode.plan_mode))
    if len(agents) > 1:
        named = ", ".join(f"{model} ({mode})" for model, mode in sorted(agents))
        raise InputError(f"score_plans: episodes of several agents: {named}; score them apart")
    for task_id, plan_id in wanted:
        if (task_id, plan_id) not in of_plan:
            raise InputError(f"score_plans: plan {plan_id} of {task_id} was not played")
    return [PlanScore.of(*key, list(of_plan[key].values())) for key in wanted]


def played(
    envs: Environments,
    requests: Sequence[EpisodeRequest],
    agent: Agent | None,
    ledger: Ledger[Episode, Episode],
    name: str,
    *,
    in_flight: int = CLUSTER.episodes_in_flight,
) -> list[Episode]:
    """The requested episodes, in the requests' order; those that the ledger lacks are played.

    Args:
        agent: plays all but the expert's.
        name: of what is done, for its progress.
    """
    keys = {request.key for request in requests}
    owed = [request for request in requests if request.key not in ledger]
    if owed:
        before = [ledger[key] for key in keys if key in ledger]
        with EpisodeProgress(name, len(keys), before) as progress:

            async def play_all() -> None:
                asked = agent is not None and any(one.model != EXPERT for one in owed)
                model = agent.model.connect() if agent is not None and asked else Recital(())
                player = Player(envs.suites, envs.prompts, model)
                try:
                    await play_owed(
                        requests,
                        player.play,
                        ledger,
                        concurrency=in_flight,
                        attempts=CLUSTER.episode_attempts,
                        unusable_limit=agent.settings.unusable_limit if agent else None,
                        on_episode=progress.episode,
                    )
                finally:
                    await player.close()

            aio.run(play_all())
    return [ledger[request.key] for request in requests]


def _sampling(
    planner: Planner,
    changed: Mapping[str, Any],
    where: str,
    asked: Literal["planner", "teacher"] = "planner",
) -> Sampling:
    """How a planner is sampled, with some of its settings changed. Raises InputError for values
    that cannot be."""
    settings = validated(PlannerConfig, planner.settings.model_dump() | dict(changed), where)
    return Sampling(
        per_task=settings.per_task,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        seed=planner.seed,
        resamples=settings.resamples,
        asked=asked,
    )


def _model_teacher(envs: Environments, teacher: Planner, model: Any = None) -> ModelTeacher:
    sampling = _sampling(teacher, {}, "seed_plans", asked="teacher")
    return ModelTeacher(teacher.model.fingerprint, envs.prompts, sampling, model)


def episode_ledger(place: Path) -> Ledger[Episode, Episode]:
    """The episodes of a folder, by key."""
    return Ledger(place / "episodes.jsonl", Episode, key=lambda episode: episode.key)


@contextmanager
def kept(folder: str | Path | None) -> Iterator[Path]:
    """Where ledgers lie: the folder given, or one that goes with the call."""
    if folder is not None:
        yield Path(folder)
        return
    with TemporaryDirectory(prefix="mpo-") as passing:
        yield Path(passing)
