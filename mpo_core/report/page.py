"""The report in words and tables: Markdown, and the cells that the terminal shows too."""

from collections.abc import Mapping, Sequence
from typing import Any

from mpo_core.report.arms import arm_name
from mpo_core.report.conduct import conduct_rows, conduct_warnings

SHUFFLED = (
    "The shuffled control's result on a task is the mean over {n}, trained as the first round's "
    "planner is, with the scores exchanged in exactly half of the pairs: what it gains over the "
    "planner before, scores have not taught."
)
INTERVAL = (
    "Mean reward with its 95% bootstrap interval over tasks. The expert is the environment's own "
    "solution, played without a step limit."
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
            line.append(_difference(pair) if pair else "")
        cells.append(line)
    return cells


def paired_rows(rows: Rows) -> list[list[str]]:
    """Paired differences as the cells of a table, its header first."""
    several = any(row["seed"] is None for row in rows)
    header = ["environment", "plans", "against", "difference [95% CI]", "tasks"]
    cells = [header + (["seeds"] if several else [])]
    for row in rows:
        arms = [arm_name(row["arm_a"]), arm_name(row["arm_b"])]
        counts = [str(row["n"])] + ([str(row["n_seeds"])] if several else [])
        cells.append([f"{row['env']} {row['split']}", *arms, _difference(row), *counts])
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
    header = ["trained", "method", "rows", "steps", "loss", "preferred", "on validation tasks"]
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
                training["method"].upper(),
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


def markdown(summary: Mapping[str, Any]) -> str:
    """The report as a page."""
    runs, pairs, rules = summary.get("runs", {}), summary["paired"], summary["pair_rules"]
    seeds = ", ".join(f"{name} (seed {seed})" for name, seed in runs.items())
    by_pair = _table(paired_rows(pairs))
    by_rule = _table([["rule", "pairs", "tasks"], *_rules(rules)])
    lines = [
        f"# {title(summary)}",
        "",
        *([f"{len(runs)} runs in one: {seeds}.", ""] if runs else []),
        f"{summary['tasks']['train']} training tasks, {summary['plans']} plans, "
        f"{summary['episodes']} episodes, {summary['pairs']} preference pairs"
        f"{' in all' if runs else ''}.",
        "",
        *_table(table_rows(headline(summary))),
        "",
        INTERVAL,
        *(["", SHUFFLED.format(n=_planners(summary["shuffled"]))] if summary["shuffled"] else []),
        *(["", SEEDS] if runs else []),
        "",
        "![Mean reward by arm](arms.png)",
        *(["", "## Differences on the same tasks", "", *by_pair, "", PAIRED] if pairs else []),
        "",
        "## Mean reward by task type",
        "",
        *_table(type_rows(summary["types"])),
        *_conduct(summary),
        *_trainings(summary),
        *(["", "## Preference pairs that each rule gives", "", *by_rule] if rules else []),
    ]
    if runs:
        own = [row for row in summary["table"] if row["seed"] is not None]
        lines += ["", "## Each seed", "", *_table(table_rows(own))]
    return "\n".join(lines) + "\n"


def _planners(seeds: Sequence[int]) -> str:
    return "one planner" if len(seeds) == 1 else f"{len(seeds)} planners"


def _difference(row: Mapping[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{row['diff']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _rules(found: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    return [[rule, str(n["pairs"]), str(n["tasks"])] for rule, n in found.items()]


def _table(cells: list[list[str]]) -> list[str]:
    header, *rows = ["| " + " | ".join(row) + " |" for row in cells]
    return [header, "|" + "---|" * len(cells[0]), *rows]
