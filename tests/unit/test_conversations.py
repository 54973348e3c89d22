"""Training files in the forms that people have: read to the same rows, or refused with the row."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mpo_core.conversations import PreferenceExample, SftExample
from mpo_core.formats import training_rows
from tests.thoroughness import examples
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


def with_system(row):
    return row | {"prompt": [system(), *row["prompt"]]}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param({"prompt": ASKED, "chosen": GOOD, "rejected": BAD}, PAIR, id="trl standard"),
        pytest.param(PAIR | {"score_chosen": 8.5}, PAIR, id="trl conversational"),
        pytest.param(PAIR | {"chosen": GOOD, "rejected": BAD}, PAIR, id="trl mixed"),
        pytest.param(PAIR | {"chosen": assistant(), "rejected": assistant(BAD)}, PAIR, id="a turn"),
        pytest.param(
            {"chosen": [user(), assistant()], "rejected": [user(), assistant(BAD)]},
            PAIR,
            id="implicit prompt",
        ),
        pytest.param(
            {
                "chosen": [system(), user("a"), assistant("b"), user(), assistant()],
                "rejected": [system(), user("a"), assistant("b"), user(), assistant(BAD)],
            },
            PAIR | {"prompt": [system(), user("a"), assistant("b"), user()]},
            id="implicit prompt of several turns",
        ),
        pytest.param(
            {"chosen": [user(), assistant()], "rejected": [user(), assistant()]},
            PAIR | {"rejected": [assistant()]},
            id="implicit prompt of equal answers",
        ),
        pytest.param(
            {
                "prompt": ASKED,
                "prompt_id": "f0e3",
                "chosen": [user(), assistant()],
                "rejected": [user(), assistant(BAD)],
                "messages": [user(), assistant()],
                "score_chosen": 6.0,
                "score_rejected": 4.0,
            },
            PAIR,
            id="ultrafeedback_binarized",
        ),
        pytest.param(
            PAIR | {"chosen": [user(), assistant()], "rejected": [user(), assistant(BAD)]},
            PAIR,
            id="prompt twice",
        ),
        pytest.param(
            {
                "prompt": "first",
                "chosen": [user("first"), assistant("b"), user(), assistant()],
                "rejected": [user("first"), assistant("b"), user(), assistant(BAD)],
            },
            PAIR | {"prompt": [user("first"), assistant("b"), user()]},
            id="the prompt is the first of several turns",
        ),
        pytest.param(
            {
                "prompt": [human()],
                "chosen": [{"role": "gpt", "content": GOOD}],
                "rejected": [{"role": "Assistant", "content": BAD}],
            },
            PAIR,
            id="other names of roles",
        ),
        pytest.param(
            {"conversations": [human()], "chosen": gpt(), "rejected": gpt(BAD)},
            PAIR,
            id="sharegpt",
        ),
        pytest.param(
            {
                "conversations": [human()],
                "chosen": gpt(),
                "rejected": gpt(BAD),
                "system": "Be brief.",
                "tools": "[]",
            },
            with_system(PAIR),
            id="sharegpt with a system text",
        ),
        pytest.param(
            {
                "conversations": [{"from": "system", "value": "Be brief."}, human()],
                "chosen": gpt(),
                "rejected": gpt(BAD),
                "system": "",
            },
            with_system(PAIR),
            id="sharegpt with a system turn",
        ),
        pytest.param(
            {"messages": [user()], "chosen": assistant(), "rejected": assistant(BAD)},
            PAIR,
            id="messages as the prompt",
        ),
        pytest.param(
            {"instruction": "Plan: boil", "input": "water.", "chosen": GOOD, "rejected": BAD},
            PAIR | {"prompt": [user("Plan: boil\nwater.")]},
            id="alpaca",
        ),
        pytest.param(
            PAIR | {"prompt": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]},
            PAIR,
            id="content in parts",
        ),
        pytest.param(
            PAIR | {"chosen": [assistant() | {"tool_calls": None, "name": None}]},
            PAIR,
            id="empty parts of a turn",
        ),
        pytest.param(PAIR | {"chosen": ""}, PAIR | {"chosen": [assistant("")]}, id="blank answer"),
    ],
)
def test_every_form_of_a_preference_is_read(row, expected, tmp_path):
    assert training_rows(written(tmp_path, row, row), "dpo") == [expected] * 2
    # What is written for a training is read there as it is.
    assert PreferenceExample.model_validate(expected).model_dump() == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param({"prompt": ASKED, "completion": GOOD}, SHOWN, id="trl standard"),
        pytest.param(SHOWN | {"origin": "x"}, SHOWN, id="trl conversational"),
        pytest.param({"prompt": ASKED, "completion": [assistant()]}, SHOWN, id="trl mixed"),
        pytest.param(SHOWN | {"completion": [user(), assistant()]}, SHOWN, id="prompt twice"),
        pytest.param({"messages": [user(), assistant()]}, SHOWN, id="messages"),
        pytest.param({"conversations": [human(), gpt()]}, SHOWN, id="sharegpt"),
        pytest.param({"conversations": [user(), assistant()]}, SHOWN, id="roles in conversations"),
        pytest.param(
            {"conversations": [human(), gpt()], "system": "Be brief.", "tools": ""},
            with_system(SHOWN),
            id="sharegpt with a system text",
        ),
        pytest.param(
            {"prompt": ASKED, "completion": GOOD, "system_prompt": "Be brief."},
            with_system(SHOWN),
            id="a system text by its other name",
        ),
        pytest.param(
            {"messages": [system() | {"role": "developer"}, user(), assistant() | {"role": "ai"}]},
            with_system(SHOWN),
            id="roles by their other names",
        ),
        pytest.param(
            {"messages": [system(), user(), assistant()], "system": "Be brief."},
            with_system(SHOWN),
            id="the system text twice",
        ),
        pytest.param(
            {"prompt": ASKED, "messages": [user(), assistant()], "chosen": [], "rejected": []},
            SHOWN,
            id="ultrafeedback_binarized",
        ),
        pytest.param(
            {"messages": [user("a"), assistant("b"), user("c"), assistant("d")]},
            {"prompt": [user("a")], "completion": [assistant("b"), user("c"), assistant("d")]},
            id="every answer",
        ),
        pytest.param(
            {"messages": [user("a"), assistant("b") | {"weight": 0}, user("c"), assistant("d")]},
            {"prompt": [user("a"), assistant("b"), user("c")], "completion": [assistant("d")]},
            id="an answer without weight",
        ),
        pytest.param(
            {"messages": [user("a"), assistant("b") | {"train": False}, user("c"), assistant("d")]},
            {"prompt": [user("a"), assistant("b"), user("c")], "completion": [assistant("d")]},
            id="an answer not trained",
        ),
        pytest.param({"instruction": ASKED, "input": "", "output": GOOD}, SHOWN, id="alpaca"),
        pytest.param(
            {
                "instruction": ASKED,
                "output": GOOD,
                "history": [["a", "b"]],
                "system": "Be brief.",
            },
            {"prompt": [system(), user("a"), assistant("b"), user()], "completion": [assistant()]},
            id="alpaca with a history",
        ),
    ],
)
def test_every_form_of_a_demonstration_is_read(row, expected, tmp_path):
    assert training_rows(written(tmp_path, row, row), "sft") == [expected] * 2
    assert SftExample.model_validate(expected).model_dump() == expected


def as_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


def as_text(form, encoding="utf-8"):
    return lambda path, rows: path.write_bytes(form(rows).encode(encoding))


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "write", "n"),
    [
        ("list.json", as_text(json.dumps), 2),
        ("lines.jsonl", as_text(lines), 2),
        ("lines.json", as_text(lambda rows: lines(rows).rstrip()), 2),
        ("object.json", as_text(lambda rows: json.dumps(rows[0], indent=4)), 1),
        ("objects.json", as_text(lambda rows: "\n".join(json.dumps(r, indent=1) for r in rows)), 2),
        ("crlf.jsonl", as_text(lambda rows: lines(rows).replace("\n", "\r\n")), 2),
        ("bom.json", as_text(json.dumps, "utf-8-sig"), 2),
        ("bom.jsonl", as_text(lines, "utf-8-sig"), 2),
        ("joined.jsonl", as_text(lambda rows: "".join(f"\ufeff{lines([r])}" for r in rows)), 2),
        ("utf16.jsonl", as_text(lines, "utf-16"), 2),
        ("table.parquet", as_parquet, 2),
        ("lists.json", as_text(lambda rows: "".join(json.dumps([row]) for row in rows)), 2),
    ],
)
def test_rows_are_read_from_files_as_people_save_them(name, write, n, tmp_path):
    rows = [PAIR, PAIR | {"prompt": [user("Grüße, 雪")]}]
    write(tmp_path / name, rows)
    assert training_rows(tmp_path / name, "dpo") == rows[:n]


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
exchanges = st.lists(st.tuples(texts, texts), max_size=2).map(
    lambda found: [turn for asked, said in found for turn in (user(asked), assistant(said))]
)
prompts = st.builds(
    lambda first, before, asked: [*first, *before, user(asked)],
    st.just([]) | texts.map(lambda text: [system(text)]),
    exchanges,
    texts.filter(lambda text: not text.lstrip().startswith("[{")),
)


@pytest.mark.slow
@given(prompts, texts, texts)
def test_an_implicit_prompt_is_the_one_that_trl_finds(prompt, one, other):
    from trl.data_utils import extract_prompt  # Seconds to import.

    answers = [assistant(one), assistant(other)]
    whole = {
        side: [*prompt, answer]
        for side, answer in zip(("chosen", "rejected"), answers, strict=True)
    }
    expected = {"prompt": prompt, "chosen": answers[:1], "rejected": answers[1:]}
    assert PreferenceExample.model_validate(whole).model_dump() == expected
    assert PreferenceExample.model_validate(whole | {"prompt": prompt}).model_dump() == expected
    assert extract_prompt(whole) == expected


scalars = st.sampled_from([None, True, 0, 7, "", " ", "[]", "text", ASKED, GOOD, [], {}])
turns = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool", "gpt"]) | scalars,
        "from": st.sampled_from(["human", "gpt", "system", "observation"]) | scalars,
        "content": scalars | st.lists(st.fixed_dictionaries({"text": scalars}), max_size=2),
        "value": scalars,
        "weight": st.sampled_from([0, 1]) | scalars,
        "tool_calls": scalars,
    },
) | st.sampled_from([user(), assistant(), human(), gpt(), system(), [user()]])
asked = ["prompt", "messages", "conversations", "system", "tools", "instruction", "history"]
columns = [*asked, "completion", "chosen", "rejected", "input", "output", "label"]
cells = scalars | turns | st.lists(turns | scalars, max_size=4)


@examples(500)
@given(st.dictionaries(st.sampled_from(columns), cells, max_size=6) | cells)
def test_whatever_a_row_holds_it_is_read_whole_or_refused(row):
    for kind in (SftExample, PreferenceExample):
        try:
            read = kind.model_validate(row)
        except ValidationError as error:
            assert error.errors()[0]["msg"]
            continue
        # Read again, it is the same; and it is what a training can take.
        assert kind.model_validate(read.model_dump()) == read
        assert read.prompt[-1]["role"] == "user"
        sides = [turns for name, turns in read if name != "prompt"]
        assert all(turns[-1]["role"] == "assistant" for turns in sides)
