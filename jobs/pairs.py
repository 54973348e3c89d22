"""Stage: preference pairs from the scored plans."""

from pathlib import Path

from jobs.plans import load_plans
from jobs.run import Run
from jobs.tasks import load_tasks
from mpo_core.errors import InputError
from mpo_core.ledger import write_records
from mpo_core.pairs import best_worst
from mpo_core.scoring import load_scores
from mpo_core.types import PreferencePair


def collect_pairs(run: Run) -> list[PreferencePair]:
    """Write `pairs/pairs.jsonl`; tasks whose plans tie give no pair."""
    scores = run.dir / "scores.parquet"
    if not scores.is_file():
        raise InputError(f"{scores}: no scores; run `mpo rollout` with the same config first")
    pairs = best_worst(
        load_tasks(run, "train"),
        load_plans(run, "base", "train"),
        load_scores(scores),
        run.prompts,
        run.config.pairs.min_margin,
    )
    write_records(pairs_path(run), pairs)
    return pairs


def pairs_path(run: Run) -> Path:
    return run.dir / "pairs" / "pairs.jsonl"
