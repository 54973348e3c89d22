"""The planner's training on the cluster: `mpo_core.training` in Ray Train workers.

Invariants:
- The run's folder is named after the identity of its job, so a training only ever continues from
  checkpoints of the same rows, models, settings and seed.
- The checkpoints in that folder are the truth about what to resume from, after a worker's failure
  and after the driver's. Ray Train's own snapshot of them is not written atomically, so it is
  removed before a run starts and never restored from.
- Progress travels through a file in the same folder, written by the first worker
  (`cluster.training_progress`).
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray

from cluster.training_progress import follow
from mpo_core.config import TrainingConfig
from mpo_core.errors import InputError
from mpo_core.training.run import STOP
from mpo_core.training.settings import TrainingJob

PROGRESS_FILE = "progress.jsonl"
FAILURE_FILE = "failure.txt"
# glibc returns every large tensor's memory to the system at once, and page faults then take a
# third of a step's time on the CPU. Read at process start, hence an environment variable.
CPU_ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
}
# Workers whose peer died fail in turn with messages like these: consequences, not causes.
COLLATERAL = ("connection closed by peer", "connection reset by peer", "nccl", "timed out")


def train(
    job: TrainingJob, on_row: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Do a training with `job.config.workers` Ray Train workers.

    Ray is initialised by the caller. A run that was interrupted, the driver killed included,
    continues from its last checkpoint when it is called again with the same job.

    Args:
        job: its `work` is a folder, shared by all nodes, that holds the checkpoints of unfinished
            runs, each in a folder of its own.
        on_row: called in the driver with every row of progress of the first worker.

    Returns:
        The fields of `mpo_core.training.run.TrainingSummary`, as in `out/training.json`.

    Raises:
        InputError: for rows, a model, settings or a cluster that nothing can be trained with.
        KeyboardInterrupt: SIGUSR1 asked to stop; the planner or a checkpoint of the last step is
            there.
        RuntimeError: the workers failed more often than `job.config.max_failures`; one line, the
            whole traceback being in the named file.
    """
    job = job.with_whole_paths()
    if not job.rows.is_file():
        raise InputError(f"{job.rows}: no such file of training rows")
    job.check_start()
    job = replace(job, work=job.work / f"{job.objective}-{job.identity()}")
    _require_resources(job.config)
    job.work.mkdir(parents=True, exist_ok=True)
    (job.work / PROGRESS_FILE).write_text("", encoding="utf-8")
    (job.work / FAILURE_FILE).unlink(missing_ok=True)
    (job.work / STOP).unlink(missing_ok=True)
    from ray.train import TrainingFailedError

    from cluster.ray_train import forget_run

    forget_run(job.work)
    with (
        follow(job.work / PROGRESS_FILE, job.objective, on_row),
        _stoppable(job.work / STOP) as asked,
    ):
        try:
            result = _trainer(job).fit()
        except TrainingFailedError as error:
            failure = job.work / FAILURE_FILE
            where = f" (traceback: {failure})" if failure.exists() else ""
            raise RuntimeError(_cause(error) + where) from None
    outcome = result.return_value
    if "input_error" in outcome:
        raise InputError(outcome["input_error"])
    if "refused" in outcome:
        raise RuntimeError(outcome["refused"])
    if "stopped" in outcome:
        raise KeyboardInterrupt(outcome["stopped"])
    shutil.rmtree(job.work, ignore_errors=True)
    if asked.is_set():
        raise KeyboardInterrupt("asked to stop after the last step")
    return outcome


