"""The report's picture: mean reward by arm, and the differences from the reference arm."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpo_core.report.arms import arm_name
from mpo_core.report.gain import single_plan
from mpo_core.report.page import against_reference, title

BLUE, PALE = "#1f5fa8", "#9dbbdc"
ORANGE, PALE_ORANGE = "#c8591a", "#eebb98"
Row = Mapping[str, Any]


def plot(summary: Mapping[str, Any], path: Path) -> None:
    """A row of panels for each environment and split: the arms' mean rewards with their intervals
    and, where arms are compared, their paired differences from the reference arm, those of sampled
    plans below those of one plan a task. Of several seeds, the interval is that of all together and
    a pale dot below it is one seed."""
    # A notebook's, or one of another installation, would be read at the import.
    os.environ["MPLBACKEND"] = "agg"
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    table, sampled = summary["table"], summary.get("sampled")
    several = any(row["seed"] is None for row in table)
    one, many = (summary, BLUE, PALE, "o"), (sampled, ORANGE, PALE_ORANGE, "s")
    series = [one, many] if sampled else [one]
    paired = against_reference(summary["paired"])
    places = list(dict.fromkeys((row["env"], row["split"]) for row in table))
    arms = list(dict.fromkeys(row["arm"] for row in table))
    columns = 2 if paired else 1
    figure, grid = plt.subplots(
        len(places),
        columns,
        figsize=(5.5 * columns, len(places) * (0.9 + 0.4 * len(arms) * len(series) ** 0.5) + 0.3),
        sharex="col",
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(title(summary), fontsize="large", x=0.01, ha="left")
    for place, panels in zip(places, grid, strict=True):
        for k, (found, color, pale, marker) in enumerate(series):
            # One below the other, about the arm's own height.
            height = {arm: n + 0.36 * (k - (len(series) - 1) / 2) for n, arm in enumerate(arms)}
            rows = _of(place, found["table"])
            pooled = [row for row in rows if row["seed"] is None or not several]
            own = [row for row in rows if row["seed"] is not None and several]
            panels[0].plot(
                [row["mean_reward"] for row in own],
                [height[row["arm"]] + 0.44 / (1 + len(series)) for row in own],
                marker,
                color=pale,
                markersize=4,
            )
            style = {"color": color, "fmt": marker}
            heights = [height[row["arm"]] for row in pooled]
            _intervals(panels[0], pooled, "mean_reward", heights, style)
            rows = _of(place, against_reference(found["paired"]))
            if paired:
                _intervals(panels[1], rows, "diff", [height[row["arm_a"]] for row in rows], style)
        tasks = max(row["n"] for row in _of(place, table))
        panels[0].set_title(f"{', '.join(place)} ({tasks} tasks)", fontsize="medium", loc="left")
        panels[0].set_yticks(range(len(arms)), map(arm_name, arms))
        panels[0].set_ylim(len(arms) - 0.5, -0.5)
        if paired:
            panels[1].axvline(0, color="black", linewidth=0.8)
        for axes in panels:
            axes.grid(axis="x", alpha=0.3)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
    over = "tasks and seeds" if several else "tasks"
    grid[-1, 0].set_xlabel(f"mean reward, 95% interval over {over}")
    if paired:
        grid[-1, 1].set_xlabel(f"minus {arm_name(paired[0]['arm_b'])}, on the same tasks")
    if sampled:
        named = {f"{single_plan(summary)} a task": one, "sampled plans, their mean": many}
        keys = [
            plt.Line2D([], [], color=color, marker=marker, linestyle="", label=name)
            for name, (_, color, _, marker) in named.items()
        ]
        figure.legend(handles=keys, loc="outside upper right", ncols=2, frameon=False)
    grid[0, 0].set_xlim(left=min(0, *grid[0, 0].get_xlim()))
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _of(place: tuple[str, str], rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if (row["env"], row["split"]) == place]


def _intervals(
    axes: Any, rows: Sequence[Row], value: str, heights: Sequence[float], style: Mapping[str, str]
) -> None:
    middle = [row[value] for row in rows]
    # A bootstrap's percentiles can both lie on one side of the mean by a rounding.
    below = [max(0, row[value] - row["ci95"][0]) for row in rows]
    above = [max(0, row["ci95"][1] - row[value]) for row in rows]
    axes.errorbar(middle, heights, xerr=[below, above], capsize=4, **style)
