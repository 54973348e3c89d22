"""Training rows in the forms that people keep them in, as TRL's conversational ones.

Read are
- TRL's own rows, `prompt` with `completion` or with `chosen` and `rejected`, each a text or chat
  messages; without a prompt, it is what the conversations `chosen` and `rejected` share,
- conversations: `messages` (`role`, `content`), or ShareGPT's `conversations` (`from`, `value`),
  for preferences with `chosen` and `rejected` beside them,
- Alpaca's `instruction`, `input` and `history` with `output`, or with `chosen` and `rejected`,
each with a `system` text beside it, and a single answer with its `advantage` where answers are
scored. Whatever else would be part of the text that a model is given, such as tools, is refused;
all other columns are left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from mpo_core.types import Message

ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "developer": "system",
}
"""A speaker's name, in any case, -> the role of chat messages."""
ANSWERS = ("completion", "chosen", "rejected")
# Parts of a conversation that no chat message of this suite holds.
ROW_PARTS = (
    "tools",
    "functions",
    "documents",
    "images",
    "image",
    "videos",
    "audios",
    "chat_template_kwargs",
)
TURN_PARTS = (
    "tool_calls",
    "function_call",
    "tool_call_id",
    "reasoning_content",
    "reasoning",
    "thinking",
    "images",
)
SYSTEM = ("system", "system_prompt", "system_message")
EMPTY: tuple[Any, ...] = (None, "", "[]", "{}", "null", [], {})


def _fault(reason: str) -> PydanticCustomError:
    return PydanticCustomError("row", "{reason}", {"reason": reason})


def message(turn: Any) -> Message:
    """A turn of a conversation, `role` and `content` or `from` and `value`, as a chat message.

    Raises:
        PydanticCustomError: a role without a counterpart, no text, or more than a text.
    """
    if not isinstance(turn, Mapping):
        raise _fault(f"a turn is {str(turn)[:40]!r}; expected one with role and content")
    if not {"role", "from"} & turn.keys():
        raise _fault(
            f"a turn has {', '.join(map(str, turn)) or 'nothing'}; expected role and content, or "
            "from and value"
        )
    name, text = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if str(name).strip().casefold() not in ROLES:
        raise _fault(f"unknown role {name!r}; known: {', '.join(ROLES)}")
    for part in TURN_PARTS:
        if turn.get(part) not in EMPTY:
            raise _fault(f"{part} in a turn is not trained here; write it into the content")
    if isinstance(text, list) and all(_is_text(part) for part in text):
        text = "".join(part["text"] for part in text)
    if not isinstance(text, str):
        raise _fault(f"the content of a turn is {str(text)[:40]!r}; expected a text")
    return {"role": ROLES[str(name).strip().casefold()], "content": text}


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("text"), str)


def demonstration(row: Any) -> Any:
    """A row's `prompt` and `completion`, or one of them where it has none of the forms.

    Of a conversation, all that the assistant says is learnt, but for first answers whose `weight`
    is 0, or `train` false.

    Raises:
        PydanticCustomError: the row's text is not wholly in its prompt and completion.
    """
    if not isinstance(row, Mapping):
        return row
    _refuse_other_parts(row)
    if isinstance(row.get("label"), bool):
        raise _fault("label: an answer marked as good or bad is no demonstration")
    if _has(row, "prompt", "completion"):
        prompt, completion = said(row["prompt"], "user"), said(row["completion"], "assistant")
        if _is_whole(completion) and _are_turns(prompt):
            prompt, completion = _told_apart(completion, prompt)
    elif turns := _conversation(row):
        prompt, completion = _parted(turns)
    elif _has(row, "instruction", "output"):
        prompt, completion = _instructed(row), said(row["output"], "assistant")
    else:
        return _without_form(row)
    prompt = _with_system(prompt, row)
    if _are_turns(prompt) and _are_turns(completion):
        _check_prompt(prompt)
        _check_roles("completion", completion, "assistant")
    return {"prompt": prompt, "completion": completion}


def scored(row: Any) -> Any:
    """A row's `prompt`, `completion` and `advantage`: the forms of `demonstration`, of one answer.

    Raises:
        PydanticCustomError: the row's text is not wholly in its prompt and one answer.
    """
    if not isinstance(row, Mapping):
        return row
    found = demonstration(row)
    if _are_turns(found.get("completion")):
        _check_answer("completion", found["completion"])
    return found | {name: row[name] for name in ("advantage",) if name in row}


