"""What a run found: a summary for machines, a table for people, a picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpo_core.ledger import write_text

ARM_NAMES = {
    "none": "no plan",
    "base": "base planner's plans",
    "mpo": "MPO plans",
    "expert": "expert",
}
SHUFFLED = "**Control:** the scores were permuted among the plans of each task before pairing."
Rows = Sequence[Mapping[str, Any]]


def table_rows(rows: Rows) -> list[list[str]]:
    """Results as the cells of a table, its header first."""
    cells = [["environment", "plans", "mean reward [95% CI]", "success", "steps", "tasks", "n"]]
    for row in rows:
        low, high = row["ci95"]
        cells.append(
            [
                f"{row['env']} {row['split']}",
                ARM_NAMES.get(row["arm"], row["arm"]),
                f"{row['mean_reward']:.3f} [{low:.3f}, {high:.3f}]",
                f"{row['success_rate']:.0%}",
                f"{row['mean_steps']:.1f}",
                str(row["n_tasks"]),
                str(row["n_episodes"]),
            ]
        )
    return cells


def type_rows(rows: Rows) -> list[list[str]]:
    """Mean reward by task type and arm as the cells of a table, its header first."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    cells = [["environment", "task type", *(ARM_NAMES.get(a, a) for a in arms), "tasks"]]
    by_type: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_type.setdefault((row["env"], row["split"], row["type"]), {})[row["arm"]] = row
    for (env, split, task_type), of_arm in sorted(by_type.items()):
        means = [f"{of_arm[arm]['mean_reward']:.3f}" if arm in of_arm else "" for arm in arms]
        tasks = max(row["n_tasks"] for row in of_arm.values())
        cells.append([f"{env} {split}", task_type, *means, str(tasks)])
    return cells


def markdown(name: str, summary: Mapping[str, Any]) -> str:
    """The report as a page."""
    lines = [
        f"# {name}",
        "",
        f"{summary['tasks']['train']} training tasks, {summary['plans']} plans, "
        f"{summary['episodes']} episodes, {summary['pairs']} preference pairs.",
        *(["", SHUFFLED] if summary["shuffled"] else []),
        "",
        *_table(table_rows(summary["table"])),
        "",
        "Mean reward with its 95% bootstrap interval over tasks; n: episodes. The expert is the "
        "environment's own solution, played without a step limit.",
        "",
        "![Mean reward by arm](arms.png)",
        "",
        "## Mean reward by task type",
        "",
        *_table(type_rows(summary["types"])),
        "",
        "## Preference pairs that each rule gives",
        "",
        *_table([["rule", "pairs", "tasks"], *_rules(summary["pair_rules"])]),
    ]
    return "\n".join(lines) + "\n"


def _rules(found: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    return [[rule, str(n["pairs"]), str(n["tasks"])] for rule, n in found.items()]


def _table(cells: list[list[str]]) -> list[str]:
    header, *rows = ["| " + " | ".join(row) + " |" for row in cells]
    return [header, "|" + "---|" * len(cells[0]), *rows]


def plot(rows: Rows, path: Path) -> None:
    """Mean reward by arm, with its interval: a panel an environment and split."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        panels.setdefault((row["env"], row["split"]), []).append(row)
    tallest = max(map(len, panels.values()))
    figure, grid = plt.subplots(
        len(panels),
        figsize=(6, len(panels) * (0.9 + 0.4 * tallest)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    right = max(row["ci95"][1] for row in rows)
    for ((env, split), of_panel), axes in zip(panels.items(), grid[:, 0], strict=True):
        names = [ARM_NAMES.get(row["arm"], row["arm"]) for row in of_panel]
        means = [row["mean_reward"] for row in of_panel]
        below = [row["mean_reward"] - row["ci95"][0] for row in of_panel]
        above = [row["ci95"][1] - row["mean_reward"] for row in of_panel]
        axes.errorbar(means, names, xerr=[below, above], fmt="o", capsize=4, color="#1f5fa8")
        axes.set_xlim(-0.02 * max(right, 1e-3), max(right, 1e-3) * 1.1)
        axes.set_ylim(len(names) - 0.5, -0.5)
        tasks = max(row["n_tasks"] for row in of_panel)
        axes.set_title(f"{env}, {split} ({tasks} tasks)", fontsize="medium", loc="left")
        axes.grid(axis="x", alpha=0.3)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    axes.set_xlabel("mean reward, 95% interval over tasks")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def write_report(folder: Path, name: str, summary: Mapping[str, Any]) -> None:
    """`summary.json`, `report.md` and `arms.png`; the summary last, as the sign of a whole one."""
    folder.mkdir(parents=True, exist_ok=True)
    plot(summary["table"], folder / "arms.png")
    write_text(folder / "report.md", markdown(name, summary))
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
