"""The report of a run on callers' feedback: the arms' mean rewards, and what has been learnt."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from jobs.evaluate import published
from jobs.feedback.learning import Learning, tasks_at
from jobs.feedback.pull import FEEDBACK, Pulled, counted
from jobs.run import Run
from jobs.tasks import set_apart
from jobs.tracked import Found
from mpo_core.evaluation import Attempt, compare, task_results
from mpo_core.proxy.differences import compared, differences, in_order
from mpo_core.proxy.episodes import Assignment
from mpo_core.types import EpisodeFigures, PreferencePair


def report(
    run: Run, pulled: Pulled, rounds: Sequence[Learning], said: Sequence[str]
) -> dict[str, Any]:
    """Write the report; returns its summary.

    Args:
        said: sentences on what was learnt or is lacking.

    Raises:
        InputError: there are episodes of several agents, of which the config names none.
    """
    arms = counted(run, pulled.arms)
    resamples = run.config.evaluation.bootstrap
    attempts = attempts_of(pulled, arms, _trained_on(run, pulled, rounds))
    results = task_results(attempts, run.config.seed)
    order = in_order(one.arm for one in attempts)
    statistics = compare(results, resamples, compared(order)) | {
        "feedback": {
            **pulled.counts,
            **_tasks(arms),
            "without_plan": dict(Counter(one.why for one in arms if one.why)),
            "differences": differences(results, resamples),
            "said": [
                f"{sentence[:1].upper()}{sentence[1:]}."
                for sentence in (*_one_after_the_other(arms, order), *said)
                if sentence
            ],
        }
    }
    played = {FEEDBACK: [pulled.episodes[one.key] for one in arms]}
    agents = ", ".join(dict.fromkeys(one.model for one in arms))
    plans = {one.plan_id for one in arms}
    shown = [plan for plan in pulled.plans if plan.id in plans]
    ledgers = {FEEDBACK: pulled.episodes}
    found = Found(agents, attempts, results, statistics, shown, played, ledgers)
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


def _one_after_the_other(arms: Sequence[Assignment], order: Sequence[str]) -> list[str]:
    """What is to be known of the last comparison where chance did not draw between its arms."""
    *_, (new, old) = compared(order) or [("", "")]
    begun = {arm: [one.begun for one in arms if one.arm == arm] for arm in (new, old)}
    if not begun[new] or min(begun[new]) <= max(begun[old]):
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
