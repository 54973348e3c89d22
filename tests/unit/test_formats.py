import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpo_core.errors import InputError
from mpo_core.formats import (
    PlanRow,
    PreferenceRow,
    SftRow,
    bound_plans,
    preference,
    prompt_completion,
    published_pair,
    published_plans,
    read_rows,
    training_rows,
    write_rows,
)
from mpo_core.types import Plan, PlanScore, PreferencePair
from tests.fakes import task

# Text that a JSON file can hold; lone surrogates cannot be written as UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
human = st.fixed_dictionaries({"from": st.just("human"), "value": texts})
gpt = st.fixed_dictionaries({"from": st.just("gpt"), "value": texts})
rows = {
    SftRow: st.fixed_dictionaries(
        {"conversations": st.tuples(human, gpt).map(list)}, optional={"system": texts}
    ),
    PreferenceRow: st.fixed_dictionaries(
        {"conversations": human.map(lambda turn: [turn]), "chosen": gpt, "rejected": gpt},
        optional={"reward": st.dictionaries(texts, st.floats(0, 1))},
    ),
    PlanRow: st.fixed_dictionaries(
        {"task": texts, "workflow": texts | st.lists(texts, min_size=1, max_size=3)},
        optional={"id": texts | st.integers()},
    ),
}


def parsed(path):
    text = path.read_text()
    # Not by splitlines(), which also splits at characters that JSON holds as they are.
    lines = [line for line in text.split("\n") if line]
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in lines]


@pytest.mark.parametrize(("kind", "suffix"), [(k, s) for k in rows for s in ("json", "jsonl")])
@settings(max_examples=25)
@given(data=st.data())
def test_a_published_file_comes_back_as_it_was(kind, suffix, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    content = data.draw(st.lists(rows[kind], min_size=1, max_size=3))
    lines = [json.dumps(row) + "\n" for row in content]
    text = "".join(lines) if suffix == "jsonl" else json.dumps(content, indent=4)
    theirs, ours = folder / f"theirs.{suffix}", folder / f"ours.{suffix}"
    theirs.write_text(text)
    write_rows(ours, read_rows(theirs, kind))
    assert parsed(ours) == parsed(theirs) == content


def test_lines_end_at_line_feeds_only(tmp_path):
    file = tmp_path / "plans.jsonl"
    row = {"id": 1, "task": "a\u2028b", "workflow": "Step 1: X.\x85"}
    file.write_text(json.dumps(row, ensure_ascii=False) + "\n")
    [read] = read_rows(file, PlanRow)
    assert (read.task, read.workflow) == (row["task"], row["workflow"])


def pair() -> PreferencePair:
    return PreferencePair(
        task_id=task().id,
        prompt=[{"role": "user", "content": "Plan for: Open door 0."}],
        chosen=[{"role": "assistant", "content": "Step 1: Knock."}],
        rejected=[{"role": "assistant", "content": "Step 1: Shout."}],
        chosen_score=PlanScore.of(task().id, "a", [1.0, 0.5]),
        rejected_score=PlanScore.of(task().id, "b", [0.0, 0.0]),
        rule="best_worst",
    )


def test_our_pairs_are_written_as_published_ones_are():
    row = published_pair(pair())
    assert row.model_dump(by_alias=True) == {
        "conversations": [{"from": "human", "value": "Plan for: Open door 0."}],
        "chosen": {"from": "gpt", "value": "<workflow>\nStep 1: Knock.\n</workflow>"},
        "rejected": {"from": "gpt", "value": "<workflow>\nStep 1: Shout.\n</workflow>"},
        "reward": {"chosen": 0.75, "rejected": 0.0},
    }


def test_published_rows_become_trls_conversations():
    turns = preference(published_pair(pair()))
    assert turns["prompt"] == pair().prompt
    assert turns["chosen"][0]["role"] == "assistant"
    sft = SftRow(conversations=[{"from": "human", "value": "P"}, {"from": "gpt", "value": "A"}])
    assert prompt_completion(sft) == {
        "prompt": [{"role": "user", "content": "P"}],
        "completion": [{"role": "assistant", "content": "A"}],
    }


def test_plans_come_back_to_their_tasks_by_id_or_by_text(tmp_path):
    tasks = [task(0), task(1)]
    plans = [Plan.of(t.id, f"Step 1: {t.id}.", "me") for t in tasks]
    file = tmp_path / "plans.jsonl"
    write_rows(file, published_plans(plans, tasks, lambda t: str(t.variation)))
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == ["0", "1"]
    for naming in (lambda t: str(t.variation), lambda t: "unheard of"):
        found = bound_plans([file], tasks[::-1], naming)
        assert [(p.task_id, p.text) for p in found] == [(p.task_id, p.text) for p in plans[::-1]]
        assert {p.origin for p in found} == {"file:plans.jsonl"}


def test_sampled_plans_are_read_without_their_tags(tmp_path):
    file = tmp_path / "sampled.jsonl"
    workflows = ["<workflow>\nStep 1: A.\n</workflow>", "Step 1: B."]
    file.write_text(json.dumps({"id": "0_0", "task": "T", "workflow": workflows}) + "\n")
    found = bound_plans([file], [task()], lambda _: "0_0")
    assert [(p.text, p.sample) for p in found] == [("Step 1: A.", 0), ("Step 1: B.", 1)]


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        ("", PlanRow, "no rows"),
        ("[1, 2", SftRow, "not JSON"),
        ("[1, 2]", SftRow, "row 1"),
        ('[{"conversations": []}]', PreferenceRow, "row 1: conversations"),
        ('{"task": "T"}\n', PlanRow, "row 1: workflow: Field required"),
        ('[{"conversations": [{"from": "me", "value": ""}]}]', PreferenceRow, "conversations.0"),
    ],
)
def test_a_file_of_another_kind_is_named(content, kind, says, tmp_path):
    file = tmp_path / "file.json"
    file.write_text(content)
    with pytest.raises(InputError, match=says) as raised:
        read_rows(file, kind)
    assert str(file) in str(raised.value)


