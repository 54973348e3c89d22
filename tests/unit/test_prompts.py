import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.configs import named_config
from jobs.run import prompts_of
from mpo_core.errors import InputError
from mpo_core.plan_text import read_plan
from mpo_core.prompts import load_prompts
from mpo_core.reading import read_action


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("Thought: I look.\nAction: look around", "look around"),
        ("Action: open door\nObservation: It opens.\nAction: go", "open door"),
        ("Action:   `look around.`  ", "look around"),
        ('Action: "wait1"', "wait1"),
        ("I look around.", None),
        ("Action:", None),
        ("Action: ", None),
        ("Action: ...", None),
        ("", None),
    ],
)
def test_the_action_of_a_reply_is_read(reply, action):
    assert read_action(reply).action == action


@given(st.text())
def test_whatever_a_model_writes_has_an_action_of_one_line_or_none(reply):
    text, action, _ = read_action(reply)
    assert reply.startswith(text) or action is None
    assert action is None or (action and "\n" not in action)


def test_what_follows_the_action_is_dropped():
    assert read_action("Thought: a\nAction: b\nObservation: c")[0] == "Thought: a\nAction: b"


def test_conversations_alternate_and_end_with_the_user():
    prompts = load_prompts("scienceworld")
    for example in (prompts.example("boil"), ()):
        for mode in ("query", "observation", "thought"):
            opening = prompts.opening("Task.", "A room.", "Step 1: X.", mode, example=example)
            roles = [message["role"] for message in opening]
            assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_ones_own_files_replace_the_built_in_ones(tmp_path):
    folder = tmp_path / "scienceworld"
    folder.mkdir()
    (folder / "agent.txt").write_text("My agent.")
    (folder / "planner.txt").write_text("My planner: {task} in {braces}")
    own, builtin = load_prompts("scienceworld", tmp_path), load_prompts("scienceworld")
    assert own.agent == "My agent." and own.examples == builtin.examples
    assert own.planner_messages("T") == [{"role": "user", "content": "My planner: T in {braces}"}]
    assert own.fingerprint != builtin.fingerprint


@pytest.mark.parametrize("env", ["scienceworld", "alfworld"])
def test_a_teacher_is_asked_for_a_plan_of_the_task_and_the_trajectory(env):
    [asked] = load_prompts(env).teacher_messages("boil {water}", "> look")
    assert "Task: boil {water}" in asked["content"] and "> look" in asked["content"]
    assert "Step 1:" in asked["content"]
    assert "{task}" not in asked["content"] and "{trajectory}" not in asked["content"]


def test_what_the_teacher_is_asked_decides_no_episode(tmp_path):
    (tmp_path / "alfworld").mkdir()
    path = tmp_path / "alfworld" / "teacher.txt"
    path.write_text("{task} {trajectory}")
    own, builtin = load_prompts("alfworld", tmp_path), load_prompts("alfworld")
    assert own.teacher != builtin.teacher and own.fingerprint == builtin.fingerprint
    path.write_text("{task}")
    with pytest.raises(InputError, match=r"teacher prompt of alfworld lacks \{trajectory\}"):
        load_prompts("alfworld", tmp_path)


def test_the_reference_repositorys_layout_is_read(tmp_path):
    (tmp_path / "prompt" / "instructions").mkdir(parents=True)
    (tmp_path / "prompt" / "icl_examples").mkdir()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "prompt" / "instructions" / "sciworld_inst.txt").write_text("Reference agent.")
    turns = [{"role": "user", "content": "T"}, {"role": "assistant", "content": "Action: a"}]
    example = json.dumps([turns, turns])
    (tmp_path / "prompt" / "icl_examples" / "sciworld_icl.json").write_text(example)
    (tmp_path / "scripts" / "template.py").write_text(
        "import os; os._exit(1)\n"
        'SCIWORLD_TEMPLATE = """Plan {task} with {{obj}}:\n<workflow>\n"""\n'
    )
    prompts = load_prompts("scienceworld", tmp_path)
    assert prompts.agent == "Reference agent."
    assert prompts.example("boil") == turns
    # The published rows end in the template's last line end.
    assert prompts.planner_messages("T")[0]["content"] == "Plan T with {obj}:\n<workflow>\n"
    assert prompts.planner_answer("Step 1: Go.") == "<workflow>\nStep 1: Go.\n</workflow>"


BUILTIN_FINGERPRINTS = {
    "alfworld": "4c7e0c2c888936e3bc9a",
    "scienceworld": "fc6d802c7a559ce2148d",
}


@pytest.mark.parametrize("env", BUILTIN_FINGERPRINTS)
def test_the_built_in_prompts_are_the_ones_that_were_measured(env):
    # Episodes and plans are kept under it: with another, every run is played anew.
    assert load_prompts(env).fingerprint == BUILTIN_FINGERPRINTS[env]


@pytest.mark.parametrize("env", ["scienceworld", "alfworld"])
def test_the_built_in_prompts_ask_for_a_bare_plan(env):
    assert load_prompts(env).planner_answer("Step 1: Go.") == "Step 1: Go."


