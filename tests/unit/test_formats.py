import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.demonstrations import of_plan
from mpo_core.errors import InputError
from mpo_core.files import write_records
from mpo_core.formats import (
    ROWS,
    PlanRow,
    PreferenceRow,
    SftRow,
    bound_plans,
    plans_by_text,
    published_demonstration,
    published_pair,
    published_plans,
    read_rows,
    training_rows,
    write_rows,
)
from mpo_core.prompts import load_prompts
from mpo_core.types import Demonstration, Plan, PlanScore, PreferencePair
from tests.fakes import task
from tests.thoroughness import examples

# Text that a JSON file can hold; lone surrogates cannot be written as UTF-8.
# A task or a plan of blanks alone is none.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
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
@examples(25)
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
        "chosen": {"from": "gpt", "value": "Step 1: Knock."},
        "rejected": {"from": "gpt", "value": "Step 1: Shout."},
        "reward": {"chosen": 0.75, "rejected": 0.0},
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


def plan_file(folder, *workflows, encoding="utf-8"):
    """A file with a row a task, numbered from 0."""
    rows = [
        {"id": task(k).id, "task": task(k).description, "workflow": workflow}
        for k, workflow in enumerate(workflows)
    ]
    path = folder / "plans.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding=encoding)
    return path


def plans_in(path, *numbers):
    found = bound_plans([path], [task(k) for k in numbers], lambda t: t.id)
    return [plan.text for plan in found]


AS_IT_IS = [
    "Step 1: Go to the kitchen.\nStep 2: Look around.",
    "Step 1: Only one",
    "Step 1: Go.\n\nStep 2: Look.",
    "Step 1: Go:\n   - to the kitchen\n   - to the stove\nStep 2: Look.",
    "Step 1: Go:\n- to the kitchen\nStep 2: Look.",
    "Step 1:  Two  spaces , and a blank at the end \nStep 2: Look.",
    "\n".join(f"Step {k}: Do it, *really*, 1. and 2)." for k in range(1, 12)),
    "Step 1: Geh in die Küche\u2028oder nicht.",
]


@pytest.mark.parametrize("text", AS_IT_IS)
@pytest.mark.parametrize("form", ["{}", "<workflow>\n{}\n</workflow>", "<PLAN>{}</PLAN>\n"])
def test_a_published_plan_is_played_as_it_is(form, text, tmp_path):
    assert plans_in(plan_file(tmp_path, form.format(text)), 0) == [text]


@given(
    st.lists(st.from_regex(r"[A-Za-z][A-Za-z0-9 ,.'()-]{0,40}[a-z.]", fullmatch=True), min_size=1)
)
def test_any_numbered_lines_are_played_as_they_are(tmp_path_factory, steps):
    text = "\n".join(f"Step {k}: {step}" for k, step in enumerate(steps, start=1))
    path = plan_file(tmp_path_factory.getbasetemp(), text, [text, f"<workflow>{text}</workflow>"])
    assert plans_in(path, 0, 1) == [text] * 3


GO = "Step 1: Go.\nStep 2: Look."


@pytest.mark.parametrize(
    "workflow",
    [
        f"<think>Step 1: Perhaps.\nOr not.</think>\n<workflow>\n{GO}\n</workflow>",
        f"<think>\n<workflow>\nStep 1: Draft.\n</workflow>\n</think>\n{GO}",
        f"Sure! Here is the workflow:\n<workflow>\n{GO}\n</workflow>\nGood luck!",
        "1. Go.\n2. Look.",
        str([GO]),
        json.dumps([GO]),
        str(["Step 1: Go.", "Step 2: Look."]),
        ["Step 1: Go.", "Step 2: Look."],
        ["1. Go.", "2. Look."],
        [f"<workflow>\n{GO}\n</workflow>"],
        f"{GO}<|eot_id|>",
        GO.replace("\n", "\\n"),
    ],
)
def test_a_plan_as_a_model_wrote_it_is_read_like_a_planners_answer(workflow, tmp_path):
    assert plans_in(plan_file(tmp_path, workflow), 0) == [GO]


