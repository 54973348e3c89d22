"""The paper's published data: plans and training rows read and written without loss.

The dataset `xwm/Meta_Plan_Optimization` holds, for each environment,
- `*_metaplan_sft.json`: a list of conversations, the planner's prompt and its plan,
- `*_metaplan_preference_pairs.json`: a list of a prompt with a chosen and a rejected plan,
- `*_metaplan_train_sampled.jsonl`: a task's sampled plans a line (`id`, `task`, `workflow`),
and plans for evaluation as lines with `id`, `task` and one `workflow`. Fields that are not known
here are kept.

An answer in the first two is the text that is trained, character by character, both when it is read
and when it is written: between tags where the planner's prompt in the same row asks for them, as
the paper's does (`Prompts.planner_answer`). In the others a plan is what an agent reads: bare. Such
a plan may stand in the file as a model wrote it, with reasoning, tags and words around it; it is
read as a planner's answer is.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticSerializationError

from mpo_core.config.faults import plainly
from mpo_core.conversations import ROLES, PreferenceExample, ScoredExample, SftExample
from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.plan_text import read_plan
from mpo_core.prompts import PLAN_TAG
from mpo_core.reading import split_reasoning
from mpo_core.textfile import read_values
from mpo_core.types import Demonstration, Message, Plan, PreferencePair, Task

SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}
STEPS = "its steps stand a line each, as `Step 1: ...` or in a numbered list"

_STEP = re.compile(r"Step (\d+): .*\w")
_ERROR = re.compile(r"\W*+(?:(?:\w+\.)*\w*(?:error|exception)|traceback)\b", re.IGNORECASE)
_SUB_STEP = re.compile(r"\s+\S|[-*•] ")


class Published(BaseModel):
    """A row of the published data."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class Utterance(Published):
    speaker: str = Field(alias="from", pattern=f"(?i)^({'|'.join(ROLES)})$")
    value: str

    @classmethod
    def of(cls, message: Message, **fields: Any) -> "Utterance":
        return cls(speaker=SPEAKERS[message["role"]], value=message["content"], **fields)


class SftRow(Published):
    """A prompt and the plan that answers it."""

    conversations: list[Utterance] = Field(min_length=2)


class PreferenceRow(Published):
    """A prompt, the plan that did better and the one that did worse."""

    conversations: list[Utterance] = Field(min_length=1)
    chosen: Utterance
    rejected: Utterance


def _texts(value: Any) -> Any:
    """A row's plans as they came."""
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise PydanticCustomError(
            "texts", "expected a plan's text, or a list of such, found {found}", {"found": value}
        )
    return value


class PlanRow(Published):
    """A task's plan, or its sampled plans."""

    id: str | int | None = None
    task: str = ""
    workflow: Annotated[str | list[str], BeforeValidator(_texts)]

    @model_validator(mode="before")
    @classmethod
    def _suites_own(cls, row: Any) -> Any:
        """The suite's own record of a plan, and people, name its fields otherwise."""
        if isinstance(row, dict) and {"task_id", "text"} <= row.keys():
            return {"id": row["task_id"], "workflow": row["text"]}
        if isinstance(row, dict) and "plan" in row and "workflow" not in row:
            return {"workflow" if key == "plan" else key: value for key, value in row.items()}
        return row

    @model_validator(mode="after")
    def _of_a_task(self) -> "PlanRow":
        if self.id is None and not self.task.strip():
            raise ValueError("names no task; give its id or its text (task)")
        return self


class TaskRow(Published):
    """A task to plan for."""

    id: str | int | None = None
    task: str


ROWS: dict[type[BaseModel], str] = {
    PlanRow: '{"task": "...", "plan": "Step 1: ..."}',
    TaskRow: '{"task": "..."}',
    SftRow: '{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", ...}]}',
    PreferenceRow: '{"conversations": [{"from": "human", ...}], "chosen": {"from": "gpt", ...}, '
    '"rejected": {"from": "gpt", ...}}',
    SftExample: '{"prompt": "...", "completion": "..."}',
    PreferenceExample: '{"prompt": "...", "chosen": "...", "rejected": "..."}',
    ScoredExample: '{"prompt": "...", "completion": "...", "advantage": 0.5}',
}
"""Rows as they may be written by hand."""
R = TypeVar("R", bound=BaseModel)
EXAMPLES: dict[str, type[BaseModel]] = {
    "sft": SftExample,
    "dpo": PreferenceExample,
    "pg": ScoredExample,
}
"""Method of a training -> what a row of a file is to it."""


def read_rows(path: Path, kind: type[R]) -> list[R]:
    """The rows of a published file: a JSON list, or JSON a line.

    Raises:
        InputError: naming the row at fault.
    """
    return _validated(path, read_values(path), kind)


