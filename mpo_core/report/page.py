"""The report in words and tables: Markdown, and the cells that the terminal shows too."""

from collections.abc import Mapping, Sequence
from typing import Any

from mpo_core.amounts import number_of
from mpo_core.evaluation import reference_arm
from mpo_core.report.arms import arm_name
from mpo_core.report.conduct import conduct_rows, conduct_warnings
from mpo_core.report.feedback import (
    ARMS,
    DIFFERENCES,
    difference_rows,
    feedback_counts,
    version_rows,
)
from mpo_core.report.gain import difference, opening, single_plan
from mpo_core.report.spending import spending_rows, spending_words
from mpo_core.training.settings import with_objective

SHUFFLED = (
    "The shuffled control's result on a task is the mean over {n}, trained as the first round's "
    "planner is, with the scores exchanged in exactly half of the pairs: what it gains over the "
    "planner before, scores have not taught."
)
INTERVAL = (
    "Mean reward of {single} a task with its 95% bootstrap interval over tasks. The expert is the "
    "environment's own solution, played without a step limit."
)
PAIRED = (
    "Mean reward of the one minus that of the other, task by task, with the 95% bootstrap interval "
    "of that mean over tasks: where it leaves out 0, other tasks of this kind would hardly turn "
    "the difference around. Two arms can differ although their own intervals overlap, since what "
    "makes a task hard makes it hard for both. Every row stands by itself: one in twenty leaves "
    "out 0 by chance."
)
SEEDS = (
    "Means are over seeds and tasks, and the intervals resample both. A few seeds say little about "
    "other seeds: then the intervals are too narrow."
)
SAMPLED = (
    "Mean reward over {count} plans a task that the planner samples at temperature {temperature}, "
    "with its 95% bootstrap interval over tasks. A planner's greedy plan is the one that it thinks "
    "best, and flips for many tasks at once where it is unsure; the mean over sampled plans moves "
    "only as far as its plans get better or worse. Arms without a planner sample none, and stand "
    "in the differences from sampled plans as they are."
)
TAUGHT = "A teacher model's plans are drawn as its seed plans are, its one plan a task too."
PREFERRED = (
    "Loss of the first and the last step; for DPO the share of the last steps' pairs, and of the "
    "validation tasks' pairs, of which the planner prefers the better plan more than before; "
    "for PG, the loss is minus the advantage that the planner is estimated to have over its start."
)
Rows = Sequence[Mapping[str, Any]]


def title(summary: Mapping[str, Any]) -> str:
    return summary["name"]


