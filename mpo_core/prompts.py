"""What the planner and the agent are told, and the three ways to hand an agent its plan.

An environment's prompts are the files of one folder (`Suite.prompts`):
- `agent.txt`     the agent's instruction, to think and act,
- `agent_act.txt` the same for an agent that acts without a word (`agent.thoughts: false`),
- `example.json`  one worked episode as chat messages: user (task and first observation),
                  assistant (thought and action), user (observation), ..., assistant; or an
                  object with one for each task type or beginning of a type's name,
- `planner.txt`   the planner's prompt, with `{task}` where the task goes, taken as it is: with its
                  last line end, where it has one,
- `planner_example.json`  (optional) one task and its plan as two chat messages,
- `teacher.txt`   (optional) what a teacher model is asked that makes a plan from an expert's
                  episode, with `{task}` and `{trajectory}` where these go.
`prompts_dir` names a folder of your own with such a folder for each environment, under its name;
files that it lacks are the environment's, but for the planner's example, which goes with its
prompt. The reference repository's layout is read too: `prompt/instructions/*_inst.txt`,
`prompt/icl_examples/*_icl.json` and the constants of `scripts/template.py`.

The agent's conversation is append-only, so that an engine's prefix cache serves every turn.
"""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mpo_core.envs.base import suite_class
from mpo_core.errors import InputError
from mpo_core.markup import contained
from mpo_core.reading import read_action
from mpo_core.textfile import read_text
from mpo_core.types import Message, PlanMode, content_hash

PLAN_INTRODUCTION = "This plan may help you with the task:"

PLAN_TAG = re.compile(r"<((?:meta[-_ ]?)?(?:plan|workflow|steps))>", re.IGNORECASE)
"""What opens a plan; the readers of plans know these, too."""
_AROUND_TASK = re.compile(r"<(\w+)>\s*\{task\}")


@dataclass(frozen=True)
class Prompts:
    """One environment's prompts."""

    agent: str
    agent_act: str
    examples: dict[str, list[Message]]
    """Beginning of a task type's name -> its worked episode; "" is every type's."""
    planner: str
    planner_example: list[Message] = field(default_factory=list)
    teacher: str = field(default_factory=str)

    @property
    def fingerprint(self) -> str:
        """Names what agents and planners are told; the teacher's prompt is neither's."""
        told = {name: text for name, text in asdict(self).items() if name != "teacher"}
        return content_hash(told, PLAN_INTRODUCTION)

    def zero_shot(self) -> "Prompts":
        """The same, but that the planner is shown no example."""
        return replace(self, planner_example=[])

    def planner_messages(self, task: str) -> list[Message]:
        """What the planner is sent for a task, which ends neither its place nor its turn."""
        task = contained(task, *_AROUND_TASK.findall(self.planner))
        if not self.planner_example:
            return [_user(self.planner.replace("{task}", task))]
        example_task, example_plan = self.planner_example
        first = self.planner.replace("{task}", example_task["content"])
        return [_user(first), example_plan, _user(f"Task: {task}")]

    def planner_answer(self, plan: str) -> str:
        """A plan in the form that the planner's prompt asks for: what the planner is taught.

        It stands between tags such as <workflow>, each on a line of its own, where the prompt or
        the plan of its example holds one (`PLAN_TAG`), of several the last; else it is bare.
        """
        examples = [message["content"] for message in self.planner_example[1:]]
        tags = PLAN_TAG.findall("\n".join([self.planner, *examples]))
        return f"<{tags[-1]}>\n{plan}\n</{tags[-1]}>" if tags else plan

    def teacher_messages(self, task: str, trajectory: str) -> list[Message]:
        """What a teacher is sent for a task and the expert's episode of it."""
        return [_user(self.teacher.replace("{task}", task).replace("{trajectory}", trajectory))]

    def example(self, task_type: str) -> list[Message]:
        """The worked episode for a task type. Raises InputError where there is none."""
        fitting = [name for name in self.examples if task_type.startswith(name)]
        if not fitting:
            known = ", ".join(self.examples)
            raise InputError(f"prompts: no example for task type {task_type}; there are: {known}")
        return self.examples[max(fitting, key=len)]

    def opening(
        self,
        task: str,
        observation: str,
        plan: str | None,
        mode: PlanMode,
        *,
        example: Sequence[Message] = (),
        thoughts: bool = True,
    ) -> list[Message]:
        """The agent's conversation up to its first reply, after a worked episode if given one."""
        agent = self.agent if thoughts else self.agent_act
        shown = example
        if not thoughts:
            shown = [_without_thought(message) for message in shown]
        asked = task
        if plan is not None and mode == "query":
            asked += f"\n\n{plan_block(plan)}"
        asked += f"\n\n{self.observation(observation, plan, mode, first=True)}"
        if not shown:
            return [_user(f"{agent}\n\n{asked}")]
        first, *rest = shown
        return [
            _user(f"{agent}\n\nHere is an example.\n\n{first['content']}"),
            *rest,
            _user(f"Now a new task begins.\n\n{asked}"),
        ]

    @staticmethod
    def observation(
        observation: str, plan: str | None, mode: PlanMode, *, first: bool = False
    ) -> str:
        """An observation as the agent reads it."""
        text = observation if first else f"Observation: {observation}"
        if plan is not None and mode == "observation":
            text += f"\n\n{plan_block(plan)}"
        return text

    @staticmethod
    def reply_prefix(plan: str | None, mode: PlanMode) -> str:
        """What the agent's own replies begin with when it is to think the plan itself."""
        if plan is not None and mode == "thought":
            return f"Thought: {plan_block(plan)}\n"
        return ""


