"""Stage: a teacher's plans, which it makes from the expert's episodes.

Those of the training tasks are the seeds of the planner's SFT; those of the held-out tasks are the
evaluation's arms `teacher` and `oracle`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

from jobs.origins import note_origin
from jobs.rollout import EVALUATION, Episodes, agent_protocol, expert_requests, play
from jobs.run import ENGINES, Run
from mpo_core import aio
from mpo_core.chat import ChatModel
from mpo_core.episode import EpisodeRequest
from mpo_core.errors import InputError
from mpo_core.expert import EXPERT, expert_request
from mpo_core.ledger import Ledger
from mpo_core.planning import Sampling, plan_ledger
from mpo_core.progress import ModelProgress
from mpo_core.teacher import Lesson, ModelTeacher, RuleTeacher, Teacher, make_seeds, seeds_of
from mpo_core.types import Episode, Plan, Split, Task

STAGE = "seeds"
HELD_OUT_STAGE = "teacher"
TAUGHT = ("teacher", "oracle")
"""Arms with plans of a teacher that has seen the expert solve the very task: of the seeds' teacher,
and of the rule-based one."""
TOKENS = ("prompt_tokens", "completion_tokens")


@dataclass(frozen=True)
class Lessons:
    """The plans that a teacher is asked for."""

    split: Split
    teacher: str | None
    """Key in `models`; None for the rules."""
    per_task: int

    @property
    def stage(self) -> str:
        return STAGE if self.split == "train" else HELD_OUT_STAGE


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


def collect_seeds(run: Run, tasks: Sequence[Task]) -> Seeds:
    """The seed plans of the training tasks; what is owed of `episodes/expert.jsonl` is played, and
    what is owed of `plans/seeds-train.jsonl` made.

    Raises:
        InputError: no task gave a plan.
        ModelUnavailable, EnvironmentLost: what was done stays.
    """
    requests = expert_requests(run, tasks)
    plans, faults = _taught(run, _seeds(run), tasks, requests, play(run, EXPERT, requests))
    if not plans:
        reasons = ", ".join(Counter(faults.values()))
        raise InputError(f"seeds: none of the {len(requests)} tasks gave a plan: {reasons}")
    return Seeds(plans, faults, **_spent(run))


def taught_plans(
    run: Run, arm: str, split: Split, tasks: Sequence[Task]
) -> tuple[list[Plan], list[Plan]]:
    """The plans of an arm of `TAUGHT` for a split's tasks, made as seeds are; what is owed of
    `plans/seeds-<split>.jsonl` is made, from the episodes of the arm `expert`.

    Returns:
        One plan a task, and `evaluation.plan_samples` of a teacher that samples; none by the rules,
        which write only one.

    Raises:
        InputError: a task gave no plan.
        ModelUnavailable, EnvironmentLost: what was done stays.
    """
    samples, requests = run.config.evaluation.plan_samples, expert_requests(run, tasks)
    name = run.config.seeds.teacher if arm == "teacher" else None
    lessons = Lessons(split, name, max(1, samples))
    plans, faults = _taught(run, lessons, tasks, requests, play(run, EVALUATION, requests))
    for task_id, fault in faults.items():
        raise InputError(
            f"evaluation.arms: {arm}: {len(faults)} of the {len(tasks)} {split} tasks gave no "
            f"plan, the first {task_id}: {fault}; leave {arm} out, or tasks of that kind"
        )
    single = [plan for plan in plans if plan.sample == 0]
    return single, [plan for plan in plans if plan.sample < samples] if name else []


def _seeds(run: Run) -> Lessons:
    return Lessons("train", run.config.seeds.teacher, run.config.seeds.per_task)


def _taught(
    run: Run,
    lessons: Lessons,
    tasks: Sequence[Task],
    requests: Sequence[EpisodeRequest],
    episodes: Episodes,
) -> tuple[list[Plan], dict[str, str]]:
    """A teacher's plans, those that are owed made from the experts' episodes; and the tasks without
    a plan, each with the reason."""
    keys = {one.task.id: one.key for one in requests}
    with _ledger(run, lessons) as ledger:
        teacher, faults = _teacher(run, lessons), dict[str, str]()
        note_origin(run.files, ledger.path, teacher.origin)
        if len(seeds_of(tasks, teacher, ledger)) < len(tasks) * teacher.per_task:
            faults = _make_owed(
                run, lessons, tasks, lambda task: episodes.whole(keys[task.id]), ledger
            )
        return seeds_of(tasks, teacher, ledger), faults


def experts_as_agent(run: Run, tasks: Sequence[Task]) -> Iterator[Episode]:
    """The experts' episodes of the tasks in the words in which the config's agent would see and
    say them; those that are owed are played."""
    requests = [
        expert_request(task, run.suites[task.env].protocol(), agent_protocol(run, task, 0))
        for task in tasks
    ]
    episodes = play(run, EXPERT, requests)
    return (episodes.whole(request.key) for request in requests)


def load_seeds(run: Run, tasks: Sequence[Task]) -> list[Plan]:
    """The training tasks' seed plans by the configured teacher. Raises InputError where there are
    none."""
    lessons = _seeds(run)
    with _ledger(run, lessons) as ledger:
        plans = seeds_of(tasks, _teacher(run, lessons), ledger)
    if not plans:
        raise InputError(f"{ledger.path}: no seed plans; run `mpo collect` with the same config")
    return plans


def _make_owed(
    run: Run,
    lessons: Lessons,
    tasks: Sequence[Task],
    episode_of: Callable[[Task], Episode],
    ledger: Ledger[Plan, Plan],
) -> dict[str, str]:
    model, stage = None, lessons.stage
    if lessons.teacher is not None:
        with run.timed(ENGINES):
            model = run.chat_model(lessons.teacher)
    teacher = _teacher(run, lessons, model)
    done = len({plan.task_id for plan in seeds_of(tasks, teacher, ledger)})

    async def make(note: Callable[[Lesson], None]) -> dict[str, str]:
        try:
            return await make_seeds(tasks, episode_of, teacher, ledger, on_lesson=note)
        finally:
            if model is not None:
                await model.close()

    with run.timed(stage) as amounts, ModelProgress(stage, len(tasks), done, "tasks") as progress:
        amounts.update(dict.fromkeys(TOKENS, 0))

        def note(lesson: Lesson) -> None:
            for reply in lesson.replies:
                for kind in TOKENS:
                    amounts[kind] += getattr(reply, kind)
            progress.answered(1, sum(reply.completion_tokens for reply in lesson.replies))

        return aio.run(make(note))


def _teacher(run: Run, lessons: Lessons, model: ChatModel | None = None) -> Teacher:
    """The teacher that is asked; without its model it only says what is its own."""
    seeds = run.config.seeds
    if lessons.teacher is None:
        return RuleTeacher(run.suites)
    sampling = Sampling(
        per_task=lessons.per_task,
        temperature=seeds.temperature,
        max_tokens=seeds.max_tokens,
        seed=run.config.seed,
        resamples=seeds.resamples,
        asked="teacher",
    )
    return ModelTeacher(run.backend.fingerprint(lessons.teacher), run.prompts, sampling, model)


def _ledger(run: Run, lessons: Lessons) -> Ledger[Plan, Plan]:
    return plan_ledger(run.files.seeds(lessons.split))


def _spent(run: Run) -> dict[str, Any]:
    """The teacher's tokens over all attempts at the run, and what they cost."""
    seeds, amounts = run.config.seeds, run.timings().get(STAGE, {})
    tokens = {kind: int(amounts.get(kind, 0)) for kind in TOKENS}
    prices = (seeds.price_per_million_prompt_tokens, seeds.price_per_million_completion_tokens)
    if None in prices:
        return {**tokens, "cost": None}
    return {**tokens, "cost": sum(map(mul, tokens.values(), prices)) / 1e6}
