"""What supervised fine-tuning imitates: plans for tasks, and experts' episodes."""

from collections.abc import Mapping, Sequence

from mpo_core.prompts import Prompts
from mpo_core.types import Demonstration, Episode, Plan, PlanScore, Task


def of_plan(plan: Plan, task: Task, prompts: Mapping[str, Prompts]) -> Demonstration:
    """The planner's answer to a task, in the form that its prompt asks for."""
    told = prompts[task.env]
    return Demonstration(
        task_id=task.id,
        prompt=told.planner_messages(task.description),
        completion=[{"role": "assistant", "content": told.planner_answer(plan.text)}],
        origin=plan.origin,
    )


def of_episode(episode: Episode) -> Demonstration:
    """An agent's answers in a whole episode, of at least one turn, each in its place."""
    # From the first answer on; what comes before are the instruction, an example and the task.
    answered = 2 * len(episode.turns) - 1
    return Demonstration(
        task_id=episode.task_id,
        prompt=episode.messages[:-answered],
        completion=episode.messages[-answered:],
        origin=episode.model,
    )


def best_plans(
    tasks: Sequence[Task], plans: Sequence[Plan], scores: Sequence[PlanScore]
) -> list[tuple[Task, Plan]]:
    """Each task with its best scored plan, of equals the first sampled; what RFT learns from."""
    by_id = {plan.id: plan for plan in plans}
    best: dict[str, PlanScore] = {}
    for score in scores:
        if score.task_id not in best or score.exact > best[score.task_id].exact:
            best[score.task_id] = score
    return [(task, by_id[best[task.id].plan_id]) for task in tasks if task.id in best]
