"""Rounds: sampling, scoring, pairing and training, each from the planner of the round before.

A round's planner is kept when its plans earn more on the validation tasks than those of the round
before; the first that does not ends the rounds. With `evaluation.plan_samples` those are as many
sampled plans a task, whose mean is less left to chance than that of the greedy ones. What happened
stands in `rounds.json`.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from jobs.pairs import collect_pairs
from jobs.plans import collect_plans
from jobs.rollout import VALIDATION, collect_scores, episode_requests, play
from jobs.run import Round, Run
from jobs.tasks import load_tasks
from jobs.train import train_on_pairs
from mpo_core.exact import exact_mean
from mpo_core.files import write_text


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


def run_rounds(run: Run) -> list[Outcome]:
    """All rounds, until one does not help; one only where none trains a planner to go on from."""
    outcomes: list[Outcome] = []
    for number in range(1, run.config.rounds + 1):
        outcome = _run_round(run, Round.of(run.config, number), outcomes)
        outcomes.append(outcome)
        write_text(run.dir / "rounds.json", json.dumps([asdict(o) for o in outcomes], indent=1))
        if not outcome.kept or not run.config.trains:
            break
    return outcomes


def _run_round(run: Run, this: Round, before: list[Outcome]) -> Outcome:
    collect_plans(run, this.start, "train")
    collect_scores(run, this.start, this.number)
    pairs = collect_pairs(run, this.start, this.number)
    if before and not pairs:
        # Nothing tells its plans apart any more: the planner before is the last.
        return Outcome(this.number, this.version, this.start, 0, None, kept=False)
    if not run.config.trains:
        return Outcome(this.number, this.start, this.start, len(pairs), None, kept=True)
    train_on_pairs(run, this)
    reward = _validation_reward(run, this.version) if run.config.rounds > 1 else None
    to_beat = before[-1].validation_reward if before else None
    kept = to_beat is None or reward is None or reward > to_beat
    return Outcome(this.number, this.version, this.start, len(pairs), reward, kept)


def rounds(run: Run) -> list[dict[str, Any]]:
    """The outcomes of the rounds so far."""
    path = run.dir / "rounds.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def final_version(run: Run) -> str:
    """The planner that the rounds have kept last."""
    kept = [outcome["planner"] for outcome in rounds(run) if outcome["kept"]]
    return kept[-1] if kept else Round.of(run.config, 1).version


def _validation_reward(run: Run, version: str) -> float | None:
    tasks, evaluation = load_tasks(run, "validation"), run.config.evaluation
    if not tasks:
        return None
    plans = collect_plans(run, version, "validation", evaluation.plan_samples)
    requests = episode_requests(run, tasks, plans, evaluation.repetitions, evaluation.temperature)
    episodes = play(run, VALIDATION, requests)
    rewards = [episodes[request.key].reward for request in requests]
    # The float of an exact mean: rounds that earn the same are equal.
    return float(exact_mean(rewards))
