"""What a run found: a summary for machines, a table for people, a picture."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpo_core.ledger import write_text

ARM_NAMES = {"none": "no plan", "base": "base planner's plans", "mpo": "MPO plans"}


def table_rows(arms: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The arms as the cells of a table, its header first."""
    rows = [["plans", "mean reward [95% CI]", "success", "steps", "tasks", "n"]]
    for arm, result in arms.items():
        low, high = result["ci95"]
        rows.append(
            [
                ARM_NAMES.get(arm, arm),
                f"{result['mean_reward']:.3f} [{low:.3f}, {high:.3f}]",
                f"{result['success_rate']:.0%}",
                f"{result['mean_steps']:.1f}",
                str(result["n_tasks"]),
                str(result["n_episodes"]),
            ]
        )
    return rows


def markdown(name: str, summary: Mapping[str, Any]) -> str:
    """The report as a page."""
    header, *rows = table_rows(summary["arms"])
    lines = [
        f"# {name}",
        "",
        f"{summary['tasks']['train']} training tasks, {summary['plans']} plans, "
        f"{summary['episodes']} episodes, {summary['pairs']} preference pairs.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        "Mean reward with its 95% bootstrap interval over tasks; n: episodes.",
        "",
        "![Mean reward by arm](arms.png)",
    ]
    return "\n".join(lines) + "\n"


def plot(arms: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Mean reward by arm, with its interval and the tasks' number."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [ARM_NAMES.get(arm, arm) for arm in arms]
    means = [result["mean_reward"] for result in arms.values()]
    below = [result["mean_reward"] - result["ci95"][0] for result in arms.values()]
    above = [result["ci95"][1] - result["mean_reward"] for result in arms.values()]
    figure, axes = plt.subplots(figsize=(6, 0.6 + 0.6 * len(names)), layout="constrained")
    axes.errorbar(means, names, xerr=[below, above], fmt="o", capsize=4, color="#1f5fa8")
    axes.set_xlim(0, max(1e-3, *(m + a for m, a in zip(means, above, strict=True))) * 1.1)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("mean reward, 95% interval over tasks")
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def write_report(folder: Path, name: str, summary: Mapping[str, Any]) -> None:
    """`summary.json`, `report.md` and `arms.png`; the summary last, as the sign of a whole one."""
    folder.mkdir(parents=True, exist_ok=True)
    plot(summary["arms"], folder / "arms.png")
    write_text(folder / "report.md", markdown(name, summary))
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