def test_a_task_without_a_plan_in_the_file_is_named(tmp_path):
    file = tmp_path / "plans.jsonl"
    file.write_text(json.dumps({"id": 7, "task": "Open door 7.", "workflow": "Step 1: X."}) + "\n")
    with pytest.raises(InputError, match="no plan for 1 of 1 tasks, the first toy/door/0"):
        bound_plans([file], [task()], lambda t: t.id)


def test_every_form_of_a_training_file_gives_the_same_rows(tmp_path):
    human = {"from": "human", "value": "Boil."}
    good, bad = ({"from": "gpt", "value": f"<workflow>\n{x}\n</workflow>"} for x in "gb")
    prompt = [{"role": "user", "content": "Boil."}]
    chosen, rejected = (
        [{"role": "assistant", "content": f"<workflow>\n{x}\n</workflow>"}] for x in "gb"
    )
    forms = {
        ("dpo", "published.json"): {"conversations": [human], "chosen": good, "rejected": bad},
        ("dpo", "trl.jsonl"): {"prompt": prompt, "chosen": chosen, "rejected": rejected, "rule": 1},
        ("sft", "published.json"): {"conversations": [human, good]},
        ("sft", "trl.jsonl"): {"prompt": prompt, "completion": chosen, "origin": "x"},
    }
    expected = {
        "dpo": [{"prompt": prompt, "chosen": chosen, "rejected": rejected}] * 2,
        "sft": [{"prompt": prompt, "completion": chosen}] * 2,
    }
    for (method, name), row in forms.items():
        path = tmp_path / f"{method}-{name}"
        lines = [json.dumps(row)] * 2
        path.write_text("\n".join(lines) if name == "trl.jsonl" else f"[{', '.join(lines)}]")
        assert training_rows(path, method) == expected[method]


@pytest.mark.parametrize("content", ["", "[]", "nonsense", '[{"a": 1}]', "[1]", '{"prompt": []}'])
def test_a_file_that_is_no_training_file_is_refused(content, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"rows\.json: (row 1|not JSON|no rows)"):
        training_rows(path, "dpo")
