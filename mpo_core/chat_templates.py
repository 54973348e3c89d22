"""How a model's conversations become text: its chat template, and what that makes impossible.

One module decides for `mpo doctor`, for a run before it starts and for a training. It needs a
model's tokenizer files, none of its weights.

A model is asked in one of two ways: after a conversation, by the template's generation prompt, or
in the middle of an answer that was begun for it (vLLM's `continue_final_message`), where the
template writes the answer's beginning as it writes any answer's. Templates may differ between the
two, and between an answer and the same answer some turns later: those of reasoning models put a
thought, if an empty one, before the last answer only.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from mpo_core.config import Config, ServedModelConfig
from mpo_core.endpoint import switch_of
from mpo_core.errors import InputError
from mpo_core.textfile import read_text
from mpo_core.types import Message

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")
ANSWER = "THE-ANSWER"
"""Stands for an answer in a rendering, to be found in it again."""
TAGS = (
    (r"<think(?:ing)?>", r"</think(?:ing)?>"),
    (r"<reason(?:ing)?>", r"</reason(?:ing)?>"),
    (r"<seed:think>", r"</seed:think>"),
    (r"<\|channel>thought", r"<channel\|>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
)
"""What models put around their thoughts."""
EMPTY_THOUGHT = re.compile("|".join(rf"{begin}\s*{end}\s*" for begin, end in TAGS))
THOUGHT_BEGINS = re.compile(r"\s*(?:" + "|".join(begin for begin, _ in TAGS) + r")\n?")
THOUGHT_ENDS = re.compile("|".join(end for _, end in TAGS))
OTHER_TEMPLATE = "models.NAME.engine_kwargs.chat_template=FILE"
NO_THOUGHTS = {"enable_thinking": False, "thinking": False}


@dataclass
class ChatTemplate:
    """A chat template with what it is rendered with."""

    model: str
    """Whose it is, for errors."""
    text: str
    special_tokens: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """What the server gives the template besides, such as `enable_thinking`."""
    _parts: bool | None = None
    """Whether it reads a message's text as a list of parts; found out at first use."""

    def render(
        self, messages: Sequence[Message], *, ask: bool = False, extend: bool = False
    ) -> str:
        """A conversation as text.

        Args:
            ask: add the generation prompt.
            extend: leave the last message open, for the model to continue it.

        Raises:
            InputError: the template refuses the conversation.
        """
        if self._parts is None:
            self._parts = self._reads_parts()
        return self._render(messages, self._parts, ask, extend)

    def _reads_parts(self) -> bool:
        """Whether a text must be given as a list of parts, as to vision models' templates: some
        drop a string without a word."""
        probe = [_says("user", ANSWER)]
        try:
            if ANSWER in self._render(probe, False, ask=True, extend=False):
                return False
            fault = InputError(f"{self.model}: its chat template drops what the user says")
        except InputError as error:
            fault = error
        try:
            if ANSWER in self._render(probe, True, ask=True, extend=False):
                return True
        except InputError:
            pass
        raise fault

    def _render(self, messages: Sequence[Message], parts: bool, ask: bool, extend: bool) -> str:
        from jinja2.exceptions import TemplateError, TemplateSyntaxError
        from transformers.utils.chat_template_utils import render_jinja_template

        shown: list[Any] = list(messages)
        if parts:
            shown = [m | {"content": [{"type": "text", "text": m["content"]}]} for m in messages]
        try:
            [text], _ = render_jinja_template(
                conversations=[shown],
                chat_template=self.text,
                add_generation_prompt=ask,
                continue_final_message=extend,
                **self.special_tokens | self.settings,
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            fault = _odd_part(messages, extend)
            if isinstance(error, TemplateSyntaxError):
                fault = "is no Jinja template ({}); "
            raise InputError(
                f"{self.model}: its chat template {fault.format(reason)}give it another template "
                f"({OTHER_TEMPLATE})"
            ) from error
        return text


def _odd_part(messages: Sequence[Message], extend: bool) -> str:
    """What a template is most likely to refuse in a conversation, `{}` for its own words, and what
    to do about it."""
    roles = [message["role"] for message in messages]
    if extend:
        remedy = "set agent.thoughts=true and agent.plan_mode=query"
        return f"refuses to continue an answer ({{}}); {remedy}, or "
    if "system" in roles:
        return "refuses a system message ({}); put its text into the first user message, or "
    if any(one == other for one, other in pairwise(roles)):
        return "refuses two messages of one role in a row ({}); join them into one, or "
    shown = ", ".join([*roles[:4], *["..."] * (len(roles) > 4)])
    return f"refuses a conversation of {shown} ({{}}); "


def given_template(model: ServedModelConfig) -> str | None:
    """The template that a served model is given in place of its own, itself and not its file.

    Raises:
        InputError: there is no such file.
    """
    given = model.engine_kwargs.get("chat_template")
    return None if given is None else template_text(str(given))


def template_text(given: str) -> str:
    """A template given as vLLM takes it: a file, or the template itself."""
    if re.search(r"[{}\n]", given):
        return given
    try:
        return Path(given).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"engine_kwargs.chat_template: {given}: not readable ({error})") from error


