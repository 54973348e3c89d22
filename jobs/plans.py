"""Stage: plans sampled from the planner, in any of its versions (`Run.planner`)."""

from collections.abc import Sequence
from pathlib import Path

from jobs.origins import note_origin
from jobs.run import Round, Run
from jobs.tasks import Tasks
from mpo_core import aio
from mpo_core.completions import Reply
from mpo_core.errors import InputError
from mpo_core.formats import bound_plans
from mpo_core.planning import Sampling, plan_ledger, sample_plans, sampled_plans
from mpo_core.progress import ModelProgress
from mpo_core.types import Plan, Task


def collect_plans(
    run: Run, version: str, split: Tasks, tasks: Sequence[Task], samples: int = 0
) -> list[Plan]:
    """A planner's plans of a split's tasks; those that `plans/<version>-<split>.jsonl` does not
    yet hold are sampled.

    Args:
        samples: plans a task to draw at `planner.temperature`, into `plans/sampled/`, for an
            evaluation of the planner's samples; by default what the split's stage asks for.
    """
    if _given(run, version, split):
        return load_plans(run, version, split, tasks)
    sampling = _sampling(run, split, samples)
    with plan_ledger(run.files.plans(version, split, sampled=bool(samples))) as ledger:
        origin = sampling.origin(run.planner_fingerprint(version), run.prompts)
        note_origin(run.files, ledger.path, origin)
        done = sum(plan.origin == origin for plan in ledger)
        total = len(tasks) * sampling.per_task
        if done < total:
            model, drawn = run.planner(version), "sampled plans" if samples else "plans"
            with (
                run.timed("plans") as amounts,
                ModelProgress(f"{drawn} {version} {split}", total, done, "plans") as progress,
            ):

                def note(task: Task, replies: Sequence[Reply]) -> None:
                    tokens = sum(reply.completion_tokens for reply in replies)
                    progress.answered(sampling.per_task, tokens)

                async def sample() -> None:
                    await sample_plans(tasks, model, run.prompts, ledger, sampling, on_plans=note)
                    await model.close()

                aio.run(sample())
                amounts["completion_tokens"] = progress.tokens
        return sampled_plans(tasks, ledger, origin, sampling.per_task)


def load_plans(run: Run, version: str, split: Tasks, tasks: Sequence[Task]) -> list[Plan]:
    """The sampled plans of a split's tasks. Raises InputError where some are missing."""
    if files := _given(run, version, split):
        return bound_plans(files, tasks, run.published_id)
    sampling = _sampling(run, split)
    with plan_ledger(run.files.plans(version, split)) as ledger:
        origin = sampling.origin(run.planner_fingerprint(version), run.prompts)
        return sampled_plans(tasks, ledger, origin, sampling.per_task)


def own_plans(
    run: Run, version: str, split: Tasks, tasks: Sequence[Task], samples: int = 0
) -> list[Plan]:
    """What a ledger holds of the config as it is; it may hold other settings' plans too."""
    path = run.files.plans(version, split, sampled=bool(samples))
    sampling = _sampling(run, split, samples)
    if _given(run, version, split) or not path.is_file():
        return []
    try:
        origin = sampling.origin(run.planner_fingerprint(version), run.prompts)
    except InputError:
        return []  # Of a planner that other settings have trained.
    of_tasks = {task.id for task in tasks}
    return [
        plan
        for plan in run.records(path, Plan)
        if plan.origin == origin and plan.task_id in of_tasks and plan.sample < sampling.per_task
    ]


def _given(run: Run, version: str, split: Tasks) -> list[Path]:
    """The files that hold these plans, where the config gives the first round's."""
    first = (version, split) == (Round.of(run.config, 1).start, "train")
    return run.config.planner.sampled if first else []


def _sampling(run: Run, split: Tasks, samples: int = 0) -> Sampling:
    planner, drawn = run.config.planner, samples or split == "train"
    return Sampling(
        per_task=samples or (planner.per_task if split == "train" else 1),
        temperature=planner.temperature if drawn else planner.evaluation_temperature,
        max_tokens=planner.max_tokens,
        seed=run.config.seed,
        resamples=planner.resamples,
    )