def headline(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The table's rows, of several seeds only those of all together."""
    table = summary["table"]
    return [row for row in table if row["seed"] is None] or table


def table_rows(rows: Rows, paired: Rows = ()) -> list[list[str]]:
    """Results as the cells of a table, its header first; with the paired differences beside them,
    where these are given. Rows of several seeds have a column that says whose they are."""
    several = len({row["seed"] for row in rows}) > 1
    paired = against_reference(paired)
    against = {(p["env"], p["split"], p["arm_a"], p["seed"]): p for p in paired}
    header = ["environment", "plans", "mean reward [95% CI]", "success", "steps"]
    cells = [[*header, "tasks", "episodes"]]
    if several:
        cells[0].insert(2, "seed")
    if against:
        cells[0].append(f"minus {arm_name(paired[0]['arm_b'])} [95% CI]")
    for row in rows:
        low, high = row["ci95"]
        line = [
            f"{row['env']} {row['split']}",
            arm_name(row["arm"]),
            f"{row['mean_reward']:.3f} [{low:.3f}, {high:.3f}]",
            f"{row['success_rate']:.0%}",
            f"{row['mean_steps']:.1f}",
            str(row["n"]),
            str(row["n_episodes"]),
        ]
        if several:
            line.insert(2, "all" if row["seed"] is None else str(row["seed"]))
        if against:
            pair = against.get((row["env"], row["split"], row["arm"], row["seed"]))
            line.append(difference(pair) if pair else "")
        cells.append(line)
    return cells


def against_reference(paired: Rows) -> Rows:
    """Of paired differences, those from the reference arm."""
    arms = [row[arm] for arm in ("arm_b", "arm_a") for row in paired]
    reference = reference_arm(arms) if arms else ""
    return [row for row in paired if row["arm_b"] == reference]


def paired_rows(rows: Rows, sampled: Rows = ()) -> list[list[str]]:
    """Paired differences as the cells of a table, its header first; with those of sampled plans
    beside them, where these are given."""
    several = any(row["seed"] is None for row in rows)
    drawn = {_what(row): difference(row) for row in sampled}
    header = ["environment", "plans", "against", "difference [95% CI]"]
    header += (["sampled plans"] if drawn else []) + ["tasks"] + (["seeds"] if several else [])
    cells = [header]
    for row in rows:
        arms = [arm_name(row["arm_a"]), arm_name(row["arm_b"])]
        differences = [difference(row)] + ([drawn.get(_what(row), "")] if drawn else [])
        counts = [str(row["n"])] + ([str(row["n_seeds"])] if several else [])
        cells.append([f"{row['env']} {row['split']}", *arms, *differences, *counts])
    return cells


def type_rows(rows: Rows) -> list[list[str]]:
    """Mean reward by task type and arm as the cells of a table, its header first."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    cells = [["environment", "task type", *map(arm_name, arms), "tasks"]]
    by_type: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_type.setdefault((row["env"], row["split"], row["type"]), {})[row["arm"]] = row
    for (env, split, task_type), of_arm in sorted(by_type.items()):
        means = [f"{of_arm[arm]['mean_reward']:.3f}" if arm in of_arm else "" for arm in arms]
        tasks = max(row["n"] for row in of_arm.values())
        cells.append([f"{env} {split}", task_type, *means, str(tasks)])
    return cells


def training_rows(trainings: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """What each training came to as the cells of a table, its header first."""
    header = ["trained", "objective", "rows", "steps", "loss", "preferred", "on validation tasks"]
    cells = [header]
    for version, training in trainings.items():
        accuracy = training["metrics"].get("reward_accuracy")
        measured = training["validation"][-1] if training["validation"] else {}
        held_out = [f"loss {measured['eval_loss']:.3f}"] if measured else []
        if "eval_rewards/accuracies" in measured:
            held_out.append(f"preferred {measured['eval_rewards/accuracies']:.0%}")
            held_out.append(f"margin {measured['eval_rewards/margins']:.3f}")
        cells.append(
            [
                version,
                with_objective(training)["objective"].upper(),
                str(training["n_rows"]),
                str(training["steps"]),
                f"{training['loss_first']:.3f} to {training['loss_last']:.3f}",
                "" if accuracy is None else f"{accuracy:.0%}",
                ", ".join(held_out),
            ]
        )
    return cells


def round_rows(rounds: Rows) -> list[list[str]]:
    """What each round came to as the cells of a table, its header first."""
    cells = [["round", "planner", "starts from", "pairs", "reward on validation tasks", "kept"]]
    for row in rounds:
        reward = row["validation_reward"]
        measured = "" if reward is None else f"{reward:.3f}"
        kept = "yes" if row["kept"] else "no"
        cells.append(
            [str(row["round"]), row["planner"], row["start"], str(row["pairs"]), measured, kept]
        )
    return cells


def _trainings(summary: Mapping[str, Any]) -> list[str]:
    """The page's part on what was trained; nothing where nothing was."""
    trainings, rounds = summary.get("trainings", {}), summary.get("rounds", [])
    if not trainings:
        return []
    warned = [
        f"**Warning:** {version}: {warning}."
        for version, training in trainings.items()
        for warning in training["warnings"]
    ]
    return [
        "",
        "## Trainings",
        "",
        *_table(training_rows(trainings)),
        "",
        PREFERRED,
        *(line for warning in warned for line in ("", warning)),
        *(["", *_table(round_rows(rounds))] if len(rounds) > 1 else []),
    ]


def _conduct(summary: Mapping[str, Any]) -> list[str]:
    """The page's part on how episodes ended, with its warnings."""
    rows = summary.get("conduct", [])
    if not rows:
        return []
    warned = [f"**Warning:** {warning}." for warning in conduct_warnings(rows)]
    table = _table(conduct_rows(rows))
    return ["", "## How episodes ended", "", *table, *(t for w in warned for t in ("", w))]


def _spending(summary: Mapping[str, Any]) -> list[str]:
    """The page's part on the attempts of the scoring; nothing where all plans had as many."""
    spent = summary.get("spending")
    if not spent:
        return []
    table = _table(spending_rows(spent))
    return ["", "## Attempts of the scoring", "", spending_words(spent), "", *table]


def _feedback(summary: Mapping[str, Any]) -> list[str]:
    """The page's part on callers' feedback; nothing where there is none."""
    if "feedback" not in summary:
        return []
    found = summary["feedback"]
    table = _table(difference_rows(found["differences"])) if found["differences"] else []
    lines = ["", "## Differences over all tasks", "", *table, "", DIFFERENCES] if table else []
    if versions := found["versions"]:
        lines += ["", "## The planner's versions", "", *_table(version_rows(versions))]
    return [*lines, "", f"{feedback_counts(summary)}."]


def amounts(summary: Mapping[str, Any]) -> str:
    """How much of everything there is."""
    counts = {
        "training task": summary["tasks"]["train"],
        "plan": summary["plans"],
        "episode": summary["episodes"],
        "preference pair": summary["pairs"],
    }
    return ", ".join(number_of(n, what) for what, n in counts.items())


def interval_words(summary: Mapping[str, Any]) -> str:
    """What the figures of the arms are."""
    return ARMS if "feedback" in summary else INTERVAL.format(single=single_plan(summary))


def sampled_words(summary: Mapping[str, Any]) -> str:
    """What the figures of sampled plans are; nothing where none were played."""
    if "sampled" not in summary:
        return ""
    settings = summary["settings"]
    said = SAMPLED.format(
        count=settings["evaluation.plan_samples"], temperature=settings["planner.temperature"]
    )
    return f"{said} {TAUGHT}" if "teacher" in summary["sampled"]["arms"] else said


def shuffled_words(summary: Mapping[str, Any]) -> str:
    """What the shuffled control is; nothing where there is none."""
    seeds = summary["shuffled"]
    return SHUFFLED.format(n=_planners(seeds)) if seeds else ""


def _sampled(summary: Mapping[str, Any]) -> list[str]:
    """The page's part on sampled plans; nothing where none were played."""
    said = sampled_words(summary)
    if not said:
        return []
    return ["", "## Sampled plans", "", *_table(table_rows(headline(summary["sampled"]))), "", said]


def markdown(summary: Mapping[str, Any]) -> str:
    """The report as a page."""
    runs, pairs, rules = summary.get("runs", {}), summary["paired"], summary["pair_rules"]
    drawn = summary.get("sampled", {"table": [], "paired": []})
    seeds = ", ".join(f"{name} (seed {seed})" for name, seed in runs.items())
    by_pair = _table(paired_rows(pairs, drawn["paired"]))
    by_rule = _table([["rule", "pairs", "tasks"], *_rules(rules)])
    lines = [
        f"# {title(summary)}",
        "",
        *opening(summary),
        *([f"{len(runs)} runs in one: {seeds}.", ""] if runs else []),
        f"{amounts(summary)}{' in all' if runs else ''}.",
        "",
        *_table(table_rows(headline(summary))),
        "",
        interval_words(summary),
        *(["", control] if (control := shuffled_words(summary)) else []),
        *(["", SEEDS] if runs else []),
        *_sampled(summary),
        "",
        "![Mean reward by arm](arms.png)",
        *(["", "## Differences on the same tasks", "", *by_pair, "", PAIRED] if pairs else []),
        *_feedback(summary),
        "",
        "## Mean reward by task type",
        "",
        *_table(type_rows(summary["types"])),
        *_conduct(summary),
        *_trainings(summary),
        *_spending(summary),
        *(["", "## Preference pairs that each rule gives", "", *by_rule] if rules else []),
    ]
    if runs:
        for heading, rows in {
            "Each seed": summary["table"],
            "Each seed, sampled plans": drawn["table"],
        }.items():
            if own := [row for row in rows if row["seed"] is not None]:
                lines += ["", f"## {heading}", "", *_table(table_rows(own))]
    return "\n".join(lines) + "\n"


def _what(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return row["env"], row["split"], row["arm_a"], row["arm_b"]


def _planners(seeds: Sequence[int]) -> str:
    return "one planner" if len(seeds) == 1 else f"{len(seeds)} planners"


def _rules(found: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    return [[rule, str(n["pairs"]), str(n["tasks"])] for rule, n in found.items()]


def _table(cells: list[list[str]]) -> list[str]:
    header, *rows = ["| " + " | ".join(row) + " |" for row in cells]
    return [header, "|" + "---|" * len(cells[0]), *rows]


def stage_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """A table of what each stage took: seconds, a model's tokens and the environments' steps, and
    how many of them a second. Empty where nothing was timed."""
    seconds: Mapping[str, float] = summary.get("wall_seconds", {})
    stages: Mapping[str, Mapping[str, float]] = summary.get("stages", {})
    whole = sum(seconds.values())
    rows = []
    for stage, took in seconds.items():
        of = stages.get(stage, {})
        cells = [stage, f"{took:,.1f}", f"{100 * took / (whole or 1):.0f} %"]
        cells.append(_amount(of.get("prompt_tokens")))
        for amount in (of.get("completion_tokens"), of.get("env_steps")):
            cells += [_amount(amount), f"{amount / took:,.1f}" if amount and took else ""]
        rows.append(cells)
    head = ["stage", "seconds", "share", "tokens read", "tokens written", "a second"]
    return (
        [[*head, "steps", "a second"], *rows, ["all", f"{whole:,.1f}", *[""] * 6]] if rows else []
    )


def _amount(amount: float | None) -> str:
    return f"{amount:,.0f}" if amount else ""