def test_unnumbered_lines_between_tags_are_a_plan(tmp_path):
    [plan] = plans_in(plan_file(tmp_path, "<workflow>\nGo there.\nLook.\n</workflow>"), 0)
    assert [word in plan for word in ("Go there.", "Look.", "<")] == [True, True, False]


@pytest.mark.parametrize(
    "workflow",
    [
        "",
        "   ",
        "E",
        "R",
        "ERROR",
        "Error: 429 Too Many Requests",
        "<workflow>\nERROR\n</workflow>",
        "RateLimitError: 1. Wait. 2. Try again.",
        "Traceback (most recent call last):\n1: x",
        "openai.RateLimitError: busy\nStep 1: x",
        "Step 1: Error: 429 Too Many Requests",
        "Error code: 500 - {'error': {'message': 'overloaded'}}",
        "<workflow>\n\n</workflow>",
        "<think>Step 1: I wonder",
        "I cannot help with that.",
        "Step 1: *",
        [],
        ["E", "R", "R", "O", "R"],
        [GO, ""],
        "[]",
    ],
)
def test_what_is_no_plan_is_refused_with_its_row_and_its_beginning(workflow, tmp_path):
    path = plan_file(tmp_path, GO, workflow)
    with pytest.raises(InputError) as raised:
        plans_in(path, 0, 1)
    shown = workflow if isinstance(workflow, str) else next((w for w in workflow if w != GO), "")
    assert str(raised.value).startswith(f"{path}: row 2: no plan (")
    assert f"{shown[:80]!r}" in str(raised.value) or workflow == []
    assert "\n" not in str(raised.value)
    # What belongs to no task of the run is not played.
    assert plans_in(path, 0) == [GO]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_plan_file_may_begin_with_a_byte_order_mark(encoding, tmp_path):
    assert plans_in(plan_file(tmp_path, "Step 1: Öffne.", encoding=encoding), 0) == [
        "Step 1: Öffne."
    ]


def test_half_a_character_in_a_plan_is_named(tmp_path):
    with pytest.raises(InputError, match=r"plans\.jsonl: row 1: .*surrogates"):
        plans_in(plan_file(tmp_path, "Step 1: \ud83d"), 0)


plans = st.lists(texts, min_size=1, max_size=4).map(
    lambda steps: "\n".join(f"Step {k}: Do {step}." for k, step in enumerate(steps, start=1))
)
tagged = plans.map(lambda plan: f"<workflow>\n{plan}\n</workflow>")
answers = st.fixed_dictionaries({"from": st.just("gpt"), "value": plans | tagged})
asked = st.tuples(
    st.fixed_dictionaries({"from": st.just("human"), "value": texts.filter(str.strip)})
).map(list)
published = st.builds(
    lambda asked, chosen, rejected: {
        "conversations": asked,
        "chosen": chosen,
        "rejected": rejected,
    },
    asked,
    answers,
    answers,
)