def write_rows(path: Path, rows: Iterable[Published]) -> None:
    """Write rows as they are published: lines where the name ends in .jsonl, else a JSON list."""
    content = [row.model_dump(by_alias=True, exclude_unset=True) for row in rows]
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(row) + "\n" for row in content)
    else:
        text = json.dumps(content, indent=4)
    write_text(path, text)


def training_rows(path: Path, objective: Literal["sft", "dpo", "pg"]) -> list[dict[str, Any]]:
    """What a file holds for a training, as TRL's conversational rows; for `pg` with an `advantage`.

    Args:
        path: rows in any of the forms of `mpo_core.conversations`, the published one and those of
            `Demonstration` and `PreferencePair` among them.

    Raises:
        InputError: naming the row at fault.
    """
    rows = read_values(path)
    examples: list[Any] = _validated(path, rows, EXAMPLES[objective])
    for number, (row, example) in enumerate(zip(rows, examples, strict=True), start=1):
        if "conversations" in row:
            _require_plans(f"{path}: row {number}", example)
    return [example.model_dump() for example in examples]


def published_demonstration(shown: Demonstration | SftExample) -> SftRow:
    """A prompt and its answers as they are published, the text as it is trained.

    Answers that are part of the prompt have `weight` 0, as they are not to be learnt.
    """
    asked = [
        Utterance.of(turn, weight=0) if turn["role"] == "assistant" else Utterance.of(turn)
        for turn in shown.prompt
    ]
    return SftRow(conversations=[*asked, *map(Utterance.of, shown.completion)])


def published_pair(pair: PreferencePair | PreferenceExample) -> PreferenceRow:
    """A pair as it is published, the text as it is trained, with both mean rewards if known."""
    [chosen], [rejected] = pair.chosen, pair.rejected
    rewards = {}
    if isinstance(pair, PreferencePair):
        rewards = {
            "reward": {"chosen": pair.chosen_score.mean, "rejected": pair.rejected_score.mean}
        }
    return PreferenceRow(
        conversations=[Utterance.of(turn) for turn in pair.prompt],
        chosen=Utterance.of(chosen),
        rejected=Utterance.of(rejected),
        **rewards,
    )


def published_plans(
    plans: Sequence[Plan], tasks: Sequence[Task], published_id: Callable[[Task], str]
) -> list[PlanRow]:
    """The tasks' plans as published: one a row for evaluation, or the list of the sampled ones."""
    by_task: dict[str, list[str]] = {}
    for plan in plans:
        by_task.setdefault(plan.task_id, []).append(plan.text)
    return [
        PlanRow(
            id=published_id(task),
            task=task.description,
            workflow=texts[0] if len(texts) == 1 else texts,
        )
        for task in tasks
        if (texts := by_task.get(task.id))
    ]


def bound_plans(
    paths: Sequence[Path], tasks: Sequence[Task], published_id: Callable[[Task], str]
) -> list[Plan]:
    """The plans of published files for the given tasks, in the tasks' order.

    A row belongs to a task by its id or, where ids are positions in somebody's list (ALFWorld's
    published ones), by the task's text; of several rows with one text the last counts, as in the
    paper's code.

    Raises:
        InputError: a task has no plan in the files, or its row holds something else.
    """
    by_name: dict[str, list[tuple[str, PlanRow]]] = {}
    by_text: dict[str, tuple[str, PlanRow]] = {}
    for path in paths:
        for number, row in enumerate(read_rows(path, PlanRow), start=1):
            found = f"{path}: row {number}", row
            # The suite's own files hold a sample a row; of published rows the last counts.
            sampled = by_name.get(str(row.id), []) if not row.task else []
            by_name[str(row.id)] = [*sampled, found]
            by_text[words_of(row.task)] = found
    files = ", ".join(path.name for path in paths)
    plans, missing = [], []
    for task in tasks:
        text = by_text.get(words_of(task.description))
        rows = by_name.get(task.id) or by_name.get(published_id(task)) or ([text] if text else [])
        if not rows:
            missing.append(task)
            continue
        texts = [text for row in rows for text in _plans(*row)]
        plans += [Plan.of(task.id, text, f"file:{files}", k) for k, text in enumerate(texts)]
    if missing:
        raise InputError(
            f"{files}: no plan for {len(missing)} of {len(tasks)} tasks, the first {missing[0].id} "
            f"(...{missing[0].description[-60:]!r}); a row's id or task must be the task's "
            f"(both stand in tasks/{missing[0].split}.jsonl of the run's folder)"
        )
    return plans


