"""One training from rows to a planner folder: what every objective shares.

Runs on every worker at the same time, each with the same job.
"""

import contextlib
import json
import logging
import math
import resource
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mpo_core.config import TrainingConfig
from mpo_core.training import dpo, pg, sft
from mpo_core.training.adapter import REFERENCE
from mpo_core.training.engine import prepare_process, require_deepspeed
from mpo_core.training.rows import mean_of_last
from mpo_core.training.settings import (
    SUMMARY_FILE,
    TrainingJob,
    accumulation_steps,
    deepspeed_config,
    precision,
)

OBJECTIVES = {"sft": sft, "dpo": dpo, "pg": pg}
COMPLETE = "COMPLETE"
STOP = "STOP"
"""A file of this name in `TrainingJob.work` asks for a checkpoint after the step, and the end; it
is removed then."""


class Stopped(Exception):
    """The training was asked to stop, and has left a checkpoint to go on from."""


@dataclass
class TrainingSummary:
    """What a training did; written as `training.json` into the planner's folder."""

    tag: str
    """`TrainingJob.tag`."""
    objective: str
    model: str
    start: str | None
    """Adapter or model that the training continued."""
    steps: int
    """Optimizer steps in all."""
    engine: str
    world_size: int
    zero_stage: int
    precision: str
    resumed_from: int
    """Step of the checkpoint that this process continued from; 0 for a fresh start."""
    n_rows: int
    """Rows given: demonstrations, pairs or scored answers."""
    n_cut: int
    """Rows longer than `max_length`, which lost their end."""
    n_dropped: int
    """Rows left out, which teach nothing."""
    loss_first: float
    loss_last: float
    setup_seconds: float
    """From the call to the first step: imports, model, engine."""
    seconds: float
    """Of the steps, since the start or the resumption."""
    tokens_per_s: float
    """Tokens trained on by all workers, both sides of each pair counted."""
    peak_memory_gb: float
    """Resident memory of the largest worker; GPU memory where there is a GPU."""
    metrics: dict[str, float]
    """The objective's own figures, means over the last quarter of the steps."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Why rows were left out -> how many."""
    warnings: list[str] = field(default_factory=list)
    """What went wrong without stopping the training, in the objective's judgement."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """A row a step: step, epoch, loss, learning_rate, grad_norm and the objective's metrics."""
    validation: list[dict[str, float]] = field(default_factory=list)
    """A row for each measurement on the validation rows: step, eval_loss and the metrics as in
    `curve`, their names beginning with `eval_`."""


