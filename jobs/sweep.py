"""Sweeps: a run for every point of a grid, each a job that submitit starts on Slurm or here.

    runs/sweeps/NAME/sweep.json      the points and their jobs
                     points/*.yaml   each point's whole config, as its job reads it
                     points/*.done   left by a point that has finished, with its config's hash
                     jobs/           submitit's files and logs

The same command goes on with what is not done: a point whose job has ended without finishing is
submitted again and continues from its run folder.

Points may begin with a copy of a finished run's files. Every stage takes up what it finds of its
own settings, so that points that differ in a training's settings share the plans and the scored
episodes that were there before it.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml

from jobs.configs import models_of, named_config
from jobs.same_run import begin_with_copy, check_beginning, refuse_other_settings
from jobs.sweep_job import SUITE, PointJob
from mpo_core import strict_yaml
from mpo_core.config import SlurmConfig, identity, require_used, save_config
from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.locks import lock_file
from mpo_core.overrides import split_override
from mpo_core.progress import Bar
from mpo_core.tracking import MlflowTracker
from mpo_core.tracking.about import source_tags
from mpo_core.types import content_hash

Place = Literal["slurm", "local", "debug"]
State = Literal["done", "queued", "running", "failed", "new"]
LONGEST_NAME = 60
# What tells Slurm's commands about Slurm itself, in a job as elsewhere.
SLURM_ITSELF = (
    "SLURM_CONF",
    "SLURM_CONF_SERVER",
    "SLURM_CLUSTERS",
    "SLURM_JWT",
    "SLURM_MPI_TYPE",
    "SLURM_TIME_FORMAT",
)
# Of sbatch's variables, those that it sets in a job.
SET_BY_SBATCH = ("SBATCH_CPU_BIND", "SBATCH_MEM_BIND")


@dataclass(frozen=True)
class Point:
    """One setting of every swept key."""

    name: str
    overrides: tuple[str, ...]


def grid(name: str, over: Sequence[str]) -> list[Point]:
    """Every combination of `key=value,value,...`, the last key varying fastest.

    Values are YAML: `pairs.rule=best_worst,margin`, `envs.scienceworld.task_types=[boil],[melt]`.

    Raises:
        InputError: nothing to sweep over, a key twice, or values that are not YAML.
    """
    axes: dict[str, list[Any]] = {}
    for text in over:
        try:
            _, values = split_override(text)
        except InputError as error:
            raise InputError(f"--over {text}: write it as dotted.key=value,value,...") from error
        key = text[: -len(values) - 1]
        try:
            found = strict_yaml.load(f"[{values}]")
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise InputError(f"--over {text}: the values are not YAML: {reason}") from error
        if not found:
            raise InputError(f"--over {text}: write it as dotted.key=value,value,...")
        if key in axes or key == "name":
            raise InputError(f"--over {text}: {key} is given twice, or names the points itself")
        axes[key] = found
    if not axes:
        raise InputError("--over: nothing to sweep over; such as --over seed=0,1,2")
    points = []
    for chosen in product(*axes.values()):
        settings = dict(zip(axes, chosen, strict=True))
        points.append(
            Point(
                f"{name}-{_label(settings)}",
                tuple(f"{key}={_in_one_line(value)}" for key, value in settings.items()),
            )
        )
    if len({point.name for point in points}) < len(points):
        raise InputError("--over: a value is given twice")
    return points


class Sweep:
    """A sweep's folder. Made only of points whose configs are valid."""

    def __init__(
        self,
        config: str,
        overrides: Sequence[str],
        over: Sequence[str],
        place: Place,
        begin_with: Path | None = None,
    ) -> None:
        """`begin_with`: the folder of a run whose files the points begin with a copy of."""
        if begin_with is not None:
            check_beginning(begin_with)
        self.base = named_config(config, overrides, unused_models=True)
        self.place = place
        self.begin_with = begin_with
        self.points = grid(self.base.name, over)
        self.configs = {
            point.name: named_config(
                config,
                [*overrides, *point.overrides, f"name={json.dumps(point.name)}"],
                unused_models=True,
            )
            for point in self.points
        }
        # A model that some points use is one that the others bring too.
        models = {name for point in self.configs.values() for name in point.models}
        require_used(models - models_of(config), [*self.configs.values()])
        for point in self.configs.values():
            refuse_other_settings(point)
        self.dir = self.base.runs_dir / "sweeps" / self.base.name
        if place == "slurm" and not (SUITE / "slurm" / "ray_cluster.sh").is_file():
            raise InputError(f"{SUITE}: no slurm/ray_cluster.sh; set MPO_HOME to the checkout")

    def states(self) -> dict[str, State]:
        """Where each point stands, by name. Raises InputError when Slurm does not answer."""
        jobs = self._jobs()
        owed = {p.name: jobs.get(p.name) for p in self.points if not self._is_done(p)}
        on_slurm = any(job and job["place"] == "slurm" for job in owed.values())
        queue = _slurm_queue() if on_slurm else {}
        done: dict[str, State] = {p.name: "done" for p in self.points}
        return done | {name: _state(job, queue) for name, job in owed.items()}

    def plan(self, states: dict[str, State]) -> str:
        """What `run` would do, in one line."""
        owed = sum(state in ("new", "failed") for state in states.values())
        asked = _slurm_parameters(self.base.launch.slurm, owed) if self.place == "slurm" else {}
        return f"{owed} jobs on {self.place}" + "".join(f", {k}={v}" for k, v in asked.items())

    def run(self, parallel: int) -> dict[str, State]:
        """Start what is not done; returns where each point stands then.

        On Slurm all jobs are submitted as one array, `parallel` of them running at a time, and this
        returns; elsewhere this waits for all.

        Raises:
            InputError: another process runs the sweep, or Slurm refuses the jobs.
        """
        with self._alone():
            states = self.states()
            owed = [p for p in self.points if states[p.name] in ("new", "failed")]
            if owed:
                self._write_configs()
                if self.begin_with is not None:
                    for point in owed:
                        begin_with_copy(self.begin_with, self.configs[point.name].run_dir)
                executor = self._executor(parallel)
                if self.place == "slurm":
                    self._submit(executor, owed)
                else:
                    self._play(executor, owed, parallel)
            states = self.states()
            if set(states.values()) == {"done"} and self.base.tracking.enabled:
                self._parent().end("FINISHED")
        return states

    def _is_done(self, point: Point) -> bool:
        done = self._file(point, "done")
        asked = identity(self.configs[point.name])
        return done.is_file() and done.read_text(encoding="utf-8") == asked

    def _file(self, point: Point, kind: str) -> Path:
        return self.dir / "points" / f"{point.name}.{kind}"

    def _jobs(self) -> dict[str, dict[str, str]]:
        path = self.dir / "sweep.json"
        return json.loads(path.read_text(encoding="utf-8"))["jobs"] if path.is_file() else {}

    def _parent(self) -> MlflowTracker:
        """The MLflow run that the points' runs stand under."""
        params = {"points": ", ".join(point.name for point in self.points)}
        tracking = self.base.tracking.model_copy(update={"system_metrics": False})
        return MlflowTracker(
            tracking, self.base.runs_dir, self.dir, params, tags=source_tags(), kind="sweep"
        )

    def _write_configs(self) -> None:
        if self.base.tracking.enabled:
            self._parent().close()
        for point in self.points:
            config = self.configs[point.name]
            if self.base.tracking.enabled:
                config.tracking.parent = str(self.dir.resolve())
            save_config(config, self._file(point, "yaml"))

    def _job(self, point: Point) -> PointJob:
        return PointJob(
            config=str(self._file(point, "yaml").resolve()),
            done=str(self._file(point, "done").resolve()),
            identity=identity(self.configs[point.name]),
            on_slurm=self.place == "slurm",
        )

    def _executor(self, parallel: int) -> Any:
        import submitit

        try:
            executor = submitit.AutoExecutor(
                folder=self.dir / "jobs", cluster=self.place, slurm_max_num_timeout=1000
            )
        except RuntimeError as error:
            raise InputError(f"--on {self.place}: {error}") from error
        slurm = self.base.launch.slurm
        executor.update_parameters(name=self.base.name, timeout_min=int(slurm.hours * 60))
        if self.place == "slurm":
            executor.update_parameters(**_slurm_parameters(slurm, parallel))
        return executor

    def _submit(self, executor: Any, owed: Sequence[Point]) -> None:
        from submitit.core.utils import FailedJobError

        try:
            with _outside_of_a_job(), executor.batch():
                jobs = [executor.submit(self._job(point)) for point in owed]
        except (FailedJobError, FileNotFoundError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise InputError(f"--on slurm: sbatch: {lines[-1] if lines else error}") from error
        self._record({p.name: job.job_id for p, job in zip(owed, jobs, strict=True)})

    def _play(self, executor: Any, owed: Sequence[Point], parallel: int) -> None:
        """Start the jobs one after the other, `parallel` at a time, and wait for the last."""
        waiting = list(owed)
        running: list[Any] = []
        try:
            with Bar(self.base.name, len(owed), 0, "points", log_interval_s=60) as shown:
                while waiting or running:
                    while waiting and len(running) < parallel:
                        point = waiting.pop(0)
                        job = executor.submit(self._job(point))
                        self._record({point.name: job.job_id})
                        running.append(job)
                    ended = [job for job in running if self._has_ended(job)]
                    running = [job for job in running if job not in ended]
                    shown.update(len(ended))
                    if not ended:
                        time.sleep(0.5)
        finally:
            for job in running:
                job.cancel()

    def _has_ended(self, job: Any) -> bool:
        if self.place == "debug":
            # Runs it; `done` would also stop at a failure, in a debugger.
            job.exception()
            return True
        return job.done()

    def _record(self, jobs: dict[str, str]) -> None:
        started = {name: {"id": job, "place": self.place} for name, job in jobs.items()}
        tree = {
            "points": {point.name: point.overrides for point in self.points},
            "jobs": self._jobs() | started,
        }
        write_text(self.dir / "sweep.json", json.dumps(tree, indent=1))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with ExitStack() as held:
            try:
                held.enter_context(lock_file(self.dir / "lock"))
            except BlockingIOError as error:
                raise InputError(
                    f"{self.dir}: another process runs this sweep; wait for it or stop it"
                ) from error
            yield


def _label(settings: dict[str, Any]) -> str:
    """Short and readable where that tells points apart, else a hash."""
    words = [
        re.sub(r"[^A-Za-z0-9._]+", "-", f"{key.rpartition('.')[2]}{value}").strip("-")
        for key, value in settings.items()
    ]
    label = "-".join(words)
    return label if len(label) <= LONGEST_NAME else content_hash(settings, length=12)


def _in_one_line(value: Any) -> str:
    """As a key's value is written on the command line."""
    text = strict_yaml.dump(value, default_flow_style=True, width=float("inf"))
    return text.removesuffix("...\n").strip()


def _slurm_parameters(slurm: SlurmConfig, parallel: int) -> dict[str, Any]:
    """The section in submitit's words."""
    asked = {
        "nodes": slurm.nodes,
        "tasks_per_node": 1,
        "cpus_per_task": slurm.cpus_per_node,
        "gpus_per_node": slurm.gpus_per_node or None,
        "mem_gb": slurm.memory_gb,
        "slurm_partition": slurm.partition,
        "slurm_account": slurm.account,
        "slurm_setup": slurm.setup or None,
        "slurm_array_parallelism": parallel,
        "slurm_signal_delay_s": 120,
        "slurm_srun_args": ["--kill-on-bad-exit=1"],
        "slurm_additional_parameters": {"requeue": True} | slurm.options,
    }
    return {name: value for name, value in asked.items() if value is not None}


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """An environment in which sbatch can be called from within a job or an allocation.

    Else the new job would inherit what describes the surrounding one: its CPUs, memory, binding.
    """
    from submitit.helpers import clean_env

    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    kept = {name: value for name, value in os.environ.items() if _is_the_users(name)}
    with clean_env():
        os.environ.update(kept)
        yield


def _is_the_users(variable: str) -> bool:
    """Whether a Slurm variable says where Slurm is or what the user wants of sbatch."""
    if variable.startswith("SBATCH_"):
        return not variable.startswith(SET_BY_SBATCH)
    return variable in SLURM_ITSELF


def _state(job: dict[str, str] | None, queue: dict[str, str]) -> State:
    """Where a point stands that is not done, by its last job."""
    if job is None:
        return "new"
    # A local job ends with the process that waits for it.
    if job["place"] != "slurm" or job["id"] not in queue:
        return "failed"
    return "running" if queue[job["id"]] in ("RUNNING", "COMPLETING") else "queued"


def _slurm_queue() -> dict[str, str]:
    """State of the user's jobs that have not ended, by id: without accounting all that Slurm knows.

    Raises InputError when Slurm does not answer: what is not known to have ended must not be
    submitted a second time.
    """
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i %T"]
    try:
        shown = subprocess.run(
            command, check=True, capture_output=True, encoding="utf-8", errors="replace"
        )
    except FileNotFoundError as error:
        raise InputError("squeue: not found; run this where Slurm is") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise InputError(
            f"squeue: {lines[-1]}: unknown which of the sweep's jobs have ended; try again later"
        ) from error
    return dict(line.split() for line in shown.stdout.splitlines())
