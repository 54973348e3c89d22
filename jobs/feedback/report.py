"""The report of a run on callers' feedback: the arms' mean rewards, and what has been learnt."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from jobs.evaluate import published
from jobs.feedback.learning import Learning, tasks_at
from jobs.feedback.pull import FEEDBACK, Pulled, counted
from jobs.run import MODELS, Run
from jobs.tasks import set_apart
from jobs.tracked import Found
from mpo_core.evaluation import Attempt, compare, paired, task_results
from mpo_core.proxy.differences import compared, difference, in_order
from mpo_core.proxy.episodes import Assignment
from mpo_core.types import EpisodeFigures, PreferencePair


def report(
    run: Run,
    pulled: Pulled,
    rounds: Sequence[Learning],
    standing: Sequence[dict[str, Any]],
    said: Sequence[str],
) -> dict[str, Any]:
    """Write the report; returns its summary.

    Args:
        standing: the planner's versions (`jobs.feedback.versions.standing`).
        said: sentences on what was learnt or is lacking.

    Raises:
        InputError: there are episodes of several agents, of which the config names none.
    """
    arms = counted(run, pulled.arms)
    resamples, learnt = run.config.evaluation.bootstrap, _trained_on(run, pulled, rounds)
    attempts = attempts_of(pulled, arms, learnt)
    results = task_results(attempts, run.config.seed)
    withdrawn = {row["version"] for row in standing if row["state"] == "withdrawn"}
    pairs = compared(in_order(one.arm for one in attempts), withdrawn)
    differences, on_same = [], []
    for new, old in pairs:
        both = attempts_of(pulled, _comparable(arms, new, old), learnt)
        of_both = task_results(both, run.config.seed)
        differences.append(difference(of_both, new, old, resamples))
        on_same += paired(of_both, resamples, [(new, old)])
    statistics = compare(results, resamples, ()) | {
        "paired": sorted(on_same, key=lambda row: row["split"]),
        "feedback": {
            **pulled.counts,
            **_tasks(arms),
            "without_plan": without_plan(arms),
            "differences": differences,
            "versions": standing,
            "said": [
                f"{sentence[:1].upper()}{sentence[1:]}."
                for sentence in (*_one_after_the_other(arms, pairs), *said)
            ],
        },
    }
    played = {FEEDBACK: [attempt.episode for attempt in attempts]}
    agents = ", ".join(dict.fromkeys(one.model for one in arms))
    run.tracker.log_tags({MODELS: run.models_tag(agents)})
    plans = {one.plan_id for one in arms}
    shown = [plan for plan in pulled.plans if plan.id in plans]
    ledgers = {FEEDBACK: pulled.episodes}
    trained = {one.version: one.planner for one in rounds if one.version}
    found = Found(agents, attempts, results, statistics, shown, played, ledgers, trained)
    return published(run, {"train": pulled.tasks}, found)


def attempts_of(
    pulled: Pulled, arms: Sequence[Assignment], trained_on: Collection[str] = ()
) -> list[Attempt[EpisodeFigures]]:
    """Episodes as attempts of their arms, the arm without plans first.

    Args:
        trained_on: ids of tasks that are `seen`; others are `unseen`.
    """
    tasks = {
        task.id: task.model_copy(update={"split": "seen" if task.id in trained_on else "unseen"})
        for task in pulled.tasks
    }
    order = in_order(one.arm for one in arms)
    return [
        # An agent's steps are its requests: of a caller's turns no more is known.
        Attempt(one.arm, tasks[one.task_id], replace(pulled.episodes[one.key], steps=one.requests))
        for one in sorted(arms, key=lambda one: order.index(one.arm))
    ]


def since_it_came(arms: Sequence[Assignment], new: str, old: str) -> list[Assignment]:
    """The episodes of two arms between which chance has drawn: those begun since the first one with
    the newer."""
    came = min((one.begun for one in arms if one.arm == new), default=inf)
    return [one for one in arms if one.begun >= came and one.arm in (new, old)]


def without_plan(arms: Sequence[Assignment]) -> dict[str, dict[str, int]]:
    """Arm -> why there was no plan though one was due -> episodes; the most first."""
    found: dict[str, Counter[str]] = {}
    for one in arms:
        if one.why:
            found.setdefault(one.arm, Counter())[one.why] += 1
    return {arm: dict(reasons.most_common()) for arm, reasons in found.items()}


def _comparable(arms: Sequence[Assignment], new: str, old: str) -> list[Assignment]:
    """The episodes by which two arms are compared: all of both where they came one after the
    other."""
    since = since_it_came(arms, new, old)
    if any(one.arm == old for one in since):
        return since
    return [one for one in arms if one.arm in (new, old)]


def _one_after_the_other(arms: Sequence[Assignment], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What is to be known of the last comparison where chance did not draw between its arms."""
    if not pairs:
        return []
    new, old = pairs[-1]
    if any(one.arm == old for one in since_it_came(arms, new, old)):
        return []
    return [
        f"the conversations with {new} all began after those with {old}: whatever else has changed "
        "meanwhile is in their difference (proxy.canary lets both go on side by side)"
    ]


def _trained_on(run: Run, pulled: Pulled, rounds: Sequence[Learning]) -> set[str]:
    """The tasks whose feedback a version has learnt from that has conversations by now.

    Those whose plans all tied are among them: to leave them to the other tasks would make these
    the ones that plans make no difference to.
    """
    versions = {one.arm for one in pulled.arms}
    found: set[str] = set()
    for one in rounds:
        if one.version in versions:
            learnt = counted(run, pulled.arms[one.first : one.end])
            scored = {episode.task_id for episode in learnt if episode.plan_id}
            apart = {task.id for task in set_apart(tasks_at(pulled, one), run.config.validation)}
            pairs = run.records(run.files.pairs(one.number), PreferencePair)
            # `validation` may have been another when it learnt.
            found |= (scored - apart) | {pair.task_id for pair in pairs}
    return found


def _tasks(arms: Sequence[Assignment]) -> dict[str, int]:
    plans: dict[str, set[str]] = {}
    for one in arms:
        plans.setdefault(one.task_id, set()).update([one.plan_id] if one.plan_id else [])
    return {"tasks": len(plans), "two_plans": sum(len(of_task) > 1 for of_task in plans.values())}
