"""The paper's published data: plans and training rows read and written without loss.

The dataset `xwm/Meta_Plan_Optimization` holds, for each environment,
- `*_metaplan_sft.json`: a list of conversations, the planner's prompt and its plan,
- `*_metaplan_preference_pairs.json`: a list of a prompt with a chosen and a rejected plan,
- `*_metaplan_train_sampled.jsonl`: a task's sampled plans a line (`id`, `task`, `workflow`),
and plans for evaluation as lines with `id`, `task` and one `workflow`. A plan stands between
<workflow> tags in the first two and bare in the others. Fields that are not known here are kept.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mpo_core.errors import InputError
from mpo_core.ledger import write_text
from mpo_core.types import Demonstration, Message, Plan, PreferencePair, Task

ROLES = {"system": "system", "human": "user", "gpt": "assistant"}
SPEAKERS = {role: speaker for speaker, role in ROLES.items()}
ADVICE = "see mpo_core/formats.py for the formats"


class Published(BaseModel):
    """A row of the published data."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class Utterance(Published):
    speaker: str = Field(alias="from", pattern=f"^({'|'.join(ROLES)})$")
    value: str

    @property
    def message(self) -> Message:
        return {"role": ROLES[self.speaker], "content": self.value}

    @classmethod
    def of(cls, message: Message) -> "Utterance":
        return cls(speaker=SPEAKERS[message["role"]], value=message["content"])


class SftRow(Published):
    """A prompt and the plan that answers it."""

    conversations: list[Utterance] = Field(min_length=2)


class PreferenceRow(Published):
    """A prompt, the plan that did better and the one that did worse."""

    conversations: list[Utterance] = Field(min_length=1)
    chosen: Utterance
    rejected: Utterance


class PlanRow(Published):
    """A task's plan, or its sampled plans."""

    id: str | int | None = None
    task: str
    workflow: str | list[str]

    @property
    def plans(self) -> list[str]:
        found = [self.workflow] if isinstance(self.workflow, str) else self.workflow
        return [untagged(text) for text in found]


class SftExample(Published):
    """TRL's conversational prompt and completion."""

    prompt: list[Message] = Field(min_length=1)
    completion: list[Message] = Field(min_length=1)


class PreferenceExample(Published):
    """TRL's conversational prompt, chosen and rejected."""

    prompt: list[Message] = Field(min_length=1)
    chosen: list[Message] = Field(min_length=1)
    rejected: list[Message] = Field(min_length=1)


R = TypeVar("R", bound=Published)


def read_rows(path: Path, kind: type[R]) -> list[R]:
    """The rows of a published file: a JSON list, or JSON a line.

    Raises:
        InputError: naming the row at fault.
    """
    return _validated(path, _rows(path), kind)


def write_rows(path: Path, rows: Iterable[Published]) -> None:
    """Write rows as they are published: lines where the name ends in .jsonl, else a JSON list."""
    content = [row.model_dump(by_alias=True, exclude_unset=True) for row in rows]
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(row) + "\n" for row in content)
    else:
        text = json.dumps(content, indent=4)
    write_text(path, text)


def prompt_completion(row: SftRow) -> dict[str, list[Message]]:
    """A row as TRL's conversational prompt and completion."""
    *prompt, answer = [utterance.message for utterance in row.conversations]
    return {"prompt": prompt, "completion": [answer]}


def preference(row: PreferenceRow) -> dict[str, list[Message]]:
    """A row as TRL's conversational prompt, chosen and rejected."""
    return {
        "prompt": [utterance.message for utterance in row.conversations],
        "chosen": [row.chosen.message],
        "rejected": [row.rejected.message],
    }


def training_rows(path: Path, method: Literal["sft", "dpo"]) -> list[dict[str, list[Message]]]:
    """What a file holds for a training, as TRL's conversational rows.

    Args:
        path: a published file (a JSON list), or lines of such rows, of `PreferencePair` or
            `Demonstration`.

    Raises:
        InputError: naming the row at fault.
    """
    rows = _rows(path)
    if rows and isinstance(rows[0], dict) and "conversations" in rows[0]:
        if method == "sft":
            return [prompt_completion(row) for row in _validated(path, rows, SftRow)]
        return [preference(row) for row in _validated(path, rows, PreferenceRow)]
    kind = SftExample if method == "sft" else PreferenceExample
    return [row.model_dump(include=set(kind.model_fields)) for row in _validated(path, rows, kind)]


def published_demonstration(shown: Demonstration) -> SftRow:
    """A plan for a task as it is published."""
    asked = [Utterance.of(message) for message in shown.prompt]
    return SftRow(conversations=[*asked, _tagged(shown.completion)])


def published_pair(pair: PreferencePair) -> PreferenceRow:
    """A pair as it is published, with both mean rewards."""
    return PreferenceRow(
        conversations=[Utterance.of(message) for message in pair.prompt],
        chosen=_tagged(pair.chosen),
        rejected=_tagged(pair.rejected),
        reward={"chosen": pair.chosen_score.mean, "rejected": pair.rejected_score.mean},
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
        InputError: a task has no plan in the files.
    """
    by_name: dict[str, list[str]] = {}
    by_text: dict[str, list[str]] = {}
    for row in (row for path in paths for row in read_rows(path, PlanRow)):
        by_name[str(row.id)] = by_text[_words(row.task)] = row.plans
    files = ", ".join(path.name for path in paths)
    plans, missing = [], []
    for task in tasks:
        found = (
            by_name.get(task.id)
            or by_name.get(published_id(task))
            or by_text.get(_words(task.description))
        )
        if not found:
            missing.append(task)
            continue
        origin = f"file:{files}"
        plans += [Plan.of(task.id, text, origin, k) for k, text in enumerate(found)]
    if missing:
        raise InputError(
            f"{files}: no plan for {len(missing)} of {len(tasks)} tasks, the first {missing[0].id} "
            f"({missing[0].description[:60]!r}); a row's id or task must be the task's"
        )
    return plans


def untagged(text: str) -> str:
    """A plan without the tags around it."""
    return text.strip().removeprefix("<workflow>").removesuffix("</workflow>").strip()


def _tagged(answer: Sequence[Message]) -> Utterance:
    [message] = answer
    return Utterance(speaker="gpt", value=f"<workflow>\n{message['content']}\n</workflow>")


def _validated(path: Path, rows: Sequence[Any], kind: type[R]) -> list[R]:
    """The rows of a file as records. Raises InputError naming the row at fault."""
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(kind.model_validate(row))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise InputError(f"{path}: row {number}: {where}: {fault['msg']}; {ADVICE}") from error
    if not found:
        raise InputError(f"{path}: no rows")
    return found


def _rows(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable ({error}); {ADVICE}") from error
    try:
        if text.lstrip().startswith("["):
            return json.loads(text)
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); {ADVICE}") from error


def _words(text: str) -> str:
    return " ".join(text.split())
