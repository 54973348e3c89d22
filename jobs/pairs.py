"""Stage: preference pairs from the scored plans."""

from collections.abc import Iterable
from pathlib import Path

from jobs.plans import load_plans
from jobs.run import Run
from jobs.tasks import load_tasks
from mpo_core.errors import InputError
from mpo_core.ledger import write_records
from mpo_core.pairs import RULES, make_pairs
from mpo_core.scoring import load_scores, shuffled
from mpo_core.types import PreferencePair


def collect_pairs(run: Run) -> list[PreferencePair]:
    """Write `pairs/pairs.jsonl` by the config's rule; tasks whose plans tie give no pair."""
    rule = run.config.pairs.rule
    pairs = _pairs(run, [rule])[rule]
    write_records(pairs_path(run), pairs)
    return pairs


def yields(run: Run) -> dict[str, dict[str, int]]:
    """What every rule would give: its pairs, and the tasks that have one."""
    return {
        rule: {"pairs": len(pairs), "tasks": len({pair.task_id for pair in pairs})}
        for rule, pairs in _pairs(run, RULES).items()
    }


def _pairs(run: Run, rules: Iterable[str]) -> dict[str, list[PreferencePair]]:
    """The pairs that each rule makes of the run's tasks, plans and scores."""
    path = run.dir / "scores.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no scores; run `mpo rollout` with the same config first")
    scores = load_scores(path)
    if run.config.scoring.shuffle:
        scores = shuffled(scores, run.config.seed)
    tasks, plans = load_tasks(run, "train"), load_plans(run, "base", "train")
    margin, level = run.config.pairs.min_margin, run.config.pairs.level
    return {
        rule: make_pairs(rule, tasks, plans, scores, run.prompts, min_margin=margin, level=level)
        for rule in rules
    }


def pairs_path(run: Run) -> Path:
    return run.dir / "pairs" / "pairs.jsonl"
