"""How far a run has come, by its folder alone: also of one that goes on elsewhere."""

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from jobs.view.index import RunIndex
from mpo_core.config import Config, load_config
from mpo_core.progress import standard_error
from mpo_core.proxy.planners import read_planners
from mpo_core.report import SUMMARY
from mpo_core.run_folder import RunFolder
from mpo_core.textfile import read_notes

EARLIER = "plan_id IS NOT NULL AND plan_id IN (SELECT id FROM plan GROUP BY id HAVING max(own) = 0)"
"""Of episodes under plans that are not the run's own (`jobs.origins`), whoever else wrote them."""
FIGURES = ("steps", "loss_first", "loss_last")
"""Of a training."""


def status(folder: Path, *, kept: bool = True) -> dict[str, Any]:
    """
    Args:
        kept: whether what is read is kept in an index beside the files, for the next time.

    Returns:
        `name`, `begun_with` (the folder that it began with a copy of; None), `seconds_ago` (since
        something was last written), `tasks` (split -> number), `plans` (planner -> number),
        `stages` (stage -> `episodes`, `of` (at most; None where that is not known), `mean_reward`
        (None without any), `stderr`, `ends`, and how many `earlier` ones are under plans that are
        not the run's own), `pairs` (file -> number), `trained`
        (version -> `steps`, `loss_first`, `loss_last`), `report` (whether it is written),
        `wall_seconds` (stage -> seconds); of a run on callers' feedback `feedback`, too: the
        proxy's planner `in_use`, its `canary` with the `share` of the new conversations that this
        gets, and the last `verdict` on one, each None where there is none.

    Raises:
        InputError: the folder's config is damaged.
    """
    files = RunFolder(folder)
    config = load_config(files.config)
    with closing(RunIndex(folder, kept=kept)) as index:
        for _ in index.refresh():
            pass
        found, begun_with = _of_index(index), index.origins.begun_with
    trained = {
        path.parent.name: read_notes(path)
        for path in sorted(files.planners.glob("*/training.json"))
    }
    for stage, of_stage in found["stages"].items():
        of_stage["of"] = _expected(config, stage, found["tasks"])
    return {
        "name": config.name,
        "begun_with": begun_with,
        "seconds_ago": round(max(0.0, time.time() - _last_written(folder)), 1),
        **found,
        "trained": {
            version: {key: notes[key] for key in FIGURES}
            for version, notes in trained.items()
            if all(isinstance(notes.get(key), int | float) for key in FIGURES)
        },
        **({"feedback": _of_feedback(config, files)} if config.source == "feedback" else {}),
        "report": (files.report / SUMMARY).is_file(),
        "wall_seconds": {
            stage: amounts["seconds"]
            for stage, amounts in read_notes(files.timings).items()
            if isinstance(amounts, dict) and "seconds" in amounts
        },
    }


def status_lines(found: dict[str, Any]) -> Iterator[str]:
    """The status for a terminal."""
    done = "finished" if found["report"] else "no report yet"
    yield f"{found['name']}: {done}, last written {_ago(found['seconds_ago'])} ago"
    if found["begun_with"]:
        yield f"  begun with {found['begun_with']}; its plans not used again are called earlier"
    yield from _counted("tasks", found["tasks"])
    yield from _counted("plans", found["plans"])
    for stage, of_stage in found["stages"].items():
        whole = "" if of_stage["of"] is None else f" of at most {of_stage['of']:,}"
        ends = ", ".join(f"{n:,} {end.replace('_', ' ')}" for end, n in of_stage["ends"].items())
        line = f"  {stage:<11}{of_stage['episodes']:,}{whole} episodes"
        if of_stage["episodes"]:
            reward = f"{of_stage['mean_reward']:.3f} ± {of_stage['stderr']:.3f}"
            line += f", mean reward {reward}; {ends}"
        if of_stage["earlier"]:
            line += f"; and {of_stage['earlier']:,} under earlier plans"
        yield line
    yield from _counted("pairs", found["pairs"])
    for version, training in found["trained"].items():
        yield (
            f"  trained    {version}: {training['steps']} steps, loss "
            f"{training['loss_first']:.3f} to {training['loss_last']:.3f}"
        )
    yield from _of_planners(found.get("feedback", {}))
    if found["wall_seconds"]:
        longest = sorted(found["wall_seconds"].items(), key=lambda item: -item[1])[:5]
        yield "  time       " + ", ".join(f"{stage} {_ago(s)}" for stage, s in longest)


def _of_index(index: RunIndex) -> dict[str, Any]:
    ask = index.db.execute
    stages: dict[str, dict[str, Any]] = {}
    own, all_of = f"FROM episode WHERE NOT ({EARLIER})", "SELECT stage, count(*) FROM episode"
    figures = f"SELECT stage, count(*), avg(reward), avg(reward * reward) {own} GROUP BY 1"
    found = {stage: row for stage, *row in ask(figures)}
    for stage, total in ask(f"{all_of} GROUP BY 1 ORDER BY min(rowid)").fetchall():
        n, mean, square = found.get(stage, (0, 0.0, 0.0))
        error = standard_error(n, mean, square) or 0.0
        ends = ask(
            f"SELECT end, count(*) {own} AND stage = ? GROUP BY 1 ORDER BY 2 DESC, 1", (stage,)
        )
        stages[stage] = {"episodes": n, "mean_reward": mean if n else None, "stderr": error}
        stages[stage] |= {"ends": dict(ends), "earlier": total - n}
    return {
        "tasks": dict(ask("SELECT split, count(DISTINCT id) FROM task GROUP BY 1")),
        "plans": dict(ask("SELECT planner, count(*) FROM plan GROUP BY 1 ORDER BY min(rowid)")),
        "stages": stages,
        "pairs": dict(ask("SELECT name, count(*) FROM pair GROUP BY 1")),
    }


def _of_feedback(config: Config, files: RunFolder) -> dict[str, Any]:
    from jobs.feedback.learning import last_verdict, rounds_in

    known = read_planners(config.proxy.folder)
    canary = known.canary if known else None
    return {
        "in_use": known and known.current,
        "canary": canary and canary.version,
        "share": canary and canary.share,
        "verdict": last_verdict(rounds_in(files)) or None,
    }


def _of_planners(of_feedback: dict[str, Any]) -> Iterator[str]:
    if of_feedback.get("in_use"):
        canary, share = of_feedback["canary"], of_feedback["share"]
        tried = f", {canary} for a share of {share:g} as a canary" if canary else ""
        yield f"  planner    {of_feedback['in_use']} in use{tried}"
    if of_feedback.get("verdict"):
        yield f"  verdict    {of_feedback['verdict']}"


def _expected(config: Config, stage: str, tasks: dict[str, int]) -> int | None:
    """How many episodes a stage comes to at most, where the settings alone decide it: plans that
    are the same share theirs, and a round may be the last."""
    if stage != "scoring" or config.scoring.repetitions == "auto" or "train" not in tasks:
        return None
    plans = tasks["train"] * config.planner.per_task * config.rounds
    return plans * config.scoring.repetitions


def _last_written(folder: Path) -> float:
    view, latest = RunFolder(folder).view.name, 0.0
    for path in folder.rglob("*"):
        with suppress(OSError):  # A training's, that has just given way to the next.
            if path.is_file() and not path.name.startswith(view):
                latest = max(latest, path.stat().st_mtime)
    return latest


def _counted(what: str, numbers: dict[str, int]) -> Iterator[str]:
    if numbers:
        yield f"  {what:<11}" + ", ".join(f"{n:,} {name}" for name, n in numbers.items())


def _ago(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
