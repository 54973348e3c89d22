"""What a report opens with: how much the trained planner's plans gain, and two plans of one task
side by side, of which the better has won it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpo_core.evaluation import Attempt, reference_arm, shown_above, shown_below, task_results
from mpo_core.report.arms import arm_name
from mpo_core.report.feedback import feedback_gains
from mpo_core.types import TaskResult

TRAINED = ("mpo", "pg")
"""Arms whose gain a report opens with, the first that there is."""
Row = Mapping[str, Any]


def gains(summary: Mapping[str, Any]) -> list[str]:
    """A sentence for each environment: the trained planner's plans against the reference arm's, on
    the unseen tasks where these were played. None where no trained planner was. Of callers'
    feedback, what is said of it (`mpo_core.report.feedback`)."""
    if "feedback" in summary:
        return feedback_gains(summary)
    compared = compared_arms(list(summary["arms"]))
    if compared is None:
        return []
    single = _rows(summary["paired"], compared)
    drawn = _rows(summary["sampled"]["paired"], compared) if "sampled" in summary else {}
    split = _split([row["split"] for row in single.values()])
    return [
        _sentence(summary, row, drawn.get(place))
        for place, row in single.items()
        if row["split"] == split
    ]


def imitation(summary: Mapping[str, Any]) -> list[str]:
    """A sentence for each environment: whether SFT has reached the teacher that it imitates, on the
    same tasks as `gains`. None where either was not played.

    A planner that falls short of its teacher gains by any further training, whatever its scores
    say; so what comes after is to be read with this.
    """
    taught = ("teacher", "sft")
    single = _rows(summary["paired"], taught)
    drawn = _rows(summary["sampled"]["paired"], taught) if "sampled" in summary else {}
    split = _split([row["split"] for row in single.values()])
    sentences = []
    for place, row in single.items():
        if row["split"] != split:
            continue
        measured = [(row, f"{single_plan(summary)} a task")]
        if place in drawn:
            measured.append((drawn[place], "sampled plans"))
        short = any(shown_above(of_plans) for of_plans, _ in measured)
        figures = " and ".join(f"{difference(one)} with {plans}" for one, plans in measured)
        sentences.append(
            f"SFT {'falls short of' if short else 'matches'} its teacher on the {split} tasks of "
            f"{row['env']}: the teacher's plans minus SFT's earn {figures}"
            + ("; more seeds.per_task or planner.sft.epochs may mend it." if short else ".")
        )
    return sentences


def example(attempts: Sequence[Attempt], seed: int) -> dict[str, Any] | None:
    """Two plans of one task: the first unseen task, in the order of the tasks, that the trained
    planner's plan won in every episode and the reference arm's plan did not.

    Returns:
        The arms (`arm_a` the trained planner's, `arm_b` the reference), how many `tasks` of which
        `split` there are, how many of them were `won` by the one and not by the other, and how many
        `lost` so; then the task (`task_id` None where none was won so), plans and rewards. None
        where there are no two such arms.
    """
    compared = compared_arms(list(dict.fromkeys(attempt.arm for attempt in attempts)))
    if compared is None:
        return None
    split = _split([attempt.task.split for attempt in attempts])
    played = [a for a in attempts if not a.sampled and a.arm in compared and a.task.split == split]
    ours, theirs = (
        {result.task_id: result for result in task_results(played, seed) if result.arm == arm}
        for arm in compared
    )
    won = [task for task in ours if _won(ours[task], theirs[task])]
    lost = [task for task in ours if _won(theirs[task], ours[task])]
    found = {
        **dict(zip(("arm_a", "arm_b"), compared, strict=True)),
        **{"split": split, "seed": seed, "tasks": len(ours), "won": len(won), "lost": len(lost)},
        "task_id": won[0] if won else None,
    }
    if not won:
        return found
    of_task = {attempt.arm: attempt for attempt in reversed(played) if attempt.task.id == won[0]}
    better, other = (of_task[arm] for arm in compared)
    return found | {
        "task": better.task.description,
        **{"plan_a": better.plan, "reward_a": ours[won[0]].reward},
        **{"plan_b": other.plan, "reward_b": theirs[won[0]].reward},
    }


def merged_example(examples: Iterable[dict[str, Any] | None]) -> dict[str, Any] | None:
    """The examples of several seeds as one: the first that shows a task, and the counts of all that
    are of the same arms."""
    found = [one for one in examples if one]
    if not found:
        return None
    shown = next((one for one in found if one["task_id"]), found[0])
    of_what = ("arm_a", "arm_b", "split")
    alike = [one for one in found if all(one[key] == shown[key] for key in of_what)]
    return shown | {key: sum(one[key] for one in alike) for key in ("tasks", "won", "lost")}


def opening(summary: Mapping[str, Any]) -> list[str]:
    """The report's first lines in Markdown; none where no trained planner was evaluated."""
    said = [*gains(summary), *imitation(summary)]
    sentences = [line for sentence in said for line in (sentence, "")]
    return sentences + _side_by_side(summary.get("example"), several="runs" in summary)


def difference(row: Row) -> str:
    """A paired difference with its interval, in figures."""
    low, high = row["ci95"]
    return f"{row['diff']:+.3f} [{low:+.3f}, {high:+.3f}]"


def single_plan(summary: Mapping[str, Any]) -> str:
    """What the one plan of a task is."""
    if "feedback" in summary:
        return "one plan"
    warm = summary.get("settings", {}).get("planner.evaluation_temperature")
    return "one plan" if warm else "one greedy plan"


def compared_arms(arms: Sequence[str]) -> tuple[str, str] | None:
    """The trained planner's arm and the reference arm."""
    trained = next((arm for arm in TRAINED if arm in arms), None)
    reference = reference_arm(arms)
    return (trained, reference) if trained and trained != reference else None


def _rows(paired: Sequence[Row], compared: tuple[str, str]) -> dict[tuple[str, str], Row]:
    """Environment and split -> the row of the two arms."""
    rows = [row for row in paired if (row["arm_a"], row["arm_b"]) == compared]
    return {(row["env"], row["split"]): row for row in rows}


def _split(splits: Sequence[str]) -> str:
    return "unseen" if "unseen" in splits else next(iter(splits), "")


def _sentence(summary: Mapping[str, Any], row: Row, drawn: Row | None) -> str:
    one, other = arm_name(row["arm_a"]), arm_name(row["arm_b"])
    seeds = f", over {row['n_seeds']} seeds," if row["n_seeds"] > 1 else ""
    said = (
        f"On {row['n']} {row['split']} tasks of {row['env']}{seeds} the mean reward of {one} minus "
        f"that of {other} is {_judged(row)} with {single_plan(summary)} a task"
    )
    if drawn:
        count = summary["settings"]["evaluation.plan_samples"]
        said += f", and {_judged(drawn)} with {count} sampled plans a task"
    return f"{said}."


def _judged(row: Row) -> str:
    low, high = row["ci95"]
    verdict = "a gain" if shown_above(row) else "a loss" if shown_below(row) else "no gain is shown"
    return f"{row['diff']:+.3f} [95% CI {low:+.3f}, {high:+.3f}] ({verdict})"


def _won(one: TaskResult, other: TaskResult) -> bool:
    return one.success == 1 > other.success and one.reward > other.reward


def _side_by_side(shown: Mapping[str, Any] | None, several: bool) -> list[str]:
    if not shown:
        return []
    one, other = arm_name(shown["arm_a"]), arm_name(shown["arm_b"])
    of_all = f"Of {shown['tasks']} {shown['split']} tasks{' of all seeds' if several else ''}, "
    seed = f", seed {shown['seed']}" if several else ""
    if not shown["task_id"]:
        return [
            f"{of_all}{one} won none that {other} did not ({shown['lost']} the other way round), "
            "so there are no two plans to show.",
            "",
        ]
    return [
        f"{of_all}{one} won {shown['won']} that {other} did not, and {shown['lost']} the other way "
        f"round. The first of the {shown['won']}{seed}, "
        f"`{shown['task_id']}`: {_cell(shown['task'])}",
        "",
        f"| {other}: reward {shown['reward_b']:.3f} | {one}: reward {shown['reward_a']:.3f} |",
        "|---|---|",
        f"| {_cell(shown['plan_b'] or '')} | {_cell(shown['plan_a'] or '')} |",
        "",
    ]


def _cell(text: str) -> str:
    """Text as it is, in a cell of a table."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return "<br>".join(line.strip() for line in plain.splitlines())