def planner_prompts(folder, text, example=None, encoding="utf-8"):
    (folder / "scienceworld").mkdir()
    (folder / "scienceworld" / "planner.txt").write_text(text, encoding=encoding)
    if example:
        path = folder / "scienceworld" / "planner_example.json"
        path.write_text(json.dumps([{"content": "T"}, {"content": example}]), encoding=encoding)
    return load_prompts("scienceworld", folder)


@pytest.mark.parametrize(
    ("prompt", "example", "tag"),
    [
        ("Plan {task} like\n<workflow>\nStep 1: ...\n</workflow>\n", None, "workflow"),
        ("Write a plan for {task} inside <plan></plan> tags.", None, "plan"),
        ("Draft in <plan>, then write a <workflow> for {task}.", None, "workflow"),
        ("Plan {task} in <meta_plan>...</meta_plan>", None, "meta_plan"),
        ("<WORKFLOW> is what I want for {task}", None, "WORKFLOW"),
        ("Plan {task}.", "<plan>\nStep 1: Go.\n</plan>", "plan"),
        ("Plan {task}.", "Step 1: Go.", None),
        ("Plan <task>{task}</task> in steps.", None, None),
        ("The workflow and the plan for {task}", None, None),
    ],
)
def test_a_plan_is_taught_in_the_form_that_the_prompt_asks_for(prompt, example, tag, tmp_path):
    plan = "Step 1: Go.\nStep 2: Look."
    answer = planner_prompts(tmp_path, prompt, example).planner_answer(plan)
    assert answer == (f"<{tag}>\n{plan}\n</{tag}>" if tag else plan)
    # What the planner learns to answer is read as the plan it was.
    assert read_plan(answer).text == plan


def test_a_task_that_speaks_of_tags_changes_no_answer(tmp_path):
    prompts = planner_prompts(tmp_path, "Plan {task}")
    prompts.planner_messages("find the <workflow> label")
    assert prompts.planner_answer("Step 1: Go.") == "Step 1: Go."


@pytest.mark.parametrize("end", ["", "\n", "\n\n", " "])
def test_a_planners_prompt_is_kept_to_its_last_character(end, tmp_path):
    prompts = planner_prompts(tmp_path, f"Plan {{task}}.{end}")
    assert prompts.planner_messages("it")[0]["content"] == f"Plan it.{end}"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_prompt_files_may_begin_with_a_byte_order_mark(encoding, tmp_path):
    folder = tmp_path / "scienceworld"
    prompts = planner_prompts(tmp_path, "Plän {task}", "Step 1: Öffne.", encoding)
    assert prompts.planner == "Plän {task}"
    assert prompts.planner_example[1]["content"] == "Step 1: Öffne."
    (folder / "agent.txt").write_text("Spiele.\r\nGut.\n", encoding=encoding)
    assert load_prompts("scienceworld", tmp_path).agent == "Spiele.\nGut."
    (folder / "agent.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"agent\.txt: not readable as UTF-8"):
        load_prompts("scienceworld", tmp_path)


def test_examples_go_by_the_longest_beginning_of_a_task_types_name(tmp_path):
    def example(action):
        return [{"role": "user", "content": "T"}, {"role": "assistant", "content": action}]

    (tmp_path / "prompt" / "icl_examples").mkdir(parents=True)
    by_type = {"pick": [example("a")], "pick_two": [example("b"), example("c")]}
    path = tmp_path / "prompt" / "icl_examples" / "alfworld_icl.json"
    path.write_text(json.dumps(by_type))
    prompts = load_prompts("alfworld", tmp_path)
    assert prompts.example("pick_two_obj_and_place") == example("b")
    assert prompts.example("pick_heat_then_place_in_recep") == example("a")
    with pytest.raises(InputError, match="no example for task type look_at"):
        prompts.example("look_at_obj_in_light")


@pytest.mark.parametrize("env", ["scienceworld", "alfworld"])
def test_every_task_type_has_a_whole_example(env):
    prompts = load_prompts(env)
    for messages in prompts.examples.values():
        roles = [message["role"] for message in messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        replies = [m["content"] for m in messages if m["role"] == "assistant"]
        assert all(read_action(reply)[1] and "Thought:" in reply for reply in replies)


def test_an_unusable_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_prompts("scienceworld", tmp_path / "none")
    with pytest.raises(InputError, match="no prompts for scienceworld"):
        load_prompts("scienceworld", tmp_path)
    (tmp_path / "scienceworld").mkdir()
    (tmp_path / "scienceworld" / "planner.txt").write_text("No place for it.")
    with pytest.raises(InputError, match=r"lacks \{task\}"):
        load_prompts("scienceworld", tmp_path)
    (tmp_path / "scienceworld" / "planner.txt").unlink()
    (tmp_path / "scienceworld" / "example.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="JSON list of messages"):
        load_prompts("scienceworld", tmp_path)


@pytest.mark.parametrize("example", [True, False])
def test_a_planner_without_an_example_is_asked_for_its_plan_at_once(example):
    told = prompts_of(named_config("demo-llm", [f"planner.example={example}"]))
    for prompts in told.values():
        asked = prompts.planner_messages("Boil.")
        assert len(asked) == (3 if example else 1)
        assert "Boil." in asked[-1]["content"]
        # The agent's own worked episode stays.
        assert prompts.examples
