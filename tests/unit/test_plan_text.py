import json
import time

import pytest

from mpo_core.plan_text import read_plan
from tests.thoroughness import long_text

A, B = "Go to the kitchen.", "Take a cup."
PLAN = f"Step 1: {A}\nStep 2: {B}"


@pytest.mark.parametrize(
    "answer",
    [
        f"Step one: {A}\nStep two: {B}",
        f"First step: {A}\nSecond step: {B}",
        f"第一步：{A}\n第二步：{B}",
        f"步骤一：{A}\n步骤二：{B}",
        f"Step I: {A}\nStep II: {B}",
        f"Step A: {A}\nStep B: {B}",
        f"①{A}\n② {B}",
        f"一、{A}\n二、{B}",
        f"Step 1 of 2: {A}\nStep 2 of 2: {B}",
        f"Step 1/2: {A}\nStep 2/2: {B}",
        f"<b>Step 1:</b> {A}<br><b>Step 2:</b> {B}",
        f"<p>1. {A}</p><p>2. {B}</p>",
        f"Step 1: {A}\\nStep 2: {B}",
        f"1. {A}\\n2. {B}",
        f"1. {A} 2. {B}",
        f"Sure:\n1) {A} 2) {B}",
        f"（一）{A}\n（二）{B}",
        f"Schritt eins: {A}\nSchritt zwei: {B}",
        f"Erster Schritt: {A}\nZweiter Schritt: {B}",
        f"Primo passo: {A}\nSecondo passo: {B}",
        f"First, {A}\nThen, {B}",
        "First, go to the kitchen.\n\nFinally, take a cup.",
        f"首先，{A}\n然后，{B}",
        f"Zuerst: {A}\nDann: {B}",
        "First, go to the kitchen. Then take a cup.",
        "First go to the kitchen. Finally, take a cup.",
        f"1st: {A}\n2nd: {B}",
        f"#1 {A}\n#2 {B}",
        f"S1: {A}\nS2: {B}",
        f"1\\) {A}\n2\\) {B}",
        f"i. {A}\nii. {B}",
        f'"1. {A}\n2. {B}"',
        f"~ Plan ~\n- {A}\n- {B}",
        f"I can't see a cup yet, so:\n- {A}\n- {B}",
        json.dumps({"steps": [{"n": 1, "do": A}, {"n": 2, "do": B}]}),
        f"- [x] {A}\n- [ ] {B}",
        f"1. {A} 2. {B}",
        f"The plan: 1. {A} 2. {B}",
        f"(1) {A} (2) {B}",
        f"Step 1. {A} Step 2. {B}",
        f"Step 1 - {A} Step 2 - {B}",
        f"Step 1: {A} -> Step 2: {B}",
        f"Step 1: {A}\\nStep 2: {B}",
        f'"Step 1: {A}\\nStep 2: {B}"',
        f"\\boxed{{Step 1: {A}\nStep 2: {B}}}",
        f"\\begin{{enumerate}}\n\\item {A}\n\\item {B}\n\\end{{enumerate}}",
        f"<ul><li><b>Step 1:</b> {A}</li><li><b>Step 2:</b> {B}</li></ul>",
        f'```yaml\nplan:\n  - "{A}"\n  - "{B}"\n```',
        f"steps:\n- id: 1\n  action: {A}\n- id: 2\n  action: {B}",
        f"```python\nsteps = ('{A}', '{B}')\n```",
        json.dumps([[1, A], [2, B]]),
        json.dumps({"First step": A, "Second step": B}),
        json.dumps({"plan": [{"step_number": 1, "action_description": t} for t in (A, B)]}),
        "\n".join(json.dumps({"step": n, "text": t}) for n, t in enumerate((A, B))),
        json.dumps(json.dumps([A, B])),
        f"１．{A}\n２．{B}",
        f"I. {A}\nII. {B}",
        f"a) {A}\nb) {B}",
        f"A. {A}\nB. {B}",
        f"0. {A}\n1. {B}",
        f"1. {A}\n1. {B}",
        f"Step 7: {A}\nStep 9: {B}",
        f"1. {A}\nStep 2: {B}",
        f"Step 1: {A} Step 2: {B}",
        f"The plan: Step 1: {A} Step 2: {B}",
        f"Step 1: {A} | **Step 2:** {B}",
        f"Step 1: {A}<br>Step 2: {B}",
        "1. Go to\nthe kitchen.\n2. Take a\n   cup.",
        f"```\n1. {A}\n2. {B}\n```",
        f"<plan>\n{A}\n{B}\n</plan>\nSo be it.",
        f"<plan><step>{A}</step><step>{B}</step></plan>",
        f"I will.\n<workflow>\nStep 1: {A}\nStep 2: {B}\n</workflow>\n3. Not this.",
        f"Step 1: {A}\nStep 2: {B}\n</plan>\n3. Not this.",
        f"<plan></plan>\nStep 1: {A}\nStep 2: {B}",
        f"<answer>\n1. {A}\n2. {B}\n</answer>",
        json.dumps([f"Step 1: {A}", f"Step 2: {B}"]),
        json.dumps({"plan": [A, B]}, indent=2),
        json.dumps({"plan": f"Step 1: {A}\nStep 2: {B}"}),
        json.dumps({"Step 1": A, "Step 2": B}),
        json.dumps([{"Step 1": A}, {"Step 2": B}]),
        json.dumps({"steps": [{"step": 1, "description": A}, {"step": 2, "description": B}]}),
        f"Here:\n```json\n{json.dumps({'workflow': [A, B]})}\n```\nGood luck!",
        str([f"Step 1: {A}", f"Step 2: {B}"]),
        str([f"Step 1: {A}\nStep 2: {B}"]),
        f'plan = [\n    "{A}",\n    "{B}",\n]',
        f'["Step 1: {A}", "Step 2: {B}", "Step 3: Put',
        f'{{"steps": [{{"step": 1, "action": "{A}"}}, {{"step": 2, "action": "{B}"}}, {{"step": 3',
        f"<think>\n1. A draft.\n2. More.\n</think>\nStep 1: {A}\nStep 2: {B}",
        f"<think><plan>1. A draft.</plan></think><plan>\n1. {A}\n2. {B}\n</plan>",
        f"1. A draft.\n2. More.\n</think>\n1. {A}\n2. {B}",
        f"analysis1. A draft.assistantfinal1. {A}\n2. {B}",
        f"Draft:\n1. x\n2. y\n\n**Final plan:**\n1. {A}\n2. {B}",
        f"1. {A}\n2. {B}<|im_end|>\n<|im_start|>user\n3. Not this.",
    ],
)
def test_the_plan_is_read_wherever_it_stands(answer):
    assert read_plan(answer).text == PLAN


