"""Studies of the method in the sandbox: each a sweep that begins with the plans, scores and SFT
planner of a finished `mpo run sandbox`, its planners compared on games of their own.

    python docs/sandbox/studies.py run runs/sandbox-seed0 [NAME ...]      # plays what is not done
    python docs/sandbox/studies.py show runs/sandbox-seed*                # tables and figures

The games are in rooms of the training, so that what is chosen here is not chosen on the unseen
rooms that a run reports on.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.sweep import Point, grid
from mpo_core.config import load_config
from mpo_core.evaluation import compare
from mpo_core.ledger import read_records
from mpo_core.types import TaskResult

HERE = Path(__file__).parent
GAMES = ("envs.alfworld.generated.seen=200", "evaluation.splits=[seen]")
ONE_ROUND = ("rounds=1", "scoring.shuffle=[]")
SIXTY_STEPS = ("training.max_steps=60",)


@dataclass(frozen=True)
class Study:
    """A question, and the sweep that answers it."""

    name: str
    question: str
    over: tuple[str, ...]
    arm: str = "mpo"
    settings: tuple[str, ...] = ()


STUDIES = (
    Study(
        "pairs",
        "Which pairs, and is there need of an SFT term? (DPO, 60 steps)",
        ("pairs.rule=best_worst,nested,margin", "training.sft_weight=0,1,3"),
        settings=SIXTY_STEPS,
    ),
    Study("beta", "How strong a pull to the reference? (DPO)", ("training.beta=0.03,0.1,0.3",)),
    Study("rate", "Which learning rate? (DPO)", ("training.learning_rate=3e-4,1e-3,2e-3",)),
    Study("steps", "How long? (DPO)", ("training.max_steps=30,60,120",)),
    Study(
        "loss",
        "Which loss? (DPO, without an SFT term)",
        ("training.loss_type=sigmoid,sigmoid_norm,ipo,hinge",),
        settings=("training.sft_weight=0", "training.learning_rate=3e-4"),
    ),
    Study(
        "budget",
        "How many plans a task, how many attempts a plan? (DPO, 60 steps)",
        ("planner.per_task=2,4,8", "scoring.repetitions=1,2"),
        settings=SIXTY_STEPS,
    ),
    Study("rft", "What to imitate? (RFT)", ("planner.rft.pick=best,above_mean",), arm="rft"),
    Study(
        "pg",
        "How far may the weights go? (policy gradient)",
        ("planner.pg.ratio_floor=0,1", "planner.pg.ratio_cap=1.2,3"),
        arm="pg",
    ),
)


def seed_of(run: Path) -> int:
    return load_config(run / "config.yaml").seed


def run(study: Study, base: Path) -> None:
    """Plays what is owed of a study, from a finished run's files."""
    command = [*_mpo("sweep", _name(study, base), base), f"evaluation.arms=[sft,{study.arm}]"]
    command += [*study.settings, "--from", str(begun(base))]
    for axis in study.over:
        command += ["--over", axis]
    subprocess.run(command, check=True)


def begun(base: Path) -> Path:
    """A run with the base's files that has played the studies' games under its SFT planner."""
    folder = base.parent / f"study-seed{seed_of(base)}"
    if not (folder / "report" / "summary.json").is_file():
        command = [*_mpo("run", folder.name, base), "evaluation.arms=[sft]", "--from", str(base)]
        subprocess.run(command, check=True)
    return folder


def _mpo(command: str, name: str, base: Path) -> list[str]:
    where = [f"name={name}", f"seed={seed_of(base)}", f"runs_dir={base.parent}"]
    return [sys.executable, "-m", "jobs.cli", command, "sandbox", *where, *GAMES, *ONE_ROUND]


