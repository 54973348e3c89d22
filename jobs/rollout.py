"""Stage: the agent attempts the training tasks under their plans, for the plans' scores."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jobs.plans import load_plans
from jobs.progress import Progress
from jobs.run import Run, in_round
from jobs.tasks import load_tasks
from mpo_core.attempts import all_attempts, first_attempts
from mpo_core.episode import EpisodeRequest, Protocol
from mpo_core.errors import InputError
from mpo_core.expert import EXPERT, Recital, expert_request
from mpo_core.ledger import Ledger
from mpo_core.models import ChatModel
from mpo_core.rollout import play_owed
from mpo_core.scoring import load_scores, save_scores, score_plans
from mpo_core.types import Episode, EpisodeFigures, Plan, PlanScore, Task

SCORING = "scoring"
EVALUATION = "evaluation"
VALIDATION = "validation"
Episodes = Ledger[Episode, EpisodeFigures]


def collect_scores(run: Run, version: str, round_number: int = 1) -> list[PlanScore]:
    """Play what is owed of `episodes/scoring.jsonl`; write the scores of a planner's plans."""
    requests = scoring_requests(run, version)
    episodes = play(run, SCORING, requests)
    if run.config.scoring.repetitions == "auto":
        requests = scoring_requests(run, version, episodes)
        episodes = play(run, SCORING, requests)
    scores = score_plans(requests, episodes)
    save_scores(scores, scores_path(run, round_number))
    return scores


def scoring_requests(
    run: Run, version: str, played: Iterable[EpisodeFigures] = ()
) -> list[EpisodeRequest]:
    """The episodes that a planner's plans are scored by.

    With `scoring.repetitions: auto` those of the first batch, and where all of these are among the
    played ones, all that follow from them: the same episodes, however often a run is taken up.

    Raises:
        InputError: plans are lacking.
    """
    tasks, plans = load_tasks(run, "train"), load_plans(run, version, "train")
    scoring = run.config.scoring
    if scoring.repetitions != "auto":
        return episode_requests(run, tasks, plans, scoring.repetitions, scoring.temperature)
    attempts = first_attempts(plans, scoring.mean_repetitions)
    first = episode_requests(run, tasks, plans, attempts, scoring.temperature)
    if {request.key for request in first} - {episode.key for episode in played}:
        return first
    rewards = {score.plan_id: score.rewards for score in score_plans(first, played)}
    attempts = all_attempts(plans, rewards, scoring.mean_repetitions, scoring.max_repetitions)
    return episode_requests(run, tasks, plans, attempts, scoring.temperature)


def scores_path(run: Run, round_number: int = 1) -> Path:
    return run.dir / in_round("scores.parquet", round_number)


def load_plan_scores(run: Run, round_number: int = 1) -> list[PlanScore]:
    """A round's scores. Raises InputError where there are none yet."""
    path = scores_path(run, round_number)
    if not path.is_file():
        raise InputError(f"{path}: no scores; run `mpo rollout` with the same config first")
    return load_scores(path)


def play(run: Run, name: str, requests: Sequence[EpisodeRequest]) -> Episodes:
    """The ledger with the requested episodes; those that it lacks are played."""
    with episode_ledger(run, name) as ledger:
        owed = [request for request in requests if request.key not in ledger]
        if owed:
            asked = any(request.model != EXPERT for request in owed)
            model = run.model("agent") if asked else Recital(())
            asyncio.run(_play(run, name, requests, ledger, model))
        return ledger


def episode_ledger(run: Run, name: str) -> Episodes:
    """Episodes on disk, by key, and their figures in memory."""
    path = run.dir / "episodes" / f"{name}.jsonl"
    return Ledger(path, Episode, key=lambda e: e.key, figures=EpisodeFigures)


def episode_requests(
    run: Run,
    tasks: Sequence[Task],
    plans: Sequence[Plan] | None,
    repetitions: int | Mapping[str, int],
    temperature: float,
) -> list[EpisodeRequest]:
    """Every plan `repetitions` times, or as often as is given by its id; without plans, every
    task."""
    model = run.fingerprint("agent")
    # One a task: there may be hundreds of thousands of requests.
    told = {task.id: (task, agent_protocol(run, task, temperature)) for task in tasks}
    asked = [(p.task_id, p) for p in plans] if plans is not None else [(t.id, None) for t in tasks]
    return [
        EpisodeRequest.of(task, plan, model, protocol, repetition)
        for task_id, plan in asked
        for task, protocol in [told[task_id]]
        for repetition in range(
            repetitions if isinstance(repetitions, int) else repetitions[plan.id]
        )
    ]


def expert_requests(run: Run, tasks: Sequence[Task]) -> list[EpisodeRequest]:
    """The expert's one episode of every task."""
    return [expert_request(task, run.suites[task.env].protocol()) for task in tasks]


def agent_protocol(run: Run, task: Task, temperature: float) -> Protocol:
    """How the config's agent plays a task."""
    agent = run.config.agent
    return Protocol(
        plan_mode=agent.plan_mode,
        temperature=temperature,
        max_tokens=agent.max_tokens,
        invalid_limit=agent.invalid_limit,
        max_steps=agent.max_steps or run.suites[task.env].step_limit(task),
        example=agent.example,
        thoughts=agent.thoughts,
        list_actions=agent.list_actions,
        seed=run.config.seed,
        prompts=run.prompts[task.env].fingerprint,
        env=run.suites[task.env].protocol(),
    )


async def _play(
    run: Run,
    name: str,
    requests: Sequence[EpisodeRequest],
    ledger: Episodes,
    model: ChatModel,
) -> None:
    keys = {request.key for request in requests}
    done = sum(key in ledger for key in keys)
    async with run.backend.players(run.suites, run.prompts, model) as (play_one, places):
        with run.timed(name) as amounts, Progress(name, len(keys), done, "episodes") as progress:
            try:
                await play_owed(
                    requests,
                    play_one,
                    ledger,
                    concurrency=places,
                    attempts=run.config.cluster.episode_attempts,
                    unusable_limit=run.config.agent.unusable_limit,
                    on_episode=progress.episode,
                )
            finally:
                amounts["completion_tokens"] = progress.tokens
                amounts["env_steps"] = progress.steps