def plans_by_text(path: Path) -> dict[str, list[str]]:
    """The plans of a file whose rows name their tasks by text: the words of a task (`words_of`) ->
    its plans, in their order.

    Raises:
        InputError: naming the row at fault.
    """
    found: dict[str, list[str]] = {}
    for number, row in enumerate(read_rows(path, PlanRow), start=1):
        where = f"{path}: row {number}"
        if not row.task.strip():
            raise InputError(f"{where}: names no task; give the task's text (task)")
        found.setdefault(words_of(row.task), []).extend(_plans(where, row))
    return found


def untagged(text: str) -> str:
    """A plan without the tags around it."""
    text = text.strip()
    tag = PLAN_TAG.match(text)
    if tag is None:
        return text
    return re.sub(rf"</{tag[1]}>\Z", "", text[tag.end() :], flags=re.IGNORECASE).strip()


def _plans(where: str, row: PlanRow) -> list[str]:
    """The plans of a row. Raises InputError for what holds no plan."""
    found = []
    for text in _listed(row.workflow):
        plan, fault = _plan(text)
        if plan is None:
            form = f"; {STEPS}" if fault == "no steps" else ""
            raise InputError(f"{where}: no plan ({fault}); it begins {text[:80]!r}{form}")
        found.append(plan)
    if not found:
        raise InputError(f"{where}: no plan (an empty list)")
    return found


def _plan(text: str) -> tuple[str | None, str | None]:
    """The plan in a text, or what is wrong. One in the suite's form is taken as it is."""
    _, answer = split_reasoning(text)
    bare = untagged(answer)
    if _ERROR.match(bare.removeprefix("Step 1:")):
        return None, "an error"
    if _is_plan(bare):
        return bare, None
    reading = read_plan(text)
    return reading.text, reading.fault


def _is_plan(text: str) -> bool:
    """Whether a text is lines `Step k: ...`, at most with sub-steps under them."""
    n_steps = 0
    if "\\nStep " in text:
        return False
    for line in text.split("\n"):
        step = _STEP.match(line)
        if step and int(step[1]) == n_steps + 1:
            n_steps += 1
        elif line.strip() and not (n_steps and _SUB_STEP.match(line)):
            return False
    return n_steps > 0


def _listed(workflow: str | list[str]) -> list[str]:
    """A row's plans; a list that was written as a text, and one of a plan's steps, are read too."""
    if isinstance(workflow, str) and workflow.strip().startswith("["):
        try:
            value = ast.literal_eval(workflow.strip())
        except (ValueError, SyntaxError):
            value = None
        if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
            workflow = value
    if isinstance(workflow, str):
        return [workflow]
    numbers = [re.match(r"\W*(?:step\s*)?(\d+)\b", text, re.IGNORECASE) for text in workflow]
    steps = [int(number[1]) for number in numbers if number]
    if len(workflow) > 1 and steps == list(range(1, len(workflow) + 1)):
        return ["\n".join(workflow)]
    return workflow


def _require_plans(where: str, example: BaseModel) -> None:
    """Raises InputError for an answer of a letter or none, or tags without a plan in them."""
    for side, turns in example:
        for turn in turns if side not in ("prompt", "advantage") else []:
            text = turn["content"]
            if turn["role"] != "assistant":
                continue
            fault = "no more than a letter" if len(untagged(text)) < 2 else None
            if not fault and PLAN_TAG.match(text.strip()):
                _, fault = _plan(text)
            if fault:
                raise InputError(f"{where}: {side}: no plan ({fault}); it begins {text[:80]!r}")


def _validated(path: Path, rows: Sequence[Any], kind: type[R]) -> list[R]:
    """The rows of a file as records. Raises InputError naming the row at fault."""
    found: list[R] = []
    advice = f"a row is such as {ROWS[kind]}"
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(
                f"{path}: row {number}: expected an object with columns, found {str(row)[:40]!r}; "
                f"{advice}"
            )
        try:
            found.append(kind.model_validate(row))
            # What cannot be written again, half of an emoji, no model can be given.
            found[-1].model_dump_json()
        except PydanticSerializationError as error:
            raise InputError(f"{path}: row {number}: {error}; {advice}") from error
        except ValidationError as error:
            fault = error.errors()[0]
            names = ["plan" if n == "workflow" and n not in row else str(n) for n in fault["loc"]]
            field = f"{'.'.join(names)}: " if names else ""
            said = plainly(fault["msg"])
            if fault["type"] == "missing":
                said = f"missing; the row has {', '.join(map(str, row))[:80] or 'nothing'}"
            raise InputError(f"{path}: row {number}: {field}{said}; {advice}") from error
    if not found:
        raise InputError(f"{path}: no rows")
    return found


def words_of(text: str) -> str:
    """A text by which rows and tasks find each other, whatever space is between its words."""
    return " ".join(text.split())
