"""Answers as tokens: each in the very context in which the model is asked for it.

The text that a model is given before an answer comes from its chat template as a server renders it
(`chat_templates.turn`); what it has to write is the answer and the end of its turn. Where the
template shows an answer later as it was written, a conversation is one sequence that teaches all of
its answers. Where it does not (it drops the thoughts of earlier turns, say), a sequence ends, and
the next answer is taught in a sequence of its own.
"""

from collections.abc import Sequence
from typing import Any

from mpo_core.chat_templates import (
    OTHER_TEMPLATE,
    ChatTemplate,
    dropped_text,
    n_shared,
    of_tokenizer,
    template_text,
    turn,
)
from mpo_core.errors import InputError
from mpo_core.training.settings import TrainingJob
from mpo_core.types import Message

Span = tuple[int, int]


def load_tokenizer(job: TrainingJob) -> tuple[Any, ChatTemplate]:
    """The tokenizer of the model to train, and the chat template that it is served with.

    Raises:
        InputError: it has none, or one that cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(job.weights)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{job.model}: its tokenizer cannot be loaded: {reason}") from error
    if job.chat_template:
        tokenizer.chat_template = template_text(job.chat_template)
    return tokenizer, of_tokenizer(tokenizer, job.model, job.template_settings)


def sequences(
    prompt: Sequence[Message],
    completion: Sequence[Message],
    tokenizer: Any,
    template: ChatTemplate,
    *,
    continued: bool = False,
) -> list[dict[str, list[int]]]:
    """A conversation as token sequences that together teach the answers of its completion.

    A blank answer is read with the conversation, but not taught.

    Args:
        continued: each answer is begun for the model (`chat_templates.turn`).

    Returns:
        `input_ids` of each sequence, and a `completion_mask` of 1 where the model has to write.

    Raises:
        InputError: the template refuses the conversation, or keeps some of it back.
    """
    messages = [*prompt, *completion]
    texts: list[tuple[str, list[Span]]] = []
    for k in range(len(prompt), len(messages)):
        if messages[k]["role"] != "assistant" or not messages[k]["content"].strip():
            continue
        given, learnt = turn(template, messages[:k], messages[k]["content"], continued=continued)
        taught = [(len(given), len(given + learnt))]
        if texts and given.startswith(texts[-1][0]):
            taught = texts.pop()[1] + taught
        texts.append((given + learnt, taught))
        shown = messages[: k + 1]
    lacking = dropped_text(template, shown, texts[-1][0]) if texts else None
    if lacking:
        raise InputError(lacking)
    return [_tokens(text, taught, tokenizer, template, continued) for text, taught in texts]


def answer_tokens(
    prompt: Sequence[Message], answer: Message, tokenizer: Any, template: ChatTemplate
) -> tuple[list[int], list[int]]:
    """The tokens that a model is given when it is asked for an answer, and those of the answer."""
    [row] = sequences(prompt, [answer], tokenizer, template)
    start = row["completion_mask"].index(1)
    return row["input_ids"][:start], row["input_ids"][start:]


def _tokens(
    text: str, taught: list[Span], tokenizer: Any, template: ChatTemplate, continued: bool
) -> dict[str, list[int]]:
    def ids(part: str) -> list[int]:
        return tokenizer(part, add_special_tokens=False)["input_ids"]

    whole = ids(text)
    mask = [0] * len(whole)
    apart = False
    for begin, end in taught:
        given, written = ids(text[:begin]), ids(text[:end])
        start, stop = n_shared(given, whole), n_shared(written, whole)
        apart |= start < len(given) or stop < len(written)
        mask[start:stop] = [1] * (stop - start)
    if apart and not continued:
        # A server tokenizes what it gives the model by itself, so no token may reach across.
        whole, mask, done = [], [], 0
        for begin, end in taught:
            for part, value in ((text[done:begin], 0), (text[begin:end], 1)):
                whole += ids(part)
                mask += [value] * (len(whole) - len(mask))
            done = end
    stops = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    if not stops.intersection(ids(text[slice(*taught[-1])])):
        raise InputError(
            f"{template.model}: its chat template ends an answer with {text[-20:]!r}, which holds "
            f"no special token for the model to stop at; give it a template that does "
            f"({OTHER_TEMPLATE})"
        )
    return {"input_ids": whole, "completion_mask": mask}
