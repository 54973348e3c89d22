"""Which tokens a training learns, under every chat template that TRL ships and some of our own:
each answer with its end of turn, in the very context in which a server asks for it, and nothing
else."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.chat_templates import ChatTemplate, of_tokenizer, turn
from mpo_core.errors import InputError
from mpo_core.training.answers import answer_tokens, sequences
from tests.thoroughness import examples
from tests.tiny_chat import TEMPLATE, make_tokenizer

TRLS = Path(find_spec("trl").submodule_search_locations[0]) / "chat_templates"
NAMES = sorted(path.stem for path in TRLS.glob("*.jinja"))
OFF = {"enable_thinking": False}
# They ask within a thought; some only where thoughts are not switched off.
THINKING = ("deepseek", "nemotron", "qwen3_5_think", "qwen3_6", "qwen3_8")
NEVER_OFF = ("deepseek",)
# What their models write before an answer.
CHANNELS = {"gptoss": "<|channel|>final<|message|>", "muse_glimmer": " to=user<|message|>"}
# They read a text as a list of parts.
PARTS = ("idefics3", "smolvlm", "llava_next")
SPECIAL = r"<\|?[A-Za-z_｜/][^<>\s]*\|?>"
EPISODE = [("take a cup", "Action: go"), ("a room", "Action: look"), ("a cup", "Action: take it")]


def says(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def dialogue(turns) -> list[dict[str, str]]:
    return [message for u, a in turns for message in (says("user", u), says("assistant", a))]


@cache
def tokenizer_for(name: str):
    """Subwords of every byte, and the template's special tokens."""
    text = TEMPLATE if name == "tiny" else (TRLS / f"{name}.jinja").read_text(encoding="utf-8")
    tokenizer = make_tokenizer(["go to the room and look at a cup", "user assistant system think"])
    if name != "tiny":
        special = sorted(set(re.findall(SPECIAL, text)) | {"<|end|>", "<|user|>"})
        tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.chat_template = text
    return tokenizer


def written(tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def runs(row: dict[str, list[int]]) -> list[tuple[int, int]]:
    """Where the learnt tokens of a sequence begin and end."""
    mask = [0, *row["completion_mask"], 0]
    edges = [k for k in range(1, len(mask)) if mask[k] != mask[k - 1]]
    return [(a - 1, b - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def asked(name: str, messages, continued: bool, kwargs) -> str:
    """What a server gives the model when it asks for the next answer."""
    tokenizer = tokenizer_for(name)
    if name.startswith(PARTS):
        messages = [m | {"content": [{"type": "text", "text": m["content"]}]} for m in messages]
    how = {"add_generation_prompt": True}
    if continued:
        begun = "Action:"
        content = [{"type": "text", "text": begun}] if name.startswith(PARTS) else begun
        messages, how = [*messages, says("assistant", content)], {"continue_final_message": True}
    text = tokenizer.apply_chat_template(messages, tokenize=False, **how, **kwargs)
    return text.removesuffix("Action:") if continued else text


def check(name: str, turns, continued: bool = False, **kwargs) -> int:
    """The number of sequences in which the answers of a dialogue are learnt, after looking at all
    of their tokens."""
    tokenizer = tokenizer_for(name)
    messages = dialogue(turns)
    rows = sequences(
        messages[:1],
        messages[1:],
        tokenizer,
        of_tokenizer(tokenizer, name, kwargs),
        continued=continued,
    )
    learnt = [(row, begin, end) for row in rows for begin, end in runs(row)]
    assert len(learnt) == len(turns)
    for k, (row, begin, end) in enumerate(learnt):
        given = written(tokenizer, row["input_ids"][:begin])
        prompt = asked(name, messages[: 2 * k + 1], continued, kwargs)
        # A begun answer and the space before it are given, and so tokenized, as one.
        assert given == prompt or (continued and given == prompt.removesuffix(" "))
        text = written(tokenizer, row["input_ids"][begin:end])
        channel = "" if continued else CHANNELS.get(name.removesuffix("_training"), "")
        assert text.startswith(channel)
        said = text.removeprefix(channel).lstrip()
        assert said.startswith(turns[k][1])
        closing = said.removeprefix(turns[k][1])
        assert re.fullmatch(rf"(\s*({SPECIAL}|</s>))+\s*", closing), closing
    return len(rows)


def is_refused(name: str, continued: bool, kwargs) -> bool:
    if continued or not name.startswith(THINKING):
        return False
    return name.startswith(NEVER_OFF) or kwargs != OFF


@pytest.mark.skipif(not NAMES, reason="this TRL ships no chat templates")
@pytest.mark.parametrize("kwargs", [{}, OFF], ids=["as_it_comes", "off"])
@pytest.mark.parametrize("continued", [False, True], ids=["asked", "continued"])
@pytest.mark.parametrize("name", [*NAMES, "tiny"])
def test_every_answer_is_learnt_as_it_is_asked_for_or_the_training_refused(name, continued, kwargs):
    if is_refused(name, continued, kwargs):
        with pytest.raises(InputError, match=f"{name}: its chat template has the model think"):
            check(name, EPISODE, **kwargs)
    else:
        check(name, EPISODE, continued, **kwargs)


TEXT = st.text("ab .:,1é你\n", min_size=1, max_size=12).map(str.strip).filter(bool)


@examples(150)
@given(
    name=st.sampled_from([*NAMES, "tiny"]),
    turns=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4),
    continued=st.booleans(),
    kwargs=st.sampled_from([{}, OFF]),
)
def test_whatever_is_said(name, turns, continued, kwargs):
    if not is_refused(name, continued, kwargs):
        check(name, turns, continued, **kwargs)


@pytest.mark.parametrize(
    ("name", "continued", "kwargs", "count"),
    [
        ("tiny", False, {}, 1),
        ("llama3_1", False, {}, 1),
        ("phi3", False, {}, 1),
        ("qwen3", False, {}, 1),
        # The last answer alone follows an empty thought.
        ("qwen3", False, OFF, 3),
        ("qwen3", True, {}, 3),
        ("qwen3_5_nothink", False, {}, 3),
        # The last answer alone ends with the token at which the model stops.
        ("gptoss", False, {}, 3),
    ],
)
def test_a_dialogue_is_one_sequence_where_the_template_keeps_it(name, continued, kwargs, count):
    assert check(name, EPISODE, continued, **kwargs) == count


def own(template: str):
    tokenizer = make_tokenizer(["go to the room"])
    tokenizer.chat_template = template
    return tokenizer, of_tokenizer(tokenizer, "mine", {})


def learnt(tokenizer, template, messages, n_prompt: int = 1) -> list[str]:
    rows = sequences(messages[:n_prompt], messages[n_prompt:], tokenizer, template)
    return [written(tokenizer, r["input_ids"][a:b]) for r in rows for a, b in runs(r)]


def test_a_blank_answer_is_read_but_not_learnt():
    messages = dialogue([("one", " \n"), ("two", "go")])
    tokenizer, template = own(TEMPLATE)
    assert learnt(tokenizer, template, messages) == ["go</s>"]
    assert sequences(messages[:1], messages[1:2], tokenizer, template) == []


@pytest.mark.parametrize(
    ("content", "shown"), [("m['content']", "\n go \n</s>"), ("m['content'] | trim", "go</s>")]
)
def test_an_answer_is_learnt_as_the_template_shows_it(content, shown):
    tokenizer, template = own(TEMPLATE.replace("m['content']", content))
    assert learnt(tokenizer, template, dialogue([("one", "\n go \n"), ("two", "\n go \n")])) == [
        shown,
        shown,
    ]


def test_no_token_reaches_from_what_is_given_into_the_answer():
    tokenizer = make_tokenizer(["assistant\n\n\n\ngo"] * 50)
    template = of_tokenizer(tokenizer, "mine", {})
    messages = dialogue([("one", "\n\ngo"), ("two", "go")])
    [row] = sequences(messages[:1], messages[1:], tokenizer, template)
    given = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True)["input_ids"]
    assert row["input_ids"][: len(given)] == given
    whole = tokenizer.apply_chat_template(messages)["input_ids"]
    assert whole[: len(given)] != given
    assert [written(tokenizer, row["input_ids"][a:b]) for a, b in runs(row)] == [
        "\n\ngo</s>",
        "go</s>",
    ]


def test_an_answer_with_its_own_thought_goes_on_where_the_template_begins_one():
    template = ChatTemplate("r1", (TRLS / "deepseek_r1_distill.jinja").read_text("utf-8"))
    asked_for, answer = turn(
        template, [says("user", "hm")], "<think>\nwell\n</think>\n\nStep 1: Go"
    )
    assert asked_for.endswith("<think>\n")
    assert answer == "well\n</think>\n\nStep 1: Go<｜end▁of▁sentence｜>"


def test_both_sides_of_a_pair_follow_what_the_model_is_given():
    tokenizer = tokenizer_for("qwen3")
    template = of_tokenizer(tokenizer, "qwen3", {})
    prompt = [says("user", "task")]
    for text in ("Step 1: Go", "Step 2: Go"):
        given, answer = answer_tokens(prompt, says("assistant", text), tokenizer, template)
        assert written(tokenizer, given) == asked("qwen3", prompt, False, {})
        assert written(tokenizer, answer) == f"{text}<|im_end|>\n"


PLAIN = "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}EOT{% endfor %}"
ASK = "{% if add_generation_prompt %}<s>assistant\n{% endif %}"


@pytest.mark.parametrize(
    ("template", "messages", "refusal"),
    [
        (
            "gemma",
            [says("system", "be brief"), *dialogue(EPISODE)],
            r"mine: its chat template refuses a system message \(System role not supported\); put",
        ),
        (
            "gemma",
            [says("user", "a"), says("user", "b"), says("assistant", "c")],
            r"refuses two messages of one role in a row \(.*must alternate",
        ),
        (
            "{% for m in messages if m['role'] != 'system' %}<s>{{ m['role'] }}\n"
            "{{ m['content'] }}</s>{% endfor %}" + ASK,
            [says("system", "be brief"), *dialogue(EPISODE)],
            "drops a system message",
        ),
        (
            PLAIN.replace("EOT", "[END]\n") + ASK,
            dialogue(EPISODE),
            "no special token for the model",
        ),
        (
            "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %}",
            dialogue(EPISODE),
            "writes nothing after an answer",
        ),
        (
            "{% for m in messages if m['role'] == 'user' %}<s>{{ m['content'] }}</s>{% endfor %}",
            dialogue(EPISODE),
            "drops an assistant's message",
        ),
        ("{{ messages[9]['content'] }}", dialogue(EPISODE), "refuses a conversation of user"),
        (
            TEMPLATE.replace("<s>assistant\n{% endif %}", "<s>assistant\n<mind>\n{% endif %}"),
            dialogue(EPISODE),
            "has the model think before it answers",
        ),
    ],
)
def test_what_cannot_be_learnt_is_refused_in_one_line(template, messages, refusal):
    if template in NAMES:
        template = (TRLS / f"{template}.jinja").read_text(encoding="utf-8")
    tokenizer, template = own(template)
    n_prompt = next(k for k, m in enumerate(messages) if m["role"] == "assistant")
    with pytest.raises(InputError, match=refusal) as caught:
        learnt(tokenizer, template, messages, n_prompt)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_template_is_refused():
    tokenizer = make_tokenizer(["go"])
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="base: the model has no chat template, as base models"):
        of_tokenizer(tokenizer, "base", {})
