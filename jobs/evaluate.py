"""Stage: the arms play the held-out tasks, and the run's report is written."""

import logging
from pathlib import Path
from typing import Any

from jobs.arms import Asked, arms_played, asked_of
from jobs.pairs import yields, yields_of_all
from jobs.rollout import EVALUATION, SCORING, episode_ledger, load_plan_scores, play
from jobs.rounds import rounds
from jobs.run import Run
from jobs.tally import plans_of_config, scored_episodes
from jobs.tasks import TasksOf
from jobs.tracked import Found, log_results
from jobs.train import complete_curves
from mpo_core.config import bearing_on
from mpo_core.evaluation import Attempt, compare, task_results
from mpo_core.report import write_report
from mpo_core.report.conduct import conduct
from mpo_core.report.details import details
from mpo_core.report.gain import compared_arms, example
from mpo_core.report.spending import spending
from mpo_core.types import EpisodeFigures, PreferencePair

log = logging.getLogger(__name__)
TOLD_BY_CONTENT = ("envs", "models", "prompts_dir")
"""What the summary tells by protocols and fingerprints, which hold wherever the files lie."""


def evaluate(run: Run, tasks: TasksOf) -> dict[str, Any]:
    """Play what is owed of `episodes/evaluation.jsonl`; write and return `report/summary.json`."""
    run.tracker  # noqa: B018  A store that refuses is found out before the work.
    config, asked = run.config, list[Asked]()
    arms = arms_played(run)
    for arm in config.evaluation.arms:
        if arm not in arms:
            log.warning("evaluation.arms: %s is left out: its round trained no planner", arm)
    for arm in arms:
        for split in config.evaluation.splits:
            asked += asked_of(run, arm, split, tasks[split])
    ledgers = {
        SCORING: episode_ledger(run, SCORING).read(),
        EVALUATION: play(run, EVALUATION, [one.request for one in asked]),
    }
    attempts = [_attempt(one, ledgers[EVALUATION][one.request.key]) for one in asked]
    results = task_results(attempts, config.seed)
    plans = plans_of_config(run, tasks)
    played = {
        SCORING: scored_episodes(run, tasks["train"], ledgers[SCORING]),
        EVALUATION: list({a.episode.key: a.episode for a in attempts}.values()),
    }
    found = compare(results, config.evaluation.bootstrap)
    found |= {"example": example(attempts, config.seed)}
    if config.scoring.repetitions == "auto" and played[SCORING]:
        found["spending"] = spending(played[SCORING], config.scoring.max_repetitions)
    agent = run.backend.fingerprint(config.agent.model)
    return published(run, tasks, Found(agent, attempts, results, found, plans, played, ledgers))


def published(run: Run, tasks: TasksOf, found: Found) -> dict[str, Any]:
    """Write the run's report, to its folder and the tracker; returns its summary."""
    summary = _summary(run, tasks, found)
    scored = found.played.get(SCORING, [])
    by_arm: dict[str, list[EpisodeFigures]] = {SCORING: scored} if scored else {}
    for attempt in found.attempts:
        by_arm.setdefault(attempt.arm, []).append(attempt.episode)
    summary["conduct"] = conduct(by_arm)
    write_report(run.files.report, summary, found.results, _details(run, tasks, found.attempts))
    for version, training in _trainings(run).items():
        # A killed driver may have left rows of it that it had not read.
        complete_curves(run, version, training)
    log_results(run, summary, tasks, found)
    return summary


def _details(run: Run, tasks: TasksOf, attempts: list[Attempt]) -> dict[str, Any]:
    numbers = [outcome["round"] for outcome in rounds(run)]
    scored = {n: load_plan_scores(run, n) for n in numbers if run.files.scores(n).is_file()}
    pairs = [run.records(run.files.pairs(number), PreferencePair) for number in numbers]
    return details(
        curves={version: training["curve"] for version, training in _trainings(run).items()},
        scores=scored,
        pairs=next(filter(None, reversed(pairs)), []),
        tasks={task.id: task for task in tasks["train"]},
        attempts=attempts,
        compared=compared_arms(list(dict.fromkeys(attempt.arm for attempt in attempts))),
    )


def _attempt(asked: Asked, episode: EpisodeFigures) -> Attempt:
    plan = asked.request.plan
    return Attempt(
        asked.arm, asked.request.task, episode, asked.sampled, plan.text if plan else None
    )


def _summary(run: Run, tasks: TasksOf, found: Found) -> dict[str, Any]:
    config, timings = run.config, run.timings()
    numbers = [outcome["round"] for outcome in rounds(run)] or [1]
    scored = [n for n in numbers if run.files.scores(n).is_file()]
    return {
        "name": run.config.name,
        "seed": config.seed,
        "shuffled": config.scoring.shuffle,
        "envs": {name: suite.protocol() for name, suite in run.suites.items()},
        "models": {
            "agent": found.agent,
            "planner": run.backend.fingerprint(run.config.planner.model),
        },
        "tasks": {split: len(tasks[split]) for split in run.splits},
        "settings": _settings(run),
        "bootstrap": config.evaluation.bootstrap,
        **found.statistics,
        "plans": len(found.plans),
        "episodes": sum(map(len, found.played.values())),
        "pairs": sum(_lines(run.files.pairs(number)) for number in numbers),
        "pair_rules": yields_of_all(
            yields(run, tasks["train"], load_plan_scores(run, number)) for number in scored
        ),
        "rounds": rounds(run),
        "trainings": {
            version: {k: v for k, v in training.items() if k != "curve"}
            for version, training in _trainings(run).items()
        },
        "wall_seconds": {stage: amounts["seconds"] for stage, amounts in timings.items()},
        "stages": timings,
        **_speed(timings),
    }


def _speed(timings: dict[str, dict[str, float]]) -> dict[str, float]:
    """What was done a second while episodes were played; nothing of a run that has played none."""
    played = [timings[stage] for stage in (SCORING, EVALUATION) if stage in timings]
    if not played:
        return {}
    seconds = sum(stage["seconds"] for stage in played) or 1.0
    amounts = {"tokens_per_s": "completion_tokens", "env_steps_per_s": "env_steps"}
    return {
        name: round(sum(stage.get(amount, 0) for stage in played) / seconds, 2)
        for name, amount in amounts.items()
    }


def _trainings(run: Run) -> dict[str, dict[str, Any]]:
    """Name (`Trainee`) -> its training's summary, for all that were trained."""
    of_rounds = (outcome["planner"] for outcome in rounds(run))
    planners = map(run.trainee, ["sft", "rft", *of_rounds, "pg", *run.controls])
    trainings = {one.name: one.summary() for one in (run.agent_trainee, *planners)}
    return {name: training for name, training in trainings.items() if training}


def _settings(run: Run) -> dict[str, Any]:
    """What decides the results and stands nowhere else in the summary, by dotted key: what runs
    must share to be reported together."""
    prompts = {f"prompts.{name}": prompts.fingerprint for name, prompts in run.prompts.items()}
    return prompts | {
        key: value
        for key, value in bearing_on(run.config, "decides", "adds").items()
        if key.split(".")[0] not in TOLD_BY_CONTENT and key.split(".")[-1] != "seed"
    }


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0