def plan_block(plan: str) -> str:
    """A plan as it stands in the agent's conversation."""
    return f"{PLAN_INTRODUCTION}\n{plan}"


def load_prompts(env: str, prompts_dir: Path | None = None) -> Prompts:
    """An environment's prompts. Raises InputError for a folder or file that cannot be used."""
    if prompts_dir is not None and not prompts_dir.is_dir():
        raise InputError(f"prompts_dir: {prompts_dir}: no such folder")
    suite = suite_class(env)
    found = {}
    if prompts_dir:
        reference = _reference_files(suite.reference_name or env, prompts_dir)
        found = _checked(reference | _files(prompts_dir / env), env, prompts_dir)
    if prompts_dir and not found:
        raise InputError(
            f"prompts_dir: {prompts_dir} has no prompts for {env}: expected {env}/agent.txt, "
            f"{env}/example.json or {env}/planner.txt, or the reference repository's layout"
        )
    own = _checked(_files(suite.prompts), env, suite.prompts)
    if "planner" in found:
        own.pop("planner_example", None)
    prompts = own | found
    needed = [f.name for f in fields(Prompts) if f.default_factory is MISSING]
    if lacking := [name for name in needed if name not in prompts]:
        raise InputError(f"prompts of {env}: no {' and no '.join(lacking)}; set prompts_dir")
    return Prompts(**prompts)


def _files(folder: Path) -> dict[str, Any]:
    """The prompts in an environment's folder."""
    found: dict[str, Any] = {}
    for name in ("agent", "agent_act", "planner", "teacher"):
        path = folder / f"{name}.txt"
        if path.is_file():
            # The planner is trained on its prompt to the last character, which is often a line end.
            found[name] = read_text(path) if name == "planner" else read_text(path).strip()
    path = folder / "example.json"
    if path.is_file():
        found["examples"] = _examples(path)
    path = folder / "planner_example.json"
    if path.is_file():
        found["planner_example"] = _example(_json(path), path)
    return found


def _checked(found: dict[str, Any], env: str, folder: Path) -> dict[str, Any]:
    """The prompts, of which each has its places for what is told. Raises InputError."""
    if "planner" in found and "{task}" not in found["planner"]:
        raise InputError(f"{folder}: the planner prompt of {env} lacks {{task}}")
    for place in ("{task}", "{trajectory}"):
        if place not in found.get("teacher", place):
            raise InputError(f"{folder}: the teacher prompt of {env} lacks {place}")
    return found


def _reference_files(name: str, folder: Path) -> dict[str, Any]:
    """Prompts in the layout of the paper's repository (or of its `prompt` folder)."""
    found: dict[str, Any] = {}
    for root in (folder / "prompt", folder):
        instruction = root / "instructions" / f"{name}_inst.txt"
        if instruction.is_file():
            found.setdefault("agent", read_text(instruction).strip())
        example = root / "icl_examples" / f"{name}_icl.json"
        if example.is_file():
            found.setdefault("examples", _examples(example))
    for template in (folder / "scripts" / "template.py", folder / "template.py"):
        if template.is_file():
            text = _string_constant(template, f"{name.upper()}_TEMPLATE")
            if text is not None:
                # The file's own str.format templates: {{recep}} stands for a literal {recep}.
                text = re.sub(r"\{\{|\}\}", lambda m: m[0][0], text)
                found.setdefault("planner", text)
    return found


def _examples(path: Path) -> dict[str, list[Message]]:
    """A file's example, or its examples by task type."""
    found = _json(path)
    if not isinstance(found, dict):
        return {"": _example(found, path)}
    if not found:
        raise InputError(f"{path}: no examples")
    return {name: _example(turns, path) for name, turns in found.items()}


def _example(turns: Any, path: Path) -> list[Message]:
    try:
        if turns and isinstance(turns[0], list):  # The reference keeps a list of examples.
            turns = turns[0]
        messages = [
            {"role": "user" if i % 2 == 0 else "assistant", "content": turn["content"]}
            for i, turn in enumerate(turns)
        ]
    except (TypeError, KeyError, IndexError) as error:
        raise InputError(f"{path}: expected a JSON list of messages with 'content'") from error
    if len(messages) % 2:
        # An example must end with the agent's reply, for the task that follows is the user's.
        messages = messages[:-1]
    if not messages:
        raise InputError(f"{path}: the example has no turns")
    return messages


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def _string_constant(path: Path, name: str) -> str | None:
    """A string constant of a Python file, read without running the file."""
    try:
        tree = ast.parse(read_text(path))
    except SyntaxError as error:
        raise InputError(f"{path}: not readable as Python: line {error.lineno}") from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
            if name in names and isinstance(node.value.value, str):
                return node.value.value
    return None


def _without_thought(message: Message) -> Message:
    if message["role"] != "assistant":
        return message
    action = read_action(message["content"]).action
    return {"role": "assistant", "content": f"Action: {action}"}


def _user(content: str) -> Message:
    return {"role": "user", "content": content}