def train(
    job: TrainingJob[TrainingConfig],
    on_row: Callable[[dict[str, Any]], None] | None = None,
    on_checkpoint: Callable[[Path, dict[str, Any]], None] | None = None,
) -> TrainingSummary:
    """Train and write the planner to `job.out`.

    Args:
        on_row: called on the first worker with a row of progress: `{"status": …}` and
            `{"warning": …}` before the first step, then one a step (`step`, `max_steps`, `loss`,
            …) and one a measurement on the validation rows (`step`, `max_steps`, `eval_loss`, …).
        on_checkpoint: called on every worker with a complete checkpoint and its last row.

    Raises:
        InputError: for rows or settings that nothing can be trained with.
        RuntimeError: if the engine is not DeepSpeed's.
        Stopped: a file `STOP` in `job.work` asked for it.
    """
    started = time.monotonic()
    objective = OBJECTIVES[job.objective]
    rows = objective.read_rows(job.rows)
    job.check_start()
    prepare_process(job.config)

    from accelerate import PartialState
    from transformers import PrinterCallback

    state = PartialState()
    report = on_row if on_row and state.is_main_process else _ignore
    report({"status": "loading the model"})
    checkpoint = _resume_point(job.work, state)
    _quieten()
    validation = objective.read_rows(job.validation) if job.validation else None
    trainer, lost = objective.make_trainer(job, rows, validation, common_arguments(job))
    for warning in lost.warnings:
        report({"warning": warning})
    watch = _watch(trainer, job.config.zero_stage, report, on_checkpoint)
    trainer.add_callback(watch)
    trainer.remove_callback(PrinterCallback)
    report({"status": "starting DeepSpeed", "resumed_from": _step_of(checkpoint)})

    # After a kill between the last step and the saved planner there is no step left to take.
    with contextlib.suppress(_NothingLeft):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.state.global_step < trainer.state.max_steps:
        if state.is_main_process:
            (job.work / STOP).unlink()
        raise Stopped(f"stopped after step {trainer.state.global_step}")
    seconds = time.monotonic() - watch.began
    history = trainer.state.log_history
    measured = [row["step"] for row in history if "eval_loss" in row]
    if trainer.eval_dataset is not None and trainer.state.global_step not in measured:
        report({"status": "measuring on the validation rows"})
        trainer.evaluate()

    report({"status": "saving the planner"})
    curve = [_plain(row) for row in history if "loss" in row]
    last = curve[-1]
    # TRL counts from the start of the process, and the last row may be from before it.
    tokens = last.get("num_tokens", 0) if last["step"] > _step_of(checkpoint) else 0
    summary = TrainingSummary(
        tag=job.tag,
        objective=job.objective,
        model=job.model,
        start=str(job.start) if job.start else None,
        steps=trainer.state.global_step,
        engine=watch.engine,
        world_size=state.num_processes,
        zero_stage=job.config.zero_stage,
        precision=precision(job.config),
        resumed_from=_step_of(checkpoint),
        n_rows=len(rows),
        n_cut=lost.cut,
        n_dropped=sum(lost.dropped.values()),
        dropped=dict(lost.dropped),
        loss_first=curve[0]["loss"],
        loss_last=last["loss"],
        setup_seconds=round(watch.began - started, 2),
        seconds=round(seconds, 2),
        tokens_per_s=round(tokens / seconds, 1),
        peak_memory_gb=round(_peak_memory_gb(job.config), 2),
        metrics={
            name: mean_of_last(curve, key)
            for name, key in objective.FINAL_METRICS.items()
            if any(key in row for row in curve)
        },
        warnings=[*lost.warnings, *objective.warnings(curve, job.config, lost)],
        curve=curve,
        validation=[_plain(row) for row in history if "eval_loss" in row],
    )
    _save_planner(trainer, job, summary, state)
    return summary


def common_arguments(job: TrainingJob[TrainingConfig]) -> dict[str, Any]:
    """Arguments of a TRL trainer that do not depend on the objective."""
    config = job.config
    on_gpu = config.gpus_per_worker > 0
    bf16 = precision(config) == "bf16"
    return {
        "output_dir": str(job.work),
        "per_device_train_batch_size": config.micro_batch_size,
        "gradient_accumulation_steps": accumulation_steps(config),
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps,
        "warmup_steps": config.warmup_ratio,
        "weight_decay": config.weight_decay,
        "lr_scheduler_type": config.scheduler,
        "max_grad_norm": config.max_grad_norm,
        "gradient_checkpointing": config.gradient_checkpointing,
        "seed": job.seed,
        "data_seed": job.seed,
        # True would switch DeepSpeed off, so on the CPU bf16 is DeepSpeed's business alone.
        "use_cpu": False,
        "bf16": bf16 and on_gpu,
        "fp16": False,
        "deepspeed": deepspeed_config(config),
        "accelerator_config": {"use_configured_state": True},
        "model_init_kwargs": {"dtype": "bfloat16" if bf16 else "float32"},
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": 2,
        "per_device_eval_batch_size": config.micro_batch_size,
        "eval_strategy": "steps" if job.validation else "no",
        "eval_steps": config.save_steps,
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        "log_level_replica": "error",
        "dataloader_pin_memory": on_gpu,
    }


class _NothingLeft(Exception):
    """The checkpoint resumed from is the last one."""