@pytest.mark.parametrize(
    "more",
    [
        "Task: open the door\nStep 1: Other.\nStep 2: More.",
        "Step 1: Other.\nStep 2: More.",
        "**Task 2:** open the door\n\n1. Other.",
        "Explanation:\n1. The kitchen has cups.\n2. Cups are needed.",
        "1. **Step 1:** Other.\n2. **Step 2:** More.",
        "Notes:\n- Cups break.\n- Be quick.",
        "This should work.",
    ],
)
def test_what_follows_the_plan_is_not_appended(more):
    assert read_plan(f"{PLAN}\n\n{more}").text == PLAN


@pytest.mark.parametrize(
    ("answer", "plan"),
    [
        ("1. Go to desk 2. Then look.\n2. Take", "Step 1: Go to desk 2. Then look.\nStep 2: Take"),
        ("1. Prepare\n1.1 Go\n1.2 Take\n2. Cook", "Step 1: Prepare: Go; Take\nStep 2: Cook"),
        ("1. Prepare:\n   - go\n   - take.\n2. Cook", "Step 1: Prepare: go; take.\nStep 2: Cook"),
        ("1. Prepare\n- go\n- take\n2. Cook", "Step 1: Prepare: go; take\nStep 2: Cook"),
        ("1. Prepare\n   a) go\n   b) take\n2. Cook", "Step 1: Prepare: go; take\nStep 2: Cook"),
        ("1. Prepare\n   1. go\n   2. take\n2. Cook", "Step 1: Prepare: go; take\nStep 2: Cook"),
        (
            "Step 1: Prepare\n1. go\n2. take\nStep 2: Cook",
            "Step 1: Prepare: go; take\nStep 2: Cook",
        ),
        ("Step 1.1: Go\nStep 1.2: Take\nStep 2.1: Cook", "Step 1: Go; Take\nStep 2: Cook"),
        ("Step 1a: Go\nStep 1b: Take\nStep 2: Cook", "Step 1: Go; Take\nStep 2: Cook"),
        ("- Prepare\n  - go\n  - take\n- Cook", "Step 1: Prepare: go; take\nStep 2: Cook"),
        ("• Prepare\n- go\n- take\n• Cook", "Step 1: Prepare: go; take\nStep 2: Cook"),
        (
            "**Phase 1: Prepare**\n1. Go\n2. Take\n\n**Phase 2: Cook**\n3. Heat",
            "Step 1: Prepare: Go; Take\nStep 2: Cook: Heat",
        ),
        (
            "### Step 1: Prepare\n\nGo and take.\n\n### Step 2: Cook\n\nUse a stove.\n\nGood luck!",
            "Step 1: Prepare: Go and take.\nStep 2: Cook: Use a stove.",
        ),
        (
            json.dumps({"plan": [{"title": "Prepare", "substeps": ["go", "take"]}, "Cook"]}),
            "Step 1: Prepare: go; take\nStep 2: Cook",
        ),
        (
            "Step 1: take 2 apples. Then 3. more\nStep 2: wait 10. times",
            "Step 1: take 2 apples. Then 3. more\nStep 2: wait 10. times",
        ),
        (
            "1. Look: 1. open. 2. see.\n2. Take.",
            "Step 1: Look: 1. open. 2. see.\nStep 2: Take.",
        ),
        ("1. wait\n10. times\n2. go", "Step 1: wait 10. times\nStep 2: go"),
        ("Step 1: wait\n10. times\nStep 2: go", "Step 1: wait 10. times\nStep 2: go"),
        ("#1 rule: look\n1. Go\n2. Take", "Step 1: Go\nStep 2: Take"),
        (
            "\n".join(f"{letter}. Go {letter}" for letter in "abcdefghij"),
            "\n".join(f"Step {k}: Go {letter}" for k, letter in enumerate("abcdefghij", 1)),
        ),
        ("1. **Prepare**: (if need be) go", "Step 1: Prepare: (if need be) go"),
        ("Step 1: -5 degrees\nStep 2:\nStep 3: `b_c`", "Step 1: -5 degrees\nStep 2: `b_c`"),
    ],
)
def test_what_belongs_to_a_step_stays_in_it(answer, plan):
    assert read_plan(answer).text == plan
    assert read_plan(plan).text == plan


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<think>1. A draft.\n2. More.", "only reasoning"),
        ("<think>1. A draft.</think>", "only reasoning"),
        ("E", "no steps"),
        ("ERROR", "no steps"),
        ("Error: 429 Too Many Requests", "no steps"),
        ("429: Too Many Requests", "no steps"),
        ("500 - Internal Server Error", "no steps"),
        ('{"error": {"message": "1. wait", "code": 429}}', "no steps"),
        ("<plan>", "no steps"),
        ("Go to the kitchen, then take a cup. It takes 1 step at a time.", "no steps"),
        ("Step 1 is to go. Step 2 is to take.", "no steps"),
        ("2 steps: go and take", "no steps"),
        ("**Step 1:**\n**Step 2:**", "empty steps"),
        ("Step 1: *\nStep 2: ...", "empty steps"),
        ("1.\n2.", "empty steps"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ('<tool_call>{"name": "look", "arguments": {}}</tool_call>', "tool call"),
        ("I cannot do that because:\n- I am a model\n- It is wrong", "refusal"),
    ],
)
def test_why_an_answer_holds_no_plan(answer, fault):
    assert read_plan(answer) == (None, fault)