def show(study: Study, bases: Sequence[Path]) -> str:
    """The table of a study over the seeds that have played it, its figure drawn beside it."""
    rows = list(_rows(study, bases))
    if not rows:
        return ""
    lines = [
        f"### {study.question}",
        "",
        f"![{study.question}]({study.name}.png)",
        "",
        "| settings | greedy | minus SFT | sampled | minus SFT |",
        "|---|---|---|---|---|",
    ]
    for settings, greedy, drawn in rows:
        cells = [cell for of_plans in (greedy, drawn) for cell in _cells(of_plans)]
        lines.append(f"| {settings} | {' | '.join(cells)} |")
    _draw(study, rows)
    return "\n".join([*lines, ""])


@dataclass(frozen=True)
class Reached:
    """An arm's mean reward, and how much it is above SFT's, with its interval."""

    mean: float
    gain: float
    low: float
    high: float


def _rows(study: Study, bases: Sequence[Path]) -> Iterator[tuple[str, Reached, Reached]]:
    points = [grid(_name(study, base), study.over) for base in bases]
    for of_seeds in zip(*points, strict=True):
        results = [r for p, base in zip(of_seeds, bases, strict=True) for r in _results(p, base)]
        if not results:
            continue
        found = compare(results)
        settings = ", ".join(map(_short, of_seeds[0].overrides))
        yield settings, _reached(found, study.arm), _reached(found["sampled"], study.arm)


def _short(override: str) -> str:
    """An override without the sections of its key."""
    key, value = override.split("=", 1)
    return f"{key.rpartition('.')[2]}={value}"


def _results(point: Point, base: Path) -> list[TaskResult]:
    path = base.parent / point.name / "report" / "results.jsonl"
    return read_records(path, TaskResult) if path.is_file() else []


def _reached(found: dict, arm: str) -> Reached:
    [row] = [row for row in found["paired"] if (row["arm_a"], row["arm_b"]) == (arm, "sft")]
    return Reached(found["arms"][arm]["mean_reward"], row["diff"], *row["ci95"])


def _cells(of: Reached) -> tuple[str, str]:
    return f"{of.mean:.3f}", f"{of.gain:+.3f} [{of.low:+.3f}, {of.high:+.3f}]"


def _draw(study: Study, rows: Sequence[tuple[str, Reached, Reached]]) -> None:
    os.environ["MPLBACKEND"] = "agg"
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(7, 0.9 + 0.42 * len(rows)), layout="constrained")
    kinds = (("sampled plans", 2, "C0", -0.12), ("greedy plans", 1, "C1", 0.12))
    for name, column, color, shift in kinds:
        for height, row in enumerate(rows):
            of = row[column]
            at, label = height + shift, name if height == 0 else None
            panel.plot([of.low, of.high], [at, at], color=color, linewidth=1.5)
            panel.plot(of.gain, at, "o", color=color, label=label)
    panel.set_yticks(range(len(rows)), [row[0] for row in rows])
    panel.invert_yaxis()
    panel.axvline(0, color="0.6", linewidth=0.8)
    panel.set_xlabel("mean reward minus SFT's, with its 95% interval")
    panel.set_title(study.question, loc="left", fontsize="medium")
    panel.legend(fontsize="small", frameon=False)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    figure.savefig(HERE / f"{study.name}.png", dpi=110)
    plt.close(figure)


def _name(study: Study, base: Path) -> str:
    return f"study-{study.name}-seed{seed_of(base)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["run", "show"])
    parser.add_argument("given", nargs="+", metavar="RUN|NAME", help="runs, and names of studies")
    given = parser.parse_args()
    bases = [Path(one) for one in given.given if Path(one).is_dir()]
    named = {one for one in given.given if not Path(one).is_dir()}
    if unknown := named - {study.name for study in STUDIES}:
        parser.error(f"neither a run nor a study: {', '.join(unknown)}")
    for study in STUDIES:
        if named and study.name not in named:
            continue
        if given.what == "run":
            for base in bases:
                run(study, base)
        elif table := show(study, bases):
            print(table)


if __name__ == "__main__":
    main()
