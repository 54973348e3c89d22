"""The report's picture: mean reward by arm, and the differences from the reference arm."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mpo_core.report.arms import arm_name
from mpo_core.report.gain import single_plan
from mpo_core.report.page import against_reference, title

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Series:
    """Means and differences that are drawn alike."""

    name: str
    found: Mapping[str, Any]
    color: str
    pale: str
    marker: str
    shift: float
    """How far below its arm's height each is drawn, an arm taking 1."""


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

    table = summary["table"]
    several = any(row["seed"] is None for row in table)
    series = _series(summary)
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
        for one in series:
            rows = _of(place, one.found["table"])
            pooled = [row for row in rows if row["seed"] is None or not several]
            own = [row for row in rows if row["seed"] is not None and several]
            heights = [arms.index(row["arm"]) + one.shift for row in own]
            panels[0].plot(
                [row["mean_reward"] for row in own],
                [height + 0.44 / (1 + len(series)) for height in heights],
                one.marker,
                color=one.pale,
                markersize=4,
            )
            heights = [arms.index(row["arm"]) + one.shift for row in pooled]
            _intervals(panels[0], one, pooled, "mean_reward", heights)
            if paired:
                rows = _of(place, against_reference(one.found["paired"]))
                heights = [arms.index(row["arm_a"]) + one.shift for row in rows]
                _intervals(panels[1], one, rows, "diff", heights)
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
    if len(series) > 1:
        keys = [
            plt.Line2D([], [], color=one.color, marker=one.marker, linestyle="", label=one.name)
            for one in series
        ]
        figure.legend(handles=keys, loc="outside upper right", ncols=2, frameon=False)
    grid[0, 0].set_xlim(left=min(0, *grid[0, 0].get_xlim()))
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _series(summary: Mapping[str, Any]) -> list[Series]:
    single = partial(Series, f"{single_plan(summary)} a task", summary, "#1f5fa8", "#9dbbdc", "o")
    if "sampled" not in summary:
        return [single(shift=0)]
    drawn = summary["sampled"]
    sampled = Series("sampled plans, their mean", drawn, "#c8591a", "#eebb98", "s", shift=0.18)
    return [single(shift=-0.18), sampled]


def _of(place: tuple[str, str], rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if (row["env"], row["split"]) == place]


def _intervals(
    axes: Any, one: Series, rows: Sequence[Row], value: str, heights: Sequence[float]
) -> None:
    middle = [row[value] for row in rows]
    # A bootstrap's percentiles can both lie on one side of the mean by a rounding.
    below = [max(0, row[value] - row["ci95"][0]) for row in rows]
    above = [max(0, row["ci95"][1] - row[value]) for row in rows]
    axes.errorbar(middle, heights, xerr=[below, above], fmt=one.marker, capsize=4, color=one.color)