def _watch(trainer: Any, zero_stage: int, report: Callable, on_checkpoint: Callable | None) -> Any:
    """The callback that checks the engine, reports rows and marks complete checkpoints."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        engine = ""
        began = 0.0

        def on_train_begin(self, args, state, control, **_):
            self.engine = require_deepspeed(trainer, zero_stage)
            self.began = time.monotonic()
            if state.global_step >= state.max_steps:
                raise _NothingLeft

        def on_step_end(self, args, state, control, **_):
            # The first worker decides, or they would end at different steps.
            asked = [state.is_world_process_zero and (Path(args.output_dir) / STOP).exists()]
            broadcast_object_list(asked)
            if asked[0] and state.global_step < state.max_steps:
                control.should_save = control.should_training_stop = True

        def on_log(self, args, state, control, logs=None, **_):
            if logs and logs.keys() & {"loss", "eval_loss"}:
                row = {"step": state.global_step, "max_steps": state.max_steps}
                report(row | _plain(logs) | {"seconds": time.monotonic() - self.began})

        def on_save(self, args, state, control, **_):
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            # Every worker has written its shard before the folder counts as complete.
            PartialState().wait_for_everyone()
            if state.is_world_process_zero:
                (folder / COMPLETE).touch()
            PartialState().wait_for_everyone()
            if on_checkpoint:
                on_checkpoint(folder, _plain(state.log_history[-1]))

    return Watch()


def _resume_point(work: Path, state: Any) -> Path | None:
    """The newest complete checkpoint in `work`, the same on every worker; others are deleted."""
    from accelerate.utils import broadcast_object_list

    found: list[Path | None] = [None]
    if state.is_main_process:
        work.mkdir(parents=True, exist_ok=True)
        complete = []
        for folder in work.glob("checkpoint-*"):
            if (folder / COMPLETE).is_file():
                complete.append(folder)
            else:
                shutil.rmtree(folder)
        found = [max(complete, key=_step_of, default=None)]
    broadcast_object_list(found)
    return found[0]


def _step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0


def _save_planner(
    trainer: Any, job: TrainingJob[TrainingConfig], summary: TrainingSummary, state: Any
) -> None:
    """Write the planner, ZeRO's shards gathered, and let it appear under its name when whole."""
    partial = job.out.with_name(f".{job.out.name}.partial")
    if state.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    state.wait_for_everyone()
    trainer.save_model(str(partial))
    state.wait_for_everyone()
    if state.is_main_process:
        # The planner is one adapter; the reference was only there to train against.
        shutil.rmtree(partial / REFERENCE, ignore_errors=True)
        # An empty model card, and a pickle of the trainer's arguments that is unsafe to load.
        for name in ("README.md", "training_args.bin"):
            (partial / name).unlink(missing_ok=True)
        for file in partial.iterdir():
            # safetensors writes files that only their owner may read.
            file.chmod(0o644)
        text = json.dumps(asdict(summary), indent=1) + "\n"
        (partial / SUMMARY_FILE).write_text(text, encoding="utf-8")
        if job.out.exists():
            shutil.rmtree(job.out)
        partial.rename(job.out)
    state.wait_for_everyone()


def _peak_memory_gb(config: TrainingConfig) -> float:
    """Peak memory of the largest worker."""
    import torch
    from accelerate.utils import gather_object

    if config.gpus_per_worker:
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return max(gather_object([peak]))


def _plain(row: dict[str, Any]) -> dict[str, float]:
    """The finite numbers of a log row, as JSON holds them."""
    numbers = {k: float(v) for k, v in row.items() if isinstance(v, int | float)}
    return {k: v for k, v in numbers.items() if math.isfinite(v)}


def _quieten() -> None:
    """Progress comes from `on_row`; the libraries' own bars and notes would drown it."""
    import datasets
    import transformers
    from deepspeed.utils import logger

    logging.getLogger("accelerate").setLevel("ERROR")
    warnings.filterwarnings("ignore", category=FutureWarning)
    datasets.disable_progress_bars()
    datasets.disable_caching()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logger.setLevel("ERROR")


def _ignore(row: dict[str, Any]) -> None:
    pass
