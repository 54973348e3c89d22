"""What a model thinks is told apart from what it answers."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpo_core.reading import read_action
from mpo_core.reasoning import split_reasoning

GO = "go to desk 1"
THOUGHT = "I could say Action: look\nAction: look around\n1. Draft."


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{THOUGHT}</think>\n\nAnswer.",
        f"<think>\n{THOUGHT}\n</think>Answer.",
        f"{THOUGHT}\n</think>\nAnswer.",
        f"<THINK>{THOUGHT}</Think>Answer.",
        f"<thinking>{THOUGHT}</thinking>\nAnswer.",
        f"<thought>{THOUGHT}</thought>\nAnswer.",
        f"<reasoning>{THOUGHT}</reasoning>\nAnswer.",
        f"<reflection>{THOUGHT}</reflection>\nAnswer.",
        f'<think effort="high">{THOUGHT}</think>\nAnswer.',
        f"<seed:think>{THOUGHT}</seed:think>Answer.",
        f"<longcat_think>{THOUGHT}</longcat_think>Answer.",
        f"<antThinking>{THOUGHT}</antThinking>Answer.",
        f"<｜begin▁of▁thinking｜>{THOUGHT}<｜end▁of▁thinking｜>Answer.",
        f"[THINK]{THOUGHT}[/THINK]Answer.",
        f"◁think▷{THOUGHT}◁/think▷Answer.",
        f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>Answer.<|END_RESPONSE|>",
        f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|>\n<|begin_of_solution|>\nAnswer.",
        f"<|channel>thought\n{THOUGHT}<channel|>Answer.<turn|>",
        f"Here is my thought process:\n{THOUGHT}\nHere is my response:\nAnswer.",
        f"&lt;think&gt;{THOUGHT}&lt;/think&gt;Answer.",
        f"Thinking...\n{THOUGHT}\n...done thinking.\n\nAnswer.",
        f'<details type="reasoning" done="true">\n{THOUGHT}\n</details>\nAnswer.',
        f"<details><summary>Thinking</summary>\n{THOUGHT}\n</details>\nAnswer.",
        f"<think>a</think><think>{THOUGHT}</think>Answer.",
        f"<think>a <think>{THOUGHT}</think> b</think>Answer.",
        f"<think>The tag <think> begins it. {THOUGHT}</think>Answer.",
        f"{THOUGHT}</think> more of it </think>Answer.",
        f"<think>{THOUGHT}</think>Answer.<think>And now {THOUGHT}",
        f"<think></think>Answer.<think>{THOUGHT}</think>",
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final"
        "<|message|>Answer.<|return|>",
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>commentary"
        f"<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final <|constrain|>text"
        "<|message|>Answer.",
        f"{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>Answer.",
        f"analysis{THOUGHT}assistantfinalAnswer.",
        f"{THOUGHT}assistantfinalAnswer.",
        *(
            f"Answer.{end}\n{after}"
            for end in (
                "<|im_end|>",
                "<|eot_id|>",
                "<|end|>",
                "<|return|>",
                "</s>",
                "<|endoftext|>",
                "<end_of_turn>",
                "[/INST]",
                "<|end_of_text|>",
                "<｜end▁of▁sentence｜>",
                "<eos>",
                "[|endofturn|]",
                "<|END_OF_TURN_TOKEN|>",
                "<turn|>",
            )
            for after in ("", THOUGHT)
        ),
        f"<|im_start|>assistant\nAnswer.<|im_end|>\n<|im_start|>user\n{THOUGHT}",
        f"<s>[/INST] Answer.</s>[INST] {THOUGHT}",
        f"<think>{THOUGHT}</think>Answer.<|im_end|><|im_start|>user {THOUGHT}",
    ],
)
def test_reasoning_and_others_turns_are_no_answer(text):
    assert split_reasoning(text)[1] == "Answer."


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{THOUGHT}",
        f"<think>{THOUGHT}</think>",
        f"<think>{THOUGHT}</think>\n<|im_end|>",
        f"<|channel|>analysis<|message|>{THOUGHT}",
        "<|channel|>analysis",
        f"analysisWe need it. {THOUGHT}",
        f"[THINK]{THOUGHT}",
        f"{THOUGHT}</think>",
        f"<|im_end|>\n<|im_start|>user\n{THOUGHT}",
    ],
)
def test_a_text_of_nothing_but_reasoning_has_no_answer(text):
    assert split_reasoning(text)[1] == ""
    assert read_action(text)[:2] == ("", None)
    assert read_action(text).fault in ("only reasoning", "empty")


def test_what_was_thought_is_kept():
    assert split_reasoning("<think> a </think> b <think>c</think> d") == ("a\nc", "b\nd")
    assert split_reasoning("a</think>b") == ("a", "b")
    assert split_reasoning("<think>a") == ("a", "")


@given(st.text())
@example("a < b, [1] and x > y\r\n  ")
@example("analysis of the finals: thinking </ b>")
def test_a_text_without_marks_is_its_answer_byte_for_byte(text):
    marks = ("<", "[", "&", "◁", "assistantfinal", "analysisA", "Here")
    if not any(mark in text for mark in marks):
        assert split_reasoning(text) == ("", text)


WILD = st.lists(
    st.sampled_from(
        [
            "<think>",
            "</think>",
            "<|",
            "|>",
            "<|im_end|>",
            "</s>",
            "[THINK]",
            "[/THINK]",
            "◁/think▷",
            "<|channel|>",
            "<|message|>",
            "final",
            "assistantfinal",
            "analysisA",
            "Action:",
            "ACTION:",
            "<b>",
            "&lt;",
            "\\n",
            "\\boxed{",
            "}",
            "[END]",
            "->",
            "</details>",
            "none",
            "**Action:**",
            "Thought:",
            "Observation:",
            "<action>",
            "</action>",
            '{"action":',
            "```",
            "`",
            '"',
            "'",
            "**",
            "*",
            "_",
            ".",
            ",",
            "[",
            "]",
            "(",
            ")",
            "<",
            ">",
            "Step",
            "1:",
            "1.",
            "-",
            "•",
            "a",
            "B",
            "：",
            "\n",
            "\r",
            "\x00",
            " ",
            "\ud83d",
            "\u2028",
        ]
    )
).map("".join)


@given(WILD | st.text(st.characters()))
def test_whatever_the_text_reading_it_ends_and_its_answer_reads_the_same(text):
    _, answer = split_reasoning(text)
    assert split_reasoning(answer) == ("", answer)
    reading = read_action(text)
    assert (reading.action is None) == bool(reading.fault)
    assert reading.action is None or (reading.action.strip() and "\n" not in reading.action)
    reading.said.encode()
