"""Stage: the planner is trained on the preference pairs."""

from typing import Any

from jobs.pairs import pairs_path
from jobs.run import Run
from mpo_core.errors import InputError
from mpo_core.ledger import write_text
from mpo_core.types import content_hash

CURVE_METRICS = (
    "loss",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
    "learning_rate",
    "grad_norm",
)


def train_planner(run: Run) -> dict[str, Any]:
    """Train on `pairs/pairs.jsonl` into `planner/mpo/`, unless that holds what would come out."""
    pairs = pairs_path(run)
    if not pairs.is_file():
        raise InputError(f"{pairs}: no pairs; run `mpo pairs` with the same config first")
    if not pairs.read_text():
        raise InputError(
            f"{pairs}: the plans of every task tie, so there is nothing to learn from; raise "
            "planner.per_task, scoring.repetitions or the number of train tasks, or lower "
            "pairs.min_margin"
        )
    identity = content_hash(
        pairs.read_text(),
        run.planner_fingerprint("base"),
        run.config.training.model_dump(),
        run.config.seed,
    )
    done = run.dir / "planner" / "mpo-trained-for.txt"
    if done.is_file() and done.read_text() == identity and run.training_summary():
        return run.training_summary()
    with run.timed("train"):
        summary = run.backend.train(
            "dpo",
            pairs,
            run.planner_dir,
            seed=run.config.seed,
            storage_path=run.dir / "planner" / "checkpoints",
        )
    write_text(done, identity)
    for row in summary.get("curve", []):
        metrics = {f"dpo/{name}": row[name] for name in CURVE_METRICS if name in row}
        run.tracker.log_metrics(metrics, step=int(row["step"]))
    return summary
