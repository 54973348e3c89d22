"""A run's folder with made-up records, for the viewer: its files as `mpo run` leaves them."""

import json
from collections.abc import Iterable
from pathlib import Path

from mpo_core.files import write_records
from mpo_core.types import Episode, Plan, PlanScore, PreferencePair, Task, Turn

TASKS = [
    Task(
        id=f"house/find/{number}",
        env="house",
        type="find" if number % 2 else "carry",
        split="unseen",
        variation=number,
        description=f"Your task is to: find thing {number}.",
    )
    for number in range(4)
]
GOOD = "Step 1: Go to the shelf.\nStep 2: Take the thing."
POOR = "Step 1: Wait."


def plan(task: Task, text: str = GOOD, sample: int = 0) -> Plan:
    return Plan.of(task.id, text, "made-up", sample)


def episode(number: int, text: str | None = GOOD, observation: str = "You see a shelf.") -> Episode:
    """The n-th episode: its task by turns; won with the good plan."""
    task, won = TASKS[number % len(TASKS)], text == GOOD
    turns = [
        Turn(
            reply="Action: go to shelf 1", action="go to shelf 1", observation=observation, score=0
        ),
        Turn(
            reply="Action: take thing 2 from shelf 1" if won else "hm",
            action="take thing 2 from shelf 1" if won else None,
            observation="Taken." if won else "No action.",
            score=float(won),
        ),
    ]
    return Episode(
        key=f"{number:020x}",
        task_id=task.id,
        plan_id=None if text is None else plan(task, text).id,
        plan=text,
        plan_mode="query",
        model="agent-1",
        repetition=number // len(TASKS),
        messages=[{"role": "user", "content": f"{task.description}\n{text}"}],
        turns=turns,
        reward=float(won),
        success=won,
        end="done" if won else "step_limit",
        prompt_tokens=100 + number,
        completion_tokens=10,
        seconds=0.5,
    )


def score(task: Task, text: str, reward: float) -> PlanScore:
    return PlanScore.of(task.id, plan(task, text).id, [reward, reward])


def pair(task: Task) -> PreferencePair:
    return PreferencePair(
        task_id=task.id,
        prompt=[{"role": "user", "content": task.description}],
        chosen=[{"role": "assistant", "content": GOOD}],
        rejected=[{"role": "assistant", "content": POOR}],
        chosen_score=score(task, GOOD, 1.0),
        rejected_score=score(task, POOR, 0.0),
        rule="best_worst",
    )


def append(run: Path, episodes: Iterable[Episode], stage: str = "evaluation") -> None:
    path = run / "episodes" / f"{stage}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        for one in episodes:
            file.write(one.model_dump_json().encode() + b"\n")


def viewed_run(run: Path, n: int = 8, tasks: Iterable[Task] = TASKS) -> Path:
    """A finished run: half of its episodes under good plans (of `mpo`), half under poor (`sft`)."""
    tasks = list(tasks)
    for name in ("tasks", "plans", "pairs", "report"):
        (run / name).mkdir(parents=True, exist_ok=True)
    write_records(run / "tasks" / "unseen.jsonl", tasks)
    write_records(run / "plans" / "mpo-unseen.jsonl", [plan(task) for task in tasks])
    write_records(run / "plans" / "sft-unseen.jsonl", [plan(task, POOR) for task in tasks])
    write_records(run / "pairs" / "pairs.jsonl", [pair(task) for task in tasks])
    append(run, (episode(number, GOOD if number < n / 2 else POOR) for number in range(n)))
    arms = {
        arm: {"mean_reward": mean, "ci95": [mean - 0.1, mean + 0.1]}
        for arm, mean in (("sft", 0.125), ("mpo", 0.875))
    }
    (run / "report" / "summary.json").write_text(json.dumps({"name": run.name, "arms": arms}))
    return run