def template_settings(model: ServedModelConfig) -> dict[str, Any]:
    """What a served model's template is given at every request."""
    default = model.engine_kwargs.get("default_chat_template_kwargs") or {}
    sent = switch_of(model) | model.extra_body
    return default | (sent.get("chat_template_kwargs") or {})


def no_template(model: str) -> InputError:
    """A model that cannot be spoken to."""
    return InputError(
        f"{model}: the model has no chat template, as base models have none; take its instruct "
        f"version, or give it a template ({OTHER_TEMPLATE})"
    )


def of_tokenizer(
    tokenizer: Any, model: str, settings: dict[str, Any], given: str | None = None
) -> ChatTemplate:
    """A loaded tokenizer's template, or the one `given` in its place. Raises InputError where
    there is none."""
    text = given or _default(tokenizer.chat_template)
    if not text:
        raise no_template(model)
    tokens = {k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
    return ChatTemplate(model, text, tokens, settings)


def of_folder(
    folder: Path, model: str, given: str | None, settings: dict[str, Any]
) -> ChatTemplate | None:
    """The template of a model folder, or the one `given` in its place; None in a folder without
    the tokenizer files by which that could be told.

    Raises:
        InputError: the model has none.
    """
    tokenizer = _json(folder / "tokenizer_config.json")
    special = tokenizer | _json(folder / "special_tokens_map.json")
    tokens = {name: _token(special[name]) for name in SPECIAL_TOKENS if special.get(name)}
    text = given or _default(tokenizer.get("chat_template"))
    text = text or _json(folder / "chat_template.json").get("chat_template")
    if not text and (folder / "chat_template.jinja").is_file():
        text = read_text(folder / "chat_template.jinja")
    if text:
        return ChatTemplate(model, text, tokens, settings)
    if not tokenizer:
        return None
    raise no_template(model)


def _default(templates: Any) -> str | None:
    """The template for a chat without tools, of a model that may have several."""
    if isinstance(templates, list):
        named = [entry for entry in templates if isinstance(entry, dict)]
        templates = {entry.get("name"): entry.get("template") for entry in named}
    text = templates.get("default") if isinstance(templates, dict) else templates
    return text if isinstance(text, str) else None


def _token(value: Any) -> str:
    return value["content"] if isinstance(value, dict) else value


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path)) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: not JSON settings")
    return found


def turn(
    template: ChatTemplate, messages: Sequence[Message], answer: str, *, continued: bool = False
) -> tuple[str, str]:
    """What a model is given when it is asked for an answer, and what it then has to write.

    The latter is the answer with the end of its turn, which is where the model stops; before it
    comes what the template has every answer begin with and leaves to the model, such as a
    channel's name. An empty thought is neither: where the template asks for one, it is given.

    Args:
        messages: the conversation up to the answer.
        continued: the answer is begun for the model, so that it is given what the template writes
            before an answer, not the generation prompt.

    Raises:
        InputError: the template refuses the conversation, marks no end of the turn, or has the
            model think before an answer that holds no thought.
    """
    marked = template.render([*messages, _says("assistant", ANSWER)])
    before, found, rest = marked.rpartition(ANSWER)
    if not found:
        raise InputError(f"{template.model}: its chat template drops an assistant's message")
    later = template.render([*messages, _says("assistant", ANSWER), _says("user", "next")])
    end = _end_of_turn(template, rest, later.rpartition(ANSWER)[2])
    if answer != answer.strip():
        shown = template.render([*messages, _says("assistant", answer)])
        answer = answer if shown.endswith(answer + rest) else answer.strip()
    if continued:
        return before, answer + end
    asked = template.render(messages, ask=True)
    begun = _begun(template.render(messages), asked, before)
    if begun is not None:
        return asked, begun + answer + end
    thought = THOUGHT_BEGINS.match(answer)
    if thought and THOUGHT_ENDS.search(answer):
        return asked, answer[thought.end() :] + end
    raise InputError(
        f"{template.model}: its chat template has the model think before it answers (it asks with "
        f"{asked[-30:]!r}), but the answers to learn hold no thought; {_without_thoughts(template)}"
    )