def preference(row: Any) -> Any:
    """A row's `prompt`, `chosen` and `rejected`, or some of them where it has none of the forms.

    Raises:
        PydanticCustomError: the row's text is not wholly in these three.
    """
    if not isinstance(row, Mapping):
        return row
    _refuse_other_parts(row)
    if not _has(row, "chosen", "rejected"):
        return _without_form(row)
    chosen, rejected = (said(row[side], "assistant") for side in ("chosen", "rejected"))
    if not _are_turns(chosen) or not _are_turns(rejected):
        return _without_form(row)
    if _is_whole(chosen) != _is_whole(rejected):
        whole, answer = ("chosen", "rejected") if _is_whole(chosen) else ("rejected", "chosen")
        raise _fault(f"{whole} is a whole conversation, {answer} an answer; expected both alike")
    prompt = _asked(row, within=_is_whole(chosen))
    if _is_whole(chosen):
        shared = _n_shared(chosen, rejected)
        if not shared:
            raise _fault("the conversations chosen and rejected share no beginning, the prompt")
        if _are_turns(prompt) and not _is_at_an_end(prompt, chosen[:shared]):
            raise _fault("the conversations chosen and rejected do not begin with the prompt")
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    elif prompt is None:
        raise _fault("no prompt; give one, or whole conversations in chosen and rejected")
    prompt = _with_system(prompt, row)
    if _are_turns(prompt):
        _check_prompt(prompt)
        _check_answer("chosen", chosen)
        _check_answer("rejected", rejected)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def said(value: Any, role: str) -> Any:
    """A text, a turn or turns as chat messages; anything else as it is, for its field to refuse."""
    if isinstance(value, str):
        if value.lstrip().startswith(('[{"', "[{'")):
            raise _fault(f"a conversation written as text ({value[:40]!r}); write it as a list")
        return [{"role": role, "content": value}]
    if isinstance(value, Mapping):
        return [message(value)]
    return [message(turn) for turn in value] if isinstance(value, list) else value


def _without_form(row: Mapping) -> dict[str, Any]:
    """What a row has of TRL's columns; the fields name what it lacks."""
    found = {name: said(row[name], "assistant") for name in ANSWERS if name in row}
    return found | ({"prompt": said(row["prompt"], "user")} if "prompt" in row else {})


def _asked(row: Mapping, *, within: bool) -> list[Message] | None:
    """The prompt that stands in a column of its own.

    Args:
        within: the answers are whole conversations, of which `messages` is a copy then.
    """
    prompt = row.get("prompt")
    if prompt is not None and not (within and prompt in EMPTY):
        return said(prompt, "user")
    if _has(row, "instruction"):
        return _instructed(row)
    if within and not _has(row, "conversations"):
        return None
    return [message(turn) for turn in _conversation(row)] or None


def _conversation(row: Mapping) -> list[Any]:
    named = [name for name in ("conversations", "messages") if row.get(name) not in EMPTY]
    if len(named) > 1:
        raise _fault("conversations and messages: expected one of them")
    turns = row[named[0]] if named else []
    if not isinstance(turns, list):
        raise _fault(f"{named[0]}: expected a list of turns")
    return turns


def _parted(turns: Sequence[Any]) -> tuple[list[Message], list[Message]]:
    """A conversation up to its first answer to learn, and from there on."""
    messages = [message(turn) for turn in turns]
    if messages[-1]["role"] != "assistant":
        raise _fault("the conversation ends with a turn that nobody answers")
    learnt = [
        k
        for k, turn in enumerate(turns)
        if messages[k]["role"] == "assistant"
        and turn.get("weight") != 0
        and turn.get("train") is not False
    ]
    answers = [k for k, m in enumerate(messages) if m["role"] == "assistant"]
    if learnt != answers[len(answers) - len(learnt) :] or not learnt:
        raise _fault("weight: an answer that is not to be learnt follows one that is, or none is")
    if learnt[0] == 0:
        raise _fault("the conversation begins with an answer; expected what it answers before it")
    return messages[: learnt[0]], messages[learnt[0] :]


def _told_apart(
    turns: Sequence[Message], prompt: Sequence[Message]
) -> tuple[Sequence[Message], Sequence[Message]]:
    """A whole conversation as the prompt with which it begins, and what follows."""
    if _same(turns[: len(prompt)], prompt):
        return turns[: len(prompt)], turns[len(prompt) :]
    asked, answers = _parted(turns)
    if not _is_at_an_end(prompt, asked):
        raise _fault("the completion is a conversation that does not begin with the prompt")
    return asked, answers


def _instructed(row: Mapping) -> list[Message]:
    """Alpaca's columns as a prompt."""
    asked = [row["instruction"], *([row["input"]] if row.get("input") not in EMPTY else [])]
    history = row.get("history") or []
    if not isinstance(history, list) or not all(
        isinstance(exchange, list) and len(exchange) == 2 for exchange in history
    ):
        raise _fault("history: expected pairs of an instruction and an answer")
    turns = [text for exchange in history for text in exchange]
    if not all(isinstance(text, str) for text in (*asked, *turns)):
        raise _fault("instruction, input and history: expected texts")
    roles = ("user", "assistant")
    before = [{"role": roles[k % 2], "content": text} for k, text in enumerate(turns)]
    return [*before, {"role": "user", "content": "\n".join(asked)}]


