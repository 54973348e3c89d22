"""The notations in which models write a plan's steps: all are read as the same plan."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.plan_text import read_plan
from tests.thoroughness import examples

A, B = "Go to the kitchen.", "Take a cup."
PLAN = f"Step 1: {A}\nStep 2: {B}"


NUMBERED = [
    "Step {n}: {text}",
    "step {n} : {text}",
    "STEP {n}: {text}",
    "Step {n}. {text}",
    "Step {n}) {text}",
    "Step {n} - {text}",
    "Step {n} – {text}",
    "Step {n} -> {text}",
    "Step {n}：{text}",
    "Step #{n}: {text}",
    "Step No. {n}: {text}",
    "Step {n} {text}",
    "[Step {n}] {text}",
    "**Step {n}:** {text}",
    "**Step {n}**: {text}",
    "**Step {n}** {text}",
    "**Step {n}: {text}**",
    "__Step {n}:__ {text}",
    "*Step {n}:* {text}",
    "### Step {n}: {text}",
    "### **Step {n}: {text}**",
    "> Step {n}: {text}",
    "🔹 Step {n}: {text}",
    "- [ ] **Step {n}:** {text}",
    "- [x] Step {n}: {text}",
    "* **Step {n}:** {text}",
    "{n}. **Step {n}:** {text}",
    "{n}. Step {n}: {text}",
    "**Step {n}:**\n{text}",
    "**Step {n}:**\n\n{text}\n",
    "Step {n}:\n  {text}",
    "{n}. {text}",
    "{n}.{text}",
    "{n}) {text}",
    "({n}) {text}",
    "[{n}] {text}",
    "{n}\\. {text}",
    "{n}: {text}",
    "{n} - {text}",
    "{n}、{text}",
    "**{n}.** {text}",
    "**{n}. {text}**",
    "### {n}. {text}",
    "{n}️⃣ {text}",
    "| {n} | {text} |",
    "| **Step {n}** | {text} |",
    "步骤{n}：{text}",
    "第{n}步：{text}",
    "Schritt {n}: {text}",
    "{n}. Schritt: {text}",
    "Étape {n} : {text}",
    "Paso {n}: {text}",
    "Passo {n}: {text}",
    "Шаг {n}: {text}",
    "ステップ{n}：{text}",
    "단계 {n}: {text}",
    "{n}단계: {text}",
    "Krok {n}: {text}",
    "Bước {n}: {text}",
    "Phase {n}: {text}",
    '<step number="{n}">{text}</step>',
    '"Step {n}: {text}",',
    "<step{n}>{text}</step{n}>",
    "<p><strong>Step {n}:</strong> {text}</p>",
    "<b>Step {n}:</b> {text}<br/>",
    "Step\u00a0{n}:\u00a0{text}",
    "Step {n}/2: {text}",
    "Step {n} of 2: {text}",
    "【Step {n}】{text}",
    "{n}> {text}",
    "{n}，{text}",
    "《{n}》{text}",
    "Korak {n}: {text}",
    "Krok č. {n}: {text}",
    "שלב {n}: {text}",
    "مرحله {n}: {text}",
    "Part {n}: {text}",
    "Goal {n}: {text}",
]


UNNUMBERED = ["- {text}", "* {text}", "• {text}", "•{text}", "- [ ] {text}", "<li>{text}</li>"]
UNNUMBERED += ["👉 {text}", "➡️ {text}", "~ {text}", "-- {text}", "*{text}", "\\item {text}"]


@pytest.mark.parametrize("form", NUMBERED + UNNUMBERED)
def test_steps_are_read_in_many_notations(form):
    lines = [form.format(n=n, text=text) for n, text in enumerate((A, B), start=1)]
    assert read_plan("\n".join(lines)) == (PLAN, "")
    assert read_plan("Here is a plan:\n\n" + "\n".join(lines) + "\n\nGood luck!").text == PLAN


TEXTS = st.lists(
    st.from_regex(r"(Go|Take|Look|Wait) [a-z]{1,9}( [a-z0-9'-]{1,9}){0,4}[.]?", fullmatch=True),
    min_size=2,
    max_size=9,
)


@pytest.mark.slow
@given(TEXTS, st.sampled_from(NUMBERED + UNNUMBERED), st.booleans(), st.booleans())
@examples(400)
def test_any_steps_in_any_notation_are_the_same_plan(texts, form, tagged, loose):
    lines = [form.format(n=n, text=text) for n, text in enumerate(texts, start=1)]
    answer = ("\n\n" if loose else "\n").join(lines)
    plan = "\n".join(f"Step {n}: {text}" for n, text in enumerate(texts, start=1))
    assert read_plan(f"Sure.\n<plan>\n{answer}\n</plan>" if tagged else answer).text == plan


@given(TEXTS)
def test_any_steps_as_values_are_the_same_plan(texts):
    plan = "\n".join(f"Step {n}: {text}" for n, text in enumerate(texts, start=1))
    assert read_plan(json.dumps(texts)).text == read_plan(repr(texts)).text == plan
    assert read_plan(json.dumps({"steps": [{"text": t} for t in texts]}, indent=1)).text == plan


WILD = st.lists(
    st.sampled_from(
        [
            form.format(n=n, text=text)
            for form in NUMBERED + UNNUMBERED
            for n in (1, 2)
            for text in "a*"
        ]
        + [
            "\n",
            "\n",
            " ",
            "  ",
            "\r",
            "\0",
            "\ud83d",
            "\u2028",
            "*",
            "**",
            "_",
            "`",
            '"',
            "'",
            "[",
            "]",
        ]
        + [
            "{",
            "}",
            "(",
            ")",
            "|",
            "<plan>",
            "</plan>",
            "<think>",
            "</think>",
            "<br>",
            "1",
            "a",
            ".",
            ":",
        ]
        + [
            "-",
            "A.",
            "I.",
            "1.1 ",
            "Task:",
            "Final plan:",
            "Notes:",
            "``",
            "①",
            "10",
            "Step ",
            "first step",
            "First, ",
            "Then, ",
            "1. a. 2. b",
            "\\n",
            "\\boxed{",
            "<b>",
            "</p>",
            "- id: 1",
            "plan:\n",
            "一、",
            "，",
            "\u00a0",
            "➡️ ",
            "Erster Schritt:",
        ]
    )
).map("".join)


@given(WILD | st.text(st.characters()), st.booleans())
@examples(1000)
def test_whatever_the_text_its_plan_reads_the_same_again(text, truncated):
    plan, fault = read_plan(text, truncated)
    assert (plan is None) == bool(fault)
    if plan is not None:
        plan.encode()
        assert read_plan(plan).text == plan
