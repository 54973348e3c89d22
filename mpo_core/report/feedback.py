"""What a report says of callers' feedback: how much there is, how the arms differ over all tasks.

It stands in `summary["feedback"]`, which other runs lack.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mpo_core.report.arms import arm_name

ARMS = (
    "Mean reward that callers have reported, of the conversations that were drawn into each arm, "
    "with its 95% bootstrap interval over tasks. A conversation that was to have a plan and got "
    "none counts for its arm. `seen` are tasks whose feedback one of these versions was trained on."
)
DIFFERENCES = (
    "Mean reward of the one minus that of the other, with 95% bootstrap intervals over tasks: task "
    "by task where both arms have had the task, and over all conversations. Chance draws a "
    "conversation's arm, so that both are fair while both arms are drawn."
)
Row = Mapping[str, Any]


def feedback_gains(summary: Row) -> list[str]:
    """What a report of feedback opens with: what the last version of the planner is worth, and what
    was learnt or is lacking."""
    found = summary["feedback"]
    rows = found["differences"]
    last = rows[-1]["arm_a"] if rows else None
    said = [_sentence(row) for row in rows if row["arm_a"] == last]
    return [*said, *found["said"]]


def feedback_counts(summary: Row) -> str:
    """How much has come."""
    found = summary["feedback"]
    parts = [f"{found['conversations']} conversations", f"{found['final']} with a final reward"]
    parts += [f"{found['unfinished']} with one that may still change"] * bool(found["unfinished"])
    parts.append(f"{found['tasks']} tasks, {found['two_plans']} of them with two plans or more")
    parts += [f"{found['late']} late rewards that do not count"] * bool(found["late"])
    missing = ", ".join(f"{n} {why}" for why, n in found["without_plan"].items())
    parts += [f"without the plan that was due: {missing}"] * bool(missing)
    return "; ".join(parts)


def difference_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Differences over all tasks as the cells of a table, its header first."""
    header = ["plans", "against", "same tasks [95% CI]", "tasks", "all [95% CI]"]
    cells = [[*header, "tasks of either"]]
    for row in rows:
        same = row["same"]
        cells.append(
            [
                arm_name(row["arm_a"]),
                arm_name(row["arm_b"]),
                figures(same) if same else "",
                str(same["n"]) if same else "0",
                figures(row["all"]),
                str(row["all"]["n"]),
            ]
        )
    return cells


def figures(difference: Row) -> str:
    """A difference with its interval."""
    low, high = difference["ci95"]
    return f"{difference['diff']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _sentence(row: Row) -> str:
    same = row["same"]
    on_same = f"{figures(same)} on the {same['n']} tasks of both, " if same else ""
    one, other = arm_name(row["arm_a"]), arm_name(row["arm_b"])
    return (
        f"The mean reward with {one} minus that with {other} is "
        f"{on_same}{figures(row['all'])} over all conversations."
    )
