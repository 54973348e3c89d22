"""Stage: the agent attempts the training tasks under their plans, for the plans' scores."""

from collections.abc import Iterable, Mapping, Sequence

from jobs.run import Run
from mpo_core import aio
from mpo_core.chat import ChatModel
from mpo_core.episode import EpisodeProtocol, EpisodeRequest, protocol_of, requests_of
from mpo_core.errors import InputError
from mpo_core.expert import EXPERT, Recital, expert_request
from mpo_core.ledger import Ledger
from mpo_core.progress import EpisodeProgress
from mpo_core.rollout import play_owed
from mpo_core.scoring import load_scores, requests_to_score, save_scores, score_plans
from mpo_core.tracking.pace import Pace
from mpo_core.types import Episode, EpisodeFigures, Plan, PlanScore, Task

SCORING = "scoring"
EVALUATION = "evaluation"
VALIDATION = "validation"
Episodes = Ledger[Episode, EpisodeFigures]


def collect_scores(
    run: Run, tasks: Sequence[Task], plans: Sequence[Plan], round_number: int = 1
) -> list[PlanScore]:
    """Scores of plans of training tasks; what is owed of `episodes/scoring.jsonl` is played, and
    the round's scores are written."""
    requests = scoring_requests(run, tasks, plans)
    episodes = play(run, SCORING, requests)
    if run.config.scoring.repetitions == "auto":
        requests = scoring_requests(run, tasks, plans, episodes)
        episodes = play(run, SCORING, requests)
    scores = score_plans(requests, episodes)
    save_scores(scores, run.files.scores(round_number))
    return scores


def scoring_requests(
    run: Run,
    tasks: Sequence[Task],
    plans: Sequence[Plan],
    played: Iterable[EpisodeFigures] = (),
) -> list[EpisodeRequest]:
    """The episodes that plans are scored by (`requests_to_score`)."""

    def ask(repetitions: int | Mapping[str, int]) -> list[EpisodeRequest]:
        return episode_requests(run, tasks, plans, repetitions, run.config.scoring.temperature)

    return requests_to_score(plans, run.config.scoring, ask, played)


def load_plan_scores(run: Run, round_number: int = 1) -> list[PlanScore]:
    """A round's scores. Raises InputError where there are none yet."""
    path = run.files.scores(round_number)
    if not path.is_file():
        raise InputError(f"{path}: no scores; run `mpo rollout` with the same config first")
    return load_scores(path)


def play(run: Run, name: str, requests: Sequence[EpisodeRequest]) -> Episodes:
    """The ledger with the requested episodes; those that it lacks are played."""
    with episode_ledger(run, name) as ledger:
        owed = [request for request in requests if request.key not in ledger]
        if owed:
            asked = any(request.model != EXPERT for request in owed)
            model = run.agent() if asked else Recital(())
            aio.run(_play(run, name, requests, ledger, model))
        return ledger


def episode_ledger(run: Run, name: str) -> Episodes:
    """Episodes on disk, by key, and their figures in memory."""
    return Ledger(run.files.episodes(name), Episode, key=lambda e: e.key, figures=EpisodeFigures)


def episode_requests(
    run: Run,
    tasks: Sequence[Task],
    plans: Sequence[Plan] | None,
    repetitions: int | Mapping[str, int],
    temperature: float,
) -> list[EpisodeRequest]:
    """Every plan `repetitions` times, or as often as is given by its id; without plans, every
    task."""

    def told(task: Task) -> EpisodeProtocol:
        return agent_protocol(run, task, temperature)

    return requests_of(tasks, plans, repetitions, run.agent_fingerprint(), told)


def expert_requests(run: Run, tasks: Sequence[Task]) -> list[EpisodeRequest]:
    """The expert's one episode of every task."""
    return [expert_request(task, run.suites[task.env].protocol()) for task in tasks]


def agent_protocol(run: Run, task: Task, temperature: float) -> EpisodeProtocol:
    """How the config's agent plays a task."""
    suite, prompts = run.suites[task.env], run.prompts[task.env]
    agent, seed = run.config.agent, run.config.seed
    return protocol_of(agent, task, suite, prompts, temperature=temperature, seed=seed)


async def _play(
    run: Run,
    name: str,
    requests: Sequence[EpisodeRequest],
    ledger: Episodes,
    model: ChatModel,
) -> None:
    label = EXPERT if isinstance(model, Recital) else name
    keys = {request.key for request in requests}
    before = [ledger[key] for key in keys if key in ledger]
    async with run.backend.players(run.suites, run.prompts, model) as (play_one, places):
        with (
            run.timed(name) as amounts,
            EpisodeProgress(label, len(keys), before) as progress,
            Pace(run.opened_tracker, (one.reward for one in before)) as pace,
        ):

            def note(episode: Episode) -> None:
                progress.episode(episode)
                pace.episode(episode)

            try:
                await play_owed(
                    requests,
                    play_one,
                    ledger,
                    concurrency=places,
                    attempts=run.config.cluster.episode_attempts,
                    unusable_limit=run.config.agent.unusable_limit,
                    on_episode=note,
                )
            finally:
                amounts["completion_tokens"] = progress.tokens
                amounts["env_steps"] = progress.steps