@pytest.mark.parametrize(
    ("answer", "plan"),
    [
        (f"{PLAN}\nStep 3: Then", PLAN),
        (f"{PLAN}\nStep 3:", PLAN),
        (f"{PLAN}\n- Step 3: Then", PLAN),
        (f"<plan>{PLAN}</plan> And", PLAN),
        (f"{PLAN}\n\nTask: other\nStep 1: Th", PLAN),
        (f'["{A}", "{B}", "Th', PLAN),
        (f"Step 1: {A[:-5]}", None),
    ],
)
def test_a_truncated_answer_loses_its_last_step_alone(answer, plan):
    reading = read_plan(answer, truncated=True)
    assert reading.text == plan
    assert reading.fault == ("" if plan else "cut before the first step ended")


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        "1. a\n",
        "- a\n",
        "Step 1: a\n",
        "1. ",
        "Step 1:",
        "①",
        "(1) ",
        "I. ",
        "a) ",
        "  1. a\n",
        "1.1 a\n",
        "| a |",
        "**",
        "*a",
        " ",
        "\n",
        "\r\n",
        "[",
        '["',
        "['a', ",
        "{'a': ",
        '"',
        "<plan>",
        "<step>",
        "#",
        "Step 1:\n\n",
        "**Step 1**\n\na\n\n",
        "Final plan:\n",
        "```\n",
        "\\",
        "first step",
        "Here's ",
        "1. a. 2. ",
        "First, a\n",
        "First a. Then b. ",
        "#1 ",
        "~ ",
        "\\boxed{",
        "\\n1. ",
        '{"a": "b"}\n',
        "- id: 1\n",
    ],
)
def test_long_texts_made_to_be_slow_are_read_at_once(unit):
    for before in ("", "Step 1: ", '["'):
        started = time.process_time()
        read_plan(before + unit * (long_text() // len(unit)) + "\nx")
        assert time.process_time() - started < 1.5
