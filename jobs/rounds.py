"""Rounds: sampling, scoring, pairing and training, each from the planner of the round before.

A round's planner is kept when its plans earn more on the validation tasks than those of the round
before; the first that does not ends the rounds. With `evaluation.plan_samples` those are as many
sampled plans a task, whose mean is less left to chance than that of the greedy ones. What happened
stands in `rounds.json`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jobs.pairs import collect_pairs
from jobs.plans import collect_plans
from jobs.rollout import VALIDATION, collect_scores, episode_requests, play
from jobs.run import Round, Run
from jobs.tasks import set_apart
from jobs.train import train_on_pairs
from mpo_core.exact import exact_mean
from mpo_core.files import write_text
from mpo_core.types import Plan, PlanScore, PreferencePair, Task


@dataclass(frozen=True)
class Outcome:
    """What a round came to."""

    round: int
    planner: str
    start: str
    pairs: int
    validation_reward: float | None
    """Mean reward under the planner's plans on the validation tasks; None without such tasks."""
    kept: bool


@dataclass(frozen=True)
class Rounds:
    """What the rounds came to, and what else is learnt from: the first one's scored plans."""

    outcomes: list[Outcome]
    plans: list[Plan]
    scores: list[PlanScore]
    pairs: list[PreferencePair]


def run_rounds(run: Run, tasks: Sequence[Task]) -> Rounds:
    """All rounds on the training tasks, until one does not help; one only where none trains a
    planner to go on from."""
    outcomes: list[Outcome] = []
    first: tuple[list[Plan], list[PlanScore], list[PreferencePair]] | None = None
    for number in range(1, run.config.rounds + 1):
        this = Round.of(run.config, number)
        with run.opened_tracker.nested(f"round {number}", "round"):
            plans = collect_plans(run, this.start, "train", tasks)
            scores = collect_scores(run, tasks, plans, number)
            pairs = collect_pairs(run, tasks, plans, scores, number)
            first = first or (plans, scores, pairs)
            outcome = _run_round(run, this, tasks, pairs, outcomes)
            run.opened_tracker.log_tags({f"mpo.{k}": v for k, v in asdict(outcome).items()})
        outcomes.append(outcome)
        write_text(run.files.rounds, json.dumps([asdict(o) for o in outcomes], indent=1))
        if not outcome.kept or not run.config.trains:
            break
    assert first is not None, "there is at least one round"
    return Rounds(outcomes, *first)


def _run_round(
    run: Run,
    this: Round,
    tasks: Sequence[Task],
    pairs: Sequence[PreferencePair],
    before: list[Outcome],
) -> Outcome:
    """Train on a round's pairs, and see whether that has helped."""
    if before and not pairs:
        # Nothing tells its plans apart any more: the planner before is the last.
        return Outcome(this.number, this.version, this.start, 0, None, kept=False)
    if not run.config.trains:
        return Outcome(this.number, this.start, this.start, len(pairs), None, kept=True)
    train_on_pairs(run, this, pairs)
    reward = _validation_reward(run, this.version, tasks) if run.config.rounds > 1 else None
    to_beat = before[-1].validation_reward if before else None
    kept = to_beat is None or reward is None or reward > to_beat
    return Outcome(this.number, this.version, this.start, len(pairs), reward, kept)


def rounds(run: Run) -> list[dict[str, Any]]:
    """The outcomes of the rounds so far."""
    path = run.files.rounds
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def final_version(run: Run) -> str:
    """The planner that the rounds have kept last."""
    kept = [outcome["planner"] for outcome in rounds(run) if outcome["kept"]]
    return kept[-1] if kept else Round.of(run.config, 1).version


def _validation_reward(run: Run, version: str, tasks: Sequence[Task]) -> float | None:
    """Mean reward under a planner's plans on the training tasks that are set apart."""
    apart, evaluation = set_apart(tasks, run.config.validation), run.config.evaluation
    if not apart:
        return None
    plans = collect_plans(run, version, "validation", apart, evaluation.plan_samples)
    requests = episode_requests(run, apart, plans, evaluation.repetitions, evaluation.temperature)
    episodes = play(run, VALIDATION, requests)
    rewards = [episodes[request.key].reward for request in requests]
    # The float of an exact mean: rounds that earn the same are equal.
    return float(exact_mean(rewards))
