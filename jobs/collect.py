"""Stage: seed plans, which a teacher makes from the expert's episodes of the training tasks."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

from jobs.progress import Progress
from jobs.rollout import agent_protocol, play
from jobs.run import Run
from jobs.tasks import load_tasks
from mpo_core.errors import InputError
from mpo_core.expert import EXPERT, expert_request
from mpo_core.ledger import Ledger
from mpo_core.models import ChatModel
from mpo_core.planning import Sampling, plan_ledger
from mpo_core.teacher import Lesson, ModelTeacher, RuleTeacher, Teacher, make_seeds, seeds_of
from mpo_core.types import Episode, Plan, Task

STAGE = "seeds"
TOKENS = ("prompt_tokens", "completion_tokens")


@dataclass(frozen=True)
class Seeds:
    """What `mpo collect` has to show."""

    plans: list[Plan]
    faults: dict[str, str]
    """Tasks without a plan, each with the reason."""
    prompt_tokens: int
    """The teacher's, over all attempts at the run, but for those that were killed."""
    completion_tokens: int
    cost: float | None
    """None where no prices are configured."""

    @property
    def reasons(self) -> dict[str, int]:
        """Reason -> number of tasks, the most frequent first."""
        return dict(Counter(self.faults.values()).most_common())


def collect_seeds(run: Run) -> Seeds:
    """Play what is owed of `episodes/expert.jsonl`; write what is owed of
    `plans/seeds-train.jsonl`.

    Raises:
        InputError: no task gave a plan.
        ModelUnavailable, EnvironmentLost: what was done stays.
    """
    tasks, episodes = load_tasks(run, "train"), play_experts(run)
    with _ledger(run) as ledger:
        teacher, faults = _teacher(run), {}
        if len(seeds_of(tasks, teacher, ledger)) < len(tasks) * teacher.per_task:
            faults = _make_owed(run, tasks, episodes, ledger)
        plans = seeds_of(tasks, teacher, ledger)
    if not plans:
        reasons = ", ".join(Counter(faults.values()))
        raise InputError(f"seeds: none of the {len(tasks)} tasks gave a plan: {reasons}")
    return Seeds(plans, faults, **_spent(run))


def play_experts(run: Run, *, as_agent: bool = False) -> list[Episode]:
    """The experts' episodes of the training tasks; those that are owed are played.

    Args:
        as_agent: in the words in which the config's agent would see and say them.
    """
    tasks = load_tasks(run, "train")
    told = [agent_protocol(run, task, 0) if as_agent else None for task in tasks]
    return play(
        run,
        EXPERT,
        [
            expert_request(task, run.suites[task.env].protocol(), protocol)
            for task, protocol in zip(tasks, told, strict=True)
        ],
    )


def load_seeds(run: Run) -> list[Plan]:
    """The seed plans by the configured teacher. Raises InputError where there are none."""
    with _ledger(run) as ledger:
        plans = seeds_of(load_tasks(run, "train"), _teacher(run), ledger)
    if not plans:
        raise InputError(f"{ledger.path}: no seed plans; run `mpo collect` with the same config")
    return plans


def _make_owed(
    run: Run, tasks: Sequence[Task], episodes: Sequence[Episode], ledger: Ledger[Plan]
) -> dict[str, str]:
    name, model = run.config.seeds.teacher, None
    if name is not None:
        with run.timed("engines"):
            model = run.chat_model(name)
    teacher = _teacher(run, model)
    done = len({plan.task_id for plan in seeds_of(tasks, teacher, ledger)})

    async def make(note: Callable[[Lesson], None]) -> dict[str, str]:
        try:
            return await make_seeds(tasks, episodes, teacher, ledger, on_lesson=note)
        finally:
            if model is not None:
                await model.close()

    with run.timed(STAGE) as amounts, Progress(STAGE, len(tasks), done, "tasks") as progress:
        amounts.update(dict.fromkeys(TOKENS, 0))

        def note(lesson: Lesson) -> None:
            for reply in lesson.replies:
                for kind in TOKENS:
                    amounts[kind] += getattr(reply, kind)
            progress.advance(1, sum(reply.completion_tokens for reply in lesson.replies))

        return asyncio.run(make(note))


def _teacher(run: Run, model: ChatModel | None = None) -> Teacher:
    """The configured teacher; without its model it only says what is its own."""
    seeds = run.config.seeds
    if seeds.teacher is None:
        return RuleTeacher()
    sampling = Sampling(
        per_task=seeds.per_task,
        temperature=seeds.temperature,
        max_tokens=seeds.max_tokens,
        seed=run.config.seed,
        resamples=seeds.resamples,
        asked="teacher",
    )
    return ModelTeacher(run.backend.fingerprint(seeds.teacher), run.prompts, sampling, model)


def _ledger(run: Run) -> Ledger[Plan]:
    return plan_ledger(run.dir / "plans" / "seeds-train.jsonl")


def _spent(run: Run) -> dict[str, Any]:
    """The teacher's tokens over all attempts at the run, and what they cost."""
    seeds, amounts = run.config.seeds, run.timings().get(STAGE, {})
    tokens = {kind: int(amounts.get(kind, 0)) for kind in TOKENS}
    prices = (seeds.price_per_million_prompt_tokens, seeds.price_per_million_completion_tokens)
    if None in prices:
        return {**tokens, "cost": None}
    return {**tokens, "cost": sum(map(mul, tokens.values(), prices)) / 1e6}