def _with_system(prompt: Any, row: Mapping) -> Any:
    """The prompt after the row's system text, where it has one."""
    column = next((name for name in SYSTEM if row.get(name) not in EMPTY), None)
    if column is None or not _are_turns(prompt):
        return prompt
    system = row[column]
    if not isinstance(system, str):
        raise _fault(f"{column}: expected a text")
    if prompt[0]["role"] != "system":
        return [{"role": "system", "content": system}, *prompt]
    if prompt[0]["content"] != system:
        raise _fault(f"{column}: the conversation begins with another one")
    return prompt


def _refuse_other_parts(row: Mapping) -> None:
    for part in ROW_PARTS:
        if row.get(part) not in EMPTY:
            raise _fault(f"{part}: not trained here; leave the row out, or the column")
    for column in ("input", "history"):
        if row.get(column) not in EMPTY and not _has(row, "instruction"):
            raise _fault(f"{column}: part of the prompt only beside an instruction")


def _has(row: Mapping, *columns: str) -> bool:
    return all(row.get(column) is not None for column in columns)


def _are_turns(value: Any) -> TypeGuard[list[Message]]:
    return isinstance(value, list) and bool(value)


def _is_whole(turns: Any) -> bool:
    """Whether these are a conversation with its prompt, not an answer."""
    return _are_turns(turns) and len(turns) > 1 and turns[0]["role"] != "assistant"


def _same(one: Sequence[Message], other: Sequence[Message]) -> bool:
    """Whether turns are the same, but for the space around their texts."""

    def words(turns: Sequence[Message]) -> list[tuple[str, str]]:
        return [(turn["role"], turn["content"].strip()) for turn in turns]

    return words(one) == words(other)


def _is_at_an_end(part: Sequence[Message], turns: Sequence[Message]) -> bool:
    """Whether turns begin or end with these."""
    return _same(turns[: len(part)], part) or _same(turns[-len(part) :], part)


def _n_shared(one: Sequence[Message], other: Sequence[Message]) -> int:
    """Turns that both begin with; the last of each is an answer, although they be the same."""
    n = min(len(one), len(other)) - 1
    return next((k for k in range(n) if one[k] != other[k]), n)


def _check_prompt(turns: Sequence[Message]) -> None:
    """A system message may begin a prompt; a user's turn ends it."""
    _check_roles("prompt", turns[1:] if turns[0]["role"] == "system" else turns, "user")
    if not turns[-1]["content"].strip():
        raise _fault("prompt: blank")


def _check_answer(side: str, turns: Sequence[Message]) -> None:
    """An answer that is judged is one: the loss would count a user's turns as the model's words."""
    roles = [turn["role"] for turn in turns]
    if roles != ["assistant"]:
        raise _fault(f"{side}: expected one answer of the assistant's, found {', '.join(roles)}")


def _check_roles(part: str, turns: Sequence[Message], at_ends: str) -> None:
    """Whether user and assistant take turns, with the one that is to begin and to end."""
    roles = [turn["role"] for turn in turns]
    other = {"user": "assistant", "assistant": "user"}[at_ends]
    if len(roles) % 2 == 0 or roles != [(at_ends, other)[k % 2] for k in range(len(roles))]:
        raise _fault(
            f"{part}: expected {at_ends} and {other} in turns, {at_ends} first and last, found "
            f"{', '.join(roles) or 'a system message only'}"
        )


class Example(BaseModel):
    """A training row; of its other columns nothing is kept."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SftExample(Example):
    """TRL's conversational prompt and completion, of one or several answers."""

    prompt: list[Message] = Field(min_length=1)
    completion: list[Message] = Field(min_length=1)

    _form = model_validator(mode="before")(demonstration)


class ScoredExample(Example):
    """TRL's conversational prompt and completion, of one answer, and the answer's advantage."""

    prompt: list[Message] = Field(min_length=1)
    completion: list[Message] = Field(min_length=1)
    advantage: float = Field(allow_inf_nan=False)

    _form = model_validator(mode="before")(scored)


class PreferenceExample(Example):
    """TRL's conversational prompt, chosen and rejected, each of one answer."""

    prompt: list[Message] = Field(min_length=1)
    chosen: list[Message] = Field(min_length=1)
    rejected: list[Message] = Field(min_length=1)

    _form = model_validator(mode="before")(preference)