def _begun(closed: str, asked: str, before: str) -> str | None:
    """What a model itself has to write before its answer; None where it would be a thought.

    Args:
        closed: the conversation without a generation prompt.
        asked: the conversation with it.
        before: the conversation with what the template writes before an answer.
    """
    start = n_shared(closed, asked)
    if before[:start] != asked[:start]:
        start = n_shared(before, asked)
    prompt, opening = (EMPTY_THOUGHT.sub("", text[start:]) for text in (asked, before))
    if THOUGHT_BEGINS.search(prompt):
        return None
    if before.startswith(asked):
        return EMPTY_THOUGHT.sub("", before[len(asked) :])
    return opening.removeprefix(prompt.rstrip()) if opening.startswith(prompt.rstrip()) else None


def _without_thoughts(template: ChatTemplate) -> str:
    """How a model can be asked without having to think."""
    probe = [_says("user", "ask")]
    ask = template.render(probe, ask=True)
    quiet = ChatTemplate(
        template.model, template.text, template.special_tokens, template.settings | NO_THOUGHTS
    )
    if quiet.render(probe, ask=True) != ask:
        return "switch its thoughts off (models.NAME.reasoning=off)"
    return f"give it a template that begins no thought ({OTHER_TEMPLATE})"


def _end_of_turn(template: ChatTemplate, last: str, earlier: str) -> str:
    """The end of an assistant's turn.

    Args:
        last: what follows an answer that is the last message.
        earlier: what follows one that the user has answered.
    """
    # Cut where two different tokens begin alike.
    common = re.sub(r"<[^<>]*$", "", last[: n_shared(last, earlier)])
    if common.strip():
        return common
    if last.strip():
        return last
    # Some have no token of their own for it: the next turn's opening is where their models stop.
    opening = re.match(r"\s*<[^<>\s]+>", earlier)
    if opening:
        return opening[0]
    raise InputError(
        f"{template.model}: its chat template writes nothing after an answer, by which the model "
        f"could learn to end it; give it a template that does ({OTHER_TEMPLATE})"
    )


def dropped_text(template: ChatTemplate, messages: Iterable[Message], text: str) -> str | None:
    """What a rendering lacks of its messages, but for thoughts; None where it lacks nothing."""
    words = " ".join(text.split())
    for message in messages:
        said = THOUGHT_ENDS.split(message["content"])[-1]
        if " ".join(said.split()) not in words:
            article = "an" if message["role"] == "assistant" else "a"
            return f"{template.model}: its chat template drops {article} {message['role']} message"
    return None


def n_shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Number of characters, or tokens, that both begin with."""
    pairs = zip(one, other, strict=False)
    return next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def template_fault(
    config: Config, name: str, source: Path | str, planner_prompts: Iterable[Sequence[Message]]
) -> str | None:
    """Why the chat template of a served model cannot do what a config asks of it; None if it can.

    Nothing is said of a model that is still to be downloaded.

    Args:
        name: of a model of the config that has a source.
        source: its folder or hub id.
        planner_prompts: what the planner is sent, one conversation an environment.
    """
    folder = _folder(source)
    model, agent = config.models_with_source[name], config.agent
    try:
        label = f"models.{name}"
        given, settings = given_template(model), template_settings(model)
        template = of_folder(folder, label, given, settings) if folder else None
        if template is None:
            return None
        if name == config.planner.model:
            for prompt in planner_prompts:
                template.render(prompt, ask=True)
                if config.trainings.keys() - {"agent.sft"}:
                    turn(template, prompt, "Step 1: Go.")
        if name == agent.model:
            played = [_says("user", "task"), _says("assistant", "Action: look"), _says("user", "a")]
            template.render(played, ask=True)
            if not agent.thoughts or agent.plan_mode == "thought":
                template.render([*played, _says("assistant", "Action:")], extend=True)
            if agent.sft:
                turn(template, played, "Action: look", continued=True)
        if name == config.seeds.teacher:
            template.render([_says("user", "task")], ask=True)
    except InputError as error:
        return str(error).replace("models.NAME", f"models.{name}")
    return None


def _folder(source: Path | str) -> Path | None:
    """Where a model's files are; None for a hub id of which not all are in the cache."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(source), "tokenizer_config.json")
    folder = Path(found).parent if isinstance(found, str) else None
    # The weights come last.
    return folder if folder and any(folder.glob("*.safetensors")) else None


def _says(role: str, text: str) -> Message:
    return {"role": role, "content": text}
