"""How episodes ended and which replies could not be read, by arm.

A reward of an agent that was not understood says little about its plan, and a mean shows neither.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from mpo_core.report.arms import arm_name
from mpo_core.types import EndReason, EpisodeFigures

WARN_FROM = 0.2
"""Share of an arm's replies without an action from which the report warns."""
WARN_FROM_STRANGE = 0.5
"""Share of an arm's actions that the environment did not understand from which it warns."""


def conduct(groups: Mapping[str, Iterable[EpisodeFigures]]) -> list[dict[str, Any]]:
    """A row for each arm, or for the scoring: episodes by end reason, replies without an action by
    the reason why, and actions that the environment did not understand."""
    rows = []
    for arm, episodes in groups.items():
        ends: Counter[str] = Counter()
        faults: Counter[str] = Counter()
        replies = strange = 0
        first = unread = ""
        for episode in episodes:
            ends[episode.end] += 1
            faults += episode.faults
            replies += episode.steps
            strange += episode.not_understood
            first = first or episode.first_not_understood
            unread = unread or episode.first_unread
        rows.append(
            {
                "arm": arm,
                "ends": {reason: ends[reason] for reason in get_args(EndReason) if ends[reason]},
                "replies": replies,
                "unreadable": dict(faults.most_common()),
                "first_unreadable": unread,
                "not_understood": strange,
                "first_not_understood": first,
            }
        )
    return rows


def conduct_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The rows as the cells of a table, its header first."""
    reasons = [reason for reason in get_args(EndReason) if any(reason in r["ends"] for r in rows)]
    header = ["plans", *(reason.replace("_", " ") for reason in reasons)]
    cells = [[*header, "replies", "without an action"]]
    for row in rows:
        without = sum(row["unreadable"].values())
        why = ", ".join(f"{count} {fault}" for fault, count in row["unreadable"].items())
        counts = [str(row["ends"].get(reason, 0)) for reason in reasons]
        told = f"{without} ({why})" if without else "0"
        cells.append([arm_name(row["arm"]), *counts, str(row["replies"]), told])
    return cells


def conduct_warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each arm whose rewards say little about plans."""
    warnings = []
    for row in rows:
        faults, ends = row["unreadable"], row["ends"]
        without = sum(faults.values())
        if row["replies"] and without >= WARN_FROM * row["replies"]:
            worst = max(faults, key=faults.get)
            warnings.append(
                f"{arm_name(row['arm'])}: {without / row['replies']:.0%} of the agent's replies "
                f"hold no action (mostly: {worst}; the first: {row['first_unreadable']!r}), so its "
                "rewards say little about plans"
            )
        acted = row["replies"] - without
        strange = row["not_understood"]
        if strange and strange >= WARN_FROM_STRANGE * acted:
            warnings.append(
                f"{arm_name(row['arm'])}: {strange} of the agent's {acted} actions are none that "
                f"the environment knows (the first: {row['first_not_understood'][:80]!r}), so its "
                "rewards say little about plans"
            )
        full, episodes = ends.get("context", 0), sum(ends.values())
        if full and full >= WARN_FROM * episodes:
            warnings.append(
                f"{arm_name(row['arm'])}: {full} of {episodes} episodes ended because the agent's "
                "context was full; a longer context, or agent.example=false, gives them room"
            )
    return warnings
