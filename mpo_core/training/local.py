"""A training on this machine, without Ray: rows in, a planner out.

It runs in processes of its own (`python -m mpo_core.training`, under torchrun where there are
several workers), since DeepSpeed takes a process over: its environment, its process group, its
GPU's memory. What ends early leaves its checkpoints, and the same call goes on from them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from mpo_core.chat_templates import given_template, template_settings
from mpo_core.config import TrainingConfig, validated
from mpo_core.errors import InputError
from mpo_core.files import write_records, write_text
from mpo_core.progress import bar
from mpo_core.setup import Planner, trained_model
from mpo_core.textfile import read_notes
from mpo_core.training.run import TrainingSummary
from mpo_core.training.settings import CONFIGS, SUMMARY_FILE, Method, TrainingJob
from mpo_core.types import Demonstration, PreferencePair, ScoredAnswer, content_hash

Row = PreferencePair | Demonstration | ScoredAnswer
METHODS: dict[type[Row], Method] = {
    PreferencePair: "dpo",
    Demonstration: "sft",
    ScoredAnswer: "pg",
}
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Trained:
    """What came out of a training."""

    planner: Planner
    """The one that was trained, asked as before."""
    summary: TrainingSummary
    """Losses and metrics step by step (`curve`), rows left out, warnings, speed and memory."""


def train(
    rows: Sequence[Row],
    planner: Planner,
    folder: str | Path,
    config: TrainingConfig | None = None,
    *,
    validation: Sequence[Row] = (),
    seed: int = 42,
    **settings: Any,
) -> Trained:
    """Train a planner: DPO on pairs, SFT on demonstrations, policy gradient on scored answers.

    Args:
        rows: all of one kind, which says the method.
        planner: what is trained, by its model's `source`; a planner that was trained before is gone
            on with, and is the reference of DPO.
        folder: where the trained weights go, a LoRA adapter or a whole model, with
            `training.json`. The same training is not done again; another's folder is not replaced.
        config: settings of the method, such as a config's `training` or `planner.sft`; by default
            those of `DpoConfig`, `SftConfig` or `PgConfig`.
        validation: rows of other tasks, measured on and never trained on.
        seed: of the order of the rows and of new weights, unless the config has its own.
        settings: of the config, in place of what it says: `learning_rate`, `epochs`, `beta`,
            `workers` (processes; 1 for a training in one), `gpus_per_worker` (1 for GPUs), ...

    Raises:
        InputError: no rows, rows of several kinds, a model without weights, settings or rows that
            nothing can be trained with, or a folder that holds something else.
        RuntimeError: the training failed; its last words are the message.

    Example:
        >>> trained = train(pairs, planner, "planner/mpo", workers=1, epochs=3)
        >>> trained.summary.curve[-1]["loss"]
    """
    method = _method([*rows, *validation])
    if not rows:
        raise InputError("train: no rows to train on")
    section = CONFIGS[method]
    if config is not None and not isinstance(config, section):
        raise InputError(
            f"train: {method} takes a {section.__name__}, and config is a {type(config).__name__}"
        )
    tree = (config or section()).model_dump() | settings
    served = planner.model.config
    job = TrainingJob(
        rows=Path("rows.jsonl"),
        model=str(planner.model.source),
        out=Path(folder).expanduser().absolute(),
        work=Path("checkpoints"),
        config=validated(section, tree, "train"),
        seed=seed,
        method=method,
        start=planner.model.trained,
        validation=Path("validation.jsonl") if validation else None,
        chat_template=given_template(served),
        template_settings=template_settings(served),
    )
    job.check_start()
    with TemporaryDirectory(prefix="mpo-") as passing:
        tag = _placed(job, Path(passing), rows, validation).identity()
    job = replace(job, tag=content_hash(tag, [row.model_dump() for row in validation], length=12))
    summary = _done(job)
    if summary is None:
        work = job.out.with_name(f".{job.out.name}-{job.tag}")
        _run(_placed(job, work, rows, validation), work)
        shutil.rmtree(work)
        summary = _done(job)
    assert summary is not None, "a training that ends well leaves its summary"
    return Trained(replace(planner, model=trained_model(planner.model, job.out)), summary)


def run_job(job: TrainingJob, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Do a training as `mpo_core.backend.Backend.train` does it."""
    job = job.with_whole_paths()
    job.check_start()
    work = job.work / f"{job.method}-{job.identity()}"
    _run(replace(job, work=work / "checkpoints"), work, on_row)
    shutil.rmtree(work)
    return read_notes(job.out / SUMMARY_FILE)


def _method(rows: Sequence[Row]) -> Method:
    kinds = {type(row) for row in rows}
    if unknown := kinds - METHODS.keys():
        names = ", ".join(kind.__name__ for kind in METHODS)
        raise InputError(f"train: rows are {names}, not {unknown.pop().__name__}")
    if len(kinds) > 1:
        raise InputError(f"train: rows of {len(kinds)} kinds; train on one after the other")
    return METHODS[kinds.pop()] if kinds else "dpo"


def _placed(
    job: TrainingJob, folder: Path, rows: Sequence[Row], validation: Sequence[Row]
) -> TrainingJob:
    """The job with its files in a folder."""
    write_records(folder / job.rows.name, rows)
    if job.validation:
        write_records(folder / job.validation.name, validation)
    return replace(
        job,
        rows=folder / job.rows.name,
        work=folder / job.work.name,
        validation=folder / job.validation.name if job.validation else None,
    )


def _done(job: TrainingJob) -> TrainingSummary | None:
    """The summary of this very training, where it has ended. Raises InputError for a folder that
    holds anything else, which would be replaced."""
    if not job.out.exists():
        return None
    notes = read_notes(job.out / SUMMARY_FILE)
    if notes.get("tag") == job.tag:
        return TrainingSummary(**notes)
    holds = "another training (of other rows, settings or start)" if notes else "no training's end"
    raise InputError(f"{job.out}: holds {holds}; give another folder, or remove it")


def _run(
    job: TrainingJob, work: Path, on_row: Callable[[dict[str, Any]], None] = lambda row: None
) -> None:
    """Train in processes of its own, with a bar over the optimizer steps."""
    fields = asdict(job) | {"config": job.config.model_dump(mode="json")}
    write_text(work / "job.json", json.dumps(fields, default=str))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with (
        TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
        bar(f"train {job.method}", None, 0, "steps") as progress,
        subprocess.Popen(
            _command(work / "job.json", job.config.workers),
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": path},
        ) as process,
    ):
        error = ""
        try:
            for row in _rows(process):
                error = row.get("error", error)
                on_row(row)
                if "loss" in row:
                    progress.total = row["max_steps"]
                    progress.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
                    progress.update(row["step"] - progress.n)
                elif "status" in row:
                    progress.set_postfix_str(row["status"])
        except BaseException:
            process.terminate()
            raise
        if process.wait() and error:
            raise InputError(error)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"the training failed:\n{said.read()[-3000:]}")


def _command(job: Path, workers: int) -> list[str]:
    alone = ["-m", "mpo_core.training", str(job)]
    if workers == 1:
        return [sys.executable, *alone]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
    return [sys.executable, *torchrun, *alone]


def _rows(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What a training prints of its progress; its libraries print other lines."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue
