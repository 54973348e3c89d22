"""Training files that cannot be trained on as they stand: refused in one line, with the row."""

import json

import pytest

from mpo_core.errors import InputError
from mpo_core.formats import training_rows
from tests.training_files import (
    ASKED,
    BAD,
    GOOD,
    PAIR,
    SHOWN,
    assistant,
    gpt,
    human,
    system,
    user,
    written,
)

SHAREGPT = {"conversations": [human(), gpt()]}


@pytest.mark.parametrize(
    ("row", "objective", "says"),
    [
        (SHAREGPT | {"tools": '[{"name": "go"}]'}, "sft", "tools: not trained here"),
        (SHAREGPT | {"images": ["a.png"]}, "sft", "images: not trained here"),
        (PAIR | {"tools": [{"name": "go"}]}, "dpo", "tools: not trained here"),
        (
            {"conversations": [human(), {"from": "function_call", "value": "{}"}, gpt()]},
            "sft",
            "unknown role 'function_call'; known: system, human, user",
        ),
        (
            {"conversations": [human(), {"from": "observation", "value": "{}"}, gpt()]},
            "sft",
            "unknown role 'observation'; known: system, human, user",
        ),
        ({"messages": [user(), {"role": "tool", "content": ""}]}, "sft", "unknown role 'tool'"),
        ({"messages": [user(), {"content": GOOD}]}, "sft", "a turn has content; expected role and"),
        ({"messages": [user(), GOOD]}, "sft", "a turn is 'Step 1: Heat it.'"),
        (
            {"messages": [user(), {"role": "assistant", "content": None, "tool_calls": [{}]}]},
            "sft",
            "tool_calls in a turn is not trained here",
        ),
        (
            {"messages": [user(), assistant() | {"reasoning_content": "Hm."}]},
            "sft",
            "reasoning_content in a turn",
        ),
        ({"messages": [user(), assistant() | {"thinking": "Hm."}]}, "sft", "thinking in a turn"),
        (SHOWN | {"chat_template_kwargs": {"x": 1}}, "sft", "chat_template_kwargs: not trained"),
        ({"messages": [user(), assistant(None)]}, "sft", "the content of a turn is 'None'"),
        (
            {"messages": [user([{"type": "image_url"}]), assistant()]},
            "sft",
            "the content of a turn is",
        ),
        ({"messages": [user(), assistant(), user("more")]}, "sft", "a turn that nobody answers"),
        ({"conversations": [human()], "chosen": gpt(), "rejected": gpt()}, "sft", "nobody answers"),
        ({"conversations": [gpt(), human(), gpt()]}, "sft", "begins with an answer"),
        ({"messages": [{"user": "Go"}, assistant()]}, "sft", "a turn has user; expected role"),
        (SHOWN | {"chat_template_kwargs": {"a": 1}}, "sft", "chat_template_kwargs: not trained"),
        ({"messages": [user(), assistant() | {"thinking": "Hm."}]}, "sft", "thinking in a turn"),
        ({"messages": [user(), assistant() | {"train": False}]}, "sft", "or none is"),
        (None, "sft", "expected an object with columns, found 'None'"),
        ([PAIR], "dpo", "expected an object with columns, found"),
        ({"data": [PAIR]}, "dpo", "missing; the row has data"),
        (
            {"messages": [user(), user(), assistant()]},
            "sft",
            "prompt: expected user and assistant in turns",
        ),
        ({"messages": [user(), assistant(), assistant()]}, "sft", "completion: "),
        ({"messages": [user(), system(), assistant()]}, "sft", "prompt: "),
        (
            {"messages": [system(), assistant()]},
            "sft",
            "prompt: expected user and assistant in turns, user first and last, found a s",
        ),
        (
            {"messages": [user(), assistant(), user(), assistant() | {"weight": 0}]},
            "sft",
            "weight: ",
        ),
        (
            {"messages": [system("a"), user(), assistant()], "system": "b"},
            "sft",
            "system: the conversation begins with another one",
        ),
        (
            {"messages": [user(), assistant()], "conversations": [human(), gpt()]},
            "sft",
            "conversations and messages: expected one of them",
        ),
        ({"conversations": json.dumps([human(), gpt()])}, "sft", "expected a list of turns"),
        ({"prompt": ASKED, "completion": GOOD, "label": False}, "sft", "label: "),
        ({"prompt": ASKED, "completion": GOOD, "history": [["a", "b"]]}, "sft", "history: "),
        ({"instruction": 1, "output": GOOD}, "sft", "instruction, input and history: "),
        ({"instruction": ASKED, "output": GOOD, "history": [["a"]]}, "sft", "history: "),
        ({"prompt": "", "completion": GOOD}, "sft", "prompt: blank"),
        ({"prompt": None, "completion": GOOD}, "sft", "prompt: "),
        ({"prompt": 7, "completion": [user(), assistant()]}, "sft", "prompt: "),
        ({"text": f"{ASKED} {GOOD}"}, "sft", "prompt: missing; the row has "),
        ({"prompt": ASKED, "response": GOOD}, "sft", "completion: missing; the row has "),
        ({"prompt": ASKED, "chosen": GOOD}, "dpo", "rejected: missing; the row has "),
        (PAIR, "sft", "completion: missing; the row has "),
        (SHOWN, "dpo", "chosen: missing; the row has "),
        (
            SHOWN | {"completion": [user("other"), assistant()]},
            "sft",
            "does not begin with the prompt",
        ),
        ({"chosen": ASKED + GOOD, "rejected": ASKED + BAD}, "dpo", "no prompt"),
        ({"chosen": [assistant()], "rejected": [assistant(BAD)]}, "dpo", "no prompt"),
        (
            {"chosen": [user("a"), assistant()], "rejected": [user("b"), assistant()]},
            "dpo",
            "share no beginning",
        ),
        (
            PAIR | {"chosen": [user("a"), assistant()], "rejected": [user("a"), assistant(BAD)]},
            "dpo",
            "do not begin with the prompt",
        ),
        (PAIR | {"chosen": [user(), assistant()]}, "dpo", "chosen is a whole conversation"),
        (PAIR | {"chosen": [user()]}, "dpo", "chosen: expected one answer of the assistant's"),
        (
            PAIR | {"chosen": [assistant(), user(), assistant()]},
            "dpo",
            "chosen: expected one answer",
        ),
        (PAIR | {"chosen": []}, "dpo", "chosen: "),
        (PAIR | {"rejected": None}, "dpo", "rejected: "),
        (PAIR | {"prompt": [user(), assistant("Step 1:")]}, "dpo", "prompt: expected user and"),
        (PAIR | {"chosen": json.dumps([assistant()])}, "dpo", "a conversation written as text"),
        (PAIR | {"chosen": str([assistant()])}, "dpo", "a conversation written as text"),
        (["not", "a", "row"], "dpo", "row 2: "),
        # Published plans of a letter or none, as where a failed answer was taken apart.
        ({"conversations": [human(), gpt("")]}, "sft", "completion: no plan"),
        ({"conversations": [human(), gpt("E")]}, "sft", "completion: no plan"),
        ({"conversations": [human(), gpt("<workflow>\n\n</workflow>")]}, "sft", "no plan"),
        (
            {
                "conversations": [human()],
                "chosen": gpt(),
                "rejected": gpt("<workflow>R</workflow>"),
            },
            "dpo",
            "rejected: no plan",
        ),
        ({"conversations": [human()], "chosen": gpt(" "), "rejected": gpt()}, "dpo", "chosen: no"),
    ],
)
def test_what_would_not_be_trained_as_it_stands_is_refused_with_its_row(
    row, objective, says, tmp_path
):
    path = written(tmp_path, SHOWN if objective == "sft" else PAIR, row)
    with pytest.raises(InputError) as raised:
        training_rows(path, objective)
    assert str(raised.value).startswith(f"{path}: row 2: ")
    assert says in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"prompt,chosen,rejected\na,b,c\n", "not JSON"),
        (b'{"prompt": "a"\n', "not JSON"),
        (b"\x1f\x8b\x08\x00", "a gzip file; unpack it"),
        (b"PK\x03\x04\x14", "a zip or Excel file; unpack it, or save it as JSON lines"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not JSON"),
        (
            b'{"prompt": "a", "chosen": "b", "rejected": "c", "chosen": "d"}',
            "not JSON ('chosen' is",
        ),
        (b"PAR1 and no more", "not readable as Parquet"),
        (b"\xef\xbb\xbf", "no rows"),
        (b"[[[" * 100_000, "not JSON"),
        (b'{"prompt": "\\ud83d", "chosen": "a", "rejected": "b"}', "row 1: Error"),
    ],
)
def test_a_file_that_holds_no_rows_is_named_in_one_line(content, says, tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        training_rows(path, "dpo")
    message = str(raised.value)
    assert message.startswith(f"{path}: {says}") and "\n" not in message


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="not readable"):
            training_rows(path, "sft")
