"""What a report says of callers' feedback: how much there is, how the arms differ over all tasks.

It stands in `summary["feedback"]`, which other runs lack.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mpo_core.amounts import number_of
from mpo_core.report.arms import arm_name

ARMS = (
    "Mean reward that callers have reported, of the conversations that were drawn into each arm, "
    "with its 95% bootstrap interval over tasks. A conversation that was to have a plan and got "
    "none counts for its arm. `seen` are tasks whose feedback one of these versions was trained on."
)
DIFFERENCES = (
    "Mean reward of the one minus that of the other, with 95% bootstrap intervals over tasks: task "
    "by task where both arms have had the task, and over all conversations. Compared is what was "
    "begun since the newer arm came, where the older one has gone on: chance drew between them."
)
WARN_FROM = 0.2
"""Share of an arm's conversations without the plan that was due from which a report warns."""
RAISED = {
    "planner timeout": "proxy.planner_timeout_s",
    "no plan: no steps": "proxy.max_tokens",
    "no plan: only reasoning": "proxy.max_tokens",
    "no plan: empty": "proxy.max_tokens",
    "task too long": "proxy.longest_task",
}
"""Why there was no plan -> the setting that, raised, may mend it."""
Row = Mapping[str, Any]


def feedback_gains(summary: Row) -> list[str]:
    """What a report of feedback opens with: what the last version of the planner is worth, what was
    learnt or is lacking, and which arms mostly lacked their plans."""
    found = summary["feedback"]
    rows = found["differences"]
    last = rows[-1]["arm_a"] if rows else None
    said = [_sentence(row) for row in rows if row["arm_a"] == last]
    return [*said, *found["said"], *_warnings(summary)]


def feedback_counts(summary: Row) -> str:
    """How much has come."""
    found = summary["feedback"]
    parts = [number_of(found["conversations"], "conversation")]
    parts.append(f"{found['final']} with a final reward")
    parts += [f"{found['unfinished']} with one that may still change"] * bool(found["unfinished"])
    tasks = number_of(found["tasks"], "task")
    parts.append(f"{tasks}, {found['two_plans']} of them with two plans or more")
    late = number_of(found["late"], "late reward")
    parts += [f"{late} not counted"] * bool(found["late"])
    return "; ".join([*parts, *(words for words, _ in _missing(summary))])


def missing_words(arm: str, reasons: Mapping[str, int], of: int) -> str:
    """How many of an arm's conversations got no plan though one was due, why, and what may help.

    Args:
        reasons: why -> conversations.
        of: conversations of the arm.
    """
    told = ", ".join(f"{n} {why}" for why, n in reasons.items())
    raised = " and ".join(dict.fromkeys(RAISED[why] for why in reasons if why in RAISED))
    remedy = f"; raise {raised}" if raised else ""
    return f"{sum(reasons.values())} of {of} with {arm} got no plan ({told}{remedy})"


def _missing(summary: Row) -> list[tuple[str, float]]:
    """For each arm that lacked plans that were due: how many, in words, and their share."""
    found = []
    for arm, reasons in summary["feedback"]["without_plan"].items():
        of = summary["arms"][arm]["n_episodes"]
        found.append((missing_words(arm, reasons, of), sum(reasons.values()) / of))
    return found


def _warnings(summary: Row) -> list[str]:
    return [
        f"Warning: of the conversations, {words}, so that the arm's mean reward says little about "
        "its plans."
        for words, share in _missing(summary)
        if share >= WARN_FROM
    ]


def difference_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Differences over all tasks as the cells of a table, its header first."""
    header = ["plans", "against", "same tasks [95% CI]", "tasks", "all [95% CI]"]
    cells = [[*header, "tasks of the one with fewer"]]
    for row in rows:
        same = row["same"]
        cells.append(
            [
                arm_name(row["arm_a"]),
                arm_name(row["arm_b"]),
                figures(same) if same else "",
                str(same["n"]) if same else "0",
                figures(row["all"]),
                str(row.get("least", "")),
            ]
        )
    return cells


def version_rows(rows: Sequence[Row]) -> list[list[str]]:
    """The planner's versions as the cells of a table, its header first."""
    cells = [["version", "state", "round", "trained from", "pairs", "last verdict"]]
    for row in rows:
        learnt = ["" if row[key] is None else str(row[key]) for key in ("round", "start", "pairs")]
        cells.append([row["version"], row["state"], *learnt, row["verdict"]])
    return cells


def figures(difference: Row) -> str:
    """A difference with its interval."""
    low, high = difference["ci95"]
    return f"{difference['diff']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _sentence(row: Row) -> str:
    same = row["same"]
    tasks = same and number_of(same["n"], "task")
    on_same = f"{figures(same)} on the {tasks} of both, " if same else ""
    one, other = arm_name(row["arm_a"]), arm_name(row["arm_b"])
    return (
        f"The mean reward with {one} minus that with {other} is "
        f"{on_same}{figures(row['all'])} over all conversations."
    )