def _trainer(job: TrainingJob) -> Any:
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, UserCallback
    from ray.train.torch import TorchConfig

    from cluster.ray_train import LeanTrainer

    progress = job.work / PROGRESS_FILE

    class NoteFailures(UserCallback):
        """Runs in Ray Train's controller, which alone hears of a failure it retries."""

        def after_exception(self, run_context, worker_exceptions):
            _append(progress, {"status": _first_cause(worker_exceptions)})

    # Ray Train's patch of print() breaks libraries that capture standard output (dill does).
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    # How often the workers are looked at. They wait for it at each checkpoint and at the end: at
    # Ray's 2 s a short training mostly waits.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.25")
    if len(ray.nodes()) == 1:
        # Nothing is left to move to when the only node goes.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    config = job.config
    on_gpu = config.gpus_per_worker > 0
    resources = {"CPU": config.cpus_per_worker}
    if on_gpu:
        resources["GPU"] = config.gpus_per_worker
    return LeanTrainer(
        _worker,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.workers, use_gpu=on_gpu, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=job.work.name,
            storage_path=str(job.work.parent),
            # A worker group that cannot be placed within a minute counts as a controller failure.
            failure_config=FailureConfig(
                max_failures=config.max_failures, controller_failure_limit=10
            ),
            callbacks=[NoteFailures()],
            worker_runtime_env={} if on_gpu else {"env_vars": CPU_ALLOCATOR},
            logging_config=LoggingConfig(log_level="CRITICAL"),
        ),
    )


def _worker(settings: dict[str, Any]) -> dict[str, Any]:
    """One worker: trains, and hands its checkpoints to Ray Train where they lie.

    Faults that a restart would only repeat are returned, not raised, since Ray Train retries
    whatever is raised.
    """
    import ray.train

    from mpo_core.training.engine import NotDeepSpeed
    from mpo_core.training.run import Stopped, train

    job: TrainingJob = settings["job"]
    # Some libraries log through the root logger, which would repeat Ray Train's every note.
    logging.getLogger("ray.train").propagate = False

    def on_checkpoint(folder: Path, row: dict[str, Any]) -> None:
        first = ray.train.get_context().get_world_rank() == 0
        # Every worker has written its shard into the run's folder already: nothing to upload.
        ray.train.report(
            row,
            checkpoint=ray.train.Checkpoint.from_directory(folder) if first else None,
            checkpoint_dir_name=folder.name,
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
        )

    progress = job.work / PROGRESS_FILE
    try:
        return asdict(train(job, lambda row: _append(progress, row), on_checkpoint))
    except InputError as error:
        return {"input_error": str(error)}
    except NotDeepSpeed as error:
        return {"refused": str(error)}
    except Stopped as stop:
        return {"stopped": str(stop)}
    except Exception:
        # Ray Train hands on the exception without where it came from.
        rank = ray.train.get_context().get_world_rank()
        with (job.work / FAILURE_FILE).open("a", encoding="utf-8") as file:
            file.write(f"worker {rank}:\n{traceback.format_exc()}\n")
        raise


def _require_resources(config: TrainingConfig) -> None:
    """Refuse at once what Ray would wait for without end."""
    total = ray.cluster_resources()
    needs = {
        "CPU": config.workers * config.cpus_per_worker,
        "GPU": config.workers * config.gpus_per_worker,
    }
    for kind, need in needs.items():
        if need > total.get(kind, 0):
            raise InputError(
                f"training needs {need:g} {kind}s ({config.workers} workers), "
                f"the cluster has {total.get(kind, 0):g}"
            )


def _cause(error: Exception) -> str:
    """One line that names the worker's own error."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        return _first_cause(failures)
    return f"Ray Train failed: {_line(getattr(error, 'controller_failure', error))}"


def _first_cause(failures: dict[int, Exception]) -> str:
    def is_consequence(rank: int) -> bool:
        return any(sign in str(failures[rank]).lower() for sign in COLLATERAL)

    rank = min(failures, key=lambda r: (is_consequence(r), r))
    return f"training worker {rank} failed: {_line(failures[rank])}"


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:400]


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


@contextlib.contextmanager
def _stoppable(stop: Path) -> Iterator[threading.Event]:
    """Meanwhile SIGUSR1, which elsewhere interrupts a run at once, asks the workers to stop.

    Yields whether it came; from then on it is ignored.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(*_: object) -> None:
        asked.set()
        stop.touch()

    before = signal.signal(signal.SIGUSR1, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN if asked.is_set() else before)