@given(st.lists(published, min_size=1, max_size=3))
def test_published_rows_trained_and_exported_are_the_same_text(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("trip")
    score = PlanScore.of("t", "p", [1.0])
    theirs = {
        "dpo": rows,
        "sft": [{"conversations": [*row["conversations"], row["chosen"]]} for row in rows],
    }
    for method, content in theirs.items():
        (folder / "theirs.json").write_text(json.dumps(content))
        trained = training_rows(folder / "theirs.json", method)
        if method == "sft":
            records = [Demonstration(task_id="t", origin="o", **row) for row in trained]
            write_rows(folder / "ours.json", map(published_demonstration, records))
        else:
            scores = {"chosen_score": score, "rejected_score": score, "rule": "margin"}
            records = [PreferencePair(task_id="t", **scores, **row) for row in trained]
            write_rows(folder / "ours.json", map(published_pair, records))
        ours = parsed(folder / "ours.json")
        assert [{k: v for k, v in row.items() if k != "reward"} for row in ours] == content
        assert training_rows(folder / "ours.json", method) == trained


def test_a_plan_after_an_example_is_the_only_one_learnt_again(tmp_path):
    prompts = {"scienceworld": load_prompts("scienceworld")}
    boil = task().model_copy(update={"env": "scienceworld"})
    shown = of_plan(Plan.of(boil.id, GO, "o"), boil, prompts)
    write_rows(tmp_path / "sft.json", [published_demonstration(shown)])
    [row] = training_rows(tmp_path / "sft.json", "sft")
    assert row == {"prompt": shown.prompt, "completion": shown.completion}
    assert [turn["role"] for turn in row["prompt"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        ("", PlanRow, "no rows"),
        ("[1, 2", SftRow, "not JSON"),
        ("[1, 2]", SftRow, "row 1"),
        ('[{"conversations": []}]', PreferenceRow, "row 1: conversations"),
        ('{"task": "T"}\n', PlanRow, "row 1: plan: missing; the row has task; a row is"),
        ('{"task": "T", "plan": 5}\n', PlanRow, "row 1: plan: expected a plan's text, .* found 5"),
        ('{"task": "T", "workflow": [1]}\n', PlanRow, r"workflow: expected .* found \[1\]"),
        ('{"task": "T", "text": "x"}\n', PlanRow, r'"plan": "Step 1: ..."\}$'),
        ('{"plan": "Step 1: x."}\n', PlanRow, "names no task"),
        ('[{"conversations": [{"from": "me", "value": ""}]}]', PreferenceRow, "conversations.0"),
    ],
)
def test_a_file_of_another_kind_is_named(content, kind, says, tmp_path):
    file = tmp_path / "file.json"
    file.write_text(content)
    with pytest.raises(InputError, match=says) as raised:
        read_rows(file, kind)
    assert str(file) in str(raised.value) and ".py" not in str(raised.value)


@pytest.mark.parametrize("kind", ROWS)
def test_the_row_that_an_error_shows_is_one(kind):
    shown = ROWS[kind].replace("...}", '"value": "..."}')
    kind.model_validate(json.loads(shown.replace("Step 1: ...", "Step 1: Go.")))


@pytest.mark.parametrize("plan", ["Find a pot.\nHeat it.", "* Find a pot.", "Find a pot."])
def test_a_plan_without_steps_is_told_what_steps_look_like(plan, tmp_path):
    file = tmp_path / "plans.jsonl"
    file.write_text(json.dumps({"task": "T", "plan": plan}))
    with pytest.raises(InputError, match=r"no plan \(no steps\).*`Step 1: \.\.\.` or"):
        plans_by_text(file)


def test_a_task_without_a_plan_in_the_file_is_named(tmp_path):
    file = tmp_path / "plans.jsonl"
    file.write_text(json.dumps({"id": 7, "task": "Open door 7.", "workflow": "Step 1: X."}) + "\n")
    with pytest.raises(InputError, match="no plan for 1 of 1 tasks, the first toy/door/0"):
        bound_plans([file], [task()], lambda t: t.id)


def test_every_form_of_a_training_file_gives_the_same_rows(tmp_path):
    human = {"from": "human", "value": "Boil."}
    plans = [f"<workflow>\nStep 1: {name}.\n</workflow>" for name in ("Good", "Bad")]
    good, bad = ({"from": "gpt", "value": plan} for plan in plans)
    prompt = [{"role": "user", "content": "Boil."}]
    chosen, rejected = ([{"role": "assistant", "content": plan}] for plan in plans)
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


def test_the_suites_own_file_of_plans_is_read_with_all_samples(tmp_path):
    tasks = [task(0), task(1)]
    own = [
        Plan.of(asked.id, f"Step 1: Try {asked.variation} in way {k}.", "planner", k)
        for asked in tasks
        for k in range(2)
    ]
    path = tmp_path / "base-train.jsonl"
    write_records(path, own)
    found = bound_plans([path], tasks, published_id=lambda asked: "")
    assert [(p.task_id, p.text, p.sample) for p in found] == [
        (p.task_id, p.text, p.sample) for p in own
    ]


def test_a_row_of_plans_needs_an_id_or_a_task(tmp_path):
    path = tmp_path / "plans.jsonl"
    path.write_text(json.dumps({"id": task(0).id, "workflow": "Step 1: Knock."}) + "\n")
    assert bound_plans([path], [task(0)], lambda _: "")[0].text == "Step 1: Knock."
    path.write_text(json.dumps({"workflow": "Step 1: Knock."}) + "\n")
    with pytest.raises(InputError, match=r"row 1: .*names no task"):
        bound_plans([path], [task(0)], lambda _: "")
