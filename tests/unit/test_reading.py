import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.reading import read_action
from tests.thoroughness import examples, long_text

GO = "go to desk 1"
THOUGHT = "I could say Action: look\nAction: look around\n1. Draft."


@pytest.mark.parametrize(
    "reply",
    [
        f"Action: {GO}",
        f"**Action:** {GO}",
        f"**Action**: {GO}",
        f"__Action__: {GO}",
        f"### Action: {GO}",
        f"- Action: {GO}",
        f"> Action: {GO}",
        f"*Action: {GO}*",
        f"**Action: {GO}**",
        f"Action: **{GO}**.",
        f"[Action]: {GO}",
        f"1. Action: {GO}",
        f"🎬 **Action:** {GO}",
        f"action: {GO}",
        "ACTION: GO TO DESK 1",
        f"Action : {GO}",
        f"Action：{GO}",
        f"Action:{GO}",
        f"Action 1: {GO}",
        f"Action #1: {GO}",
        f"Action - {GO}",
        f"Action – {GO}",
        f"Action => {GO}",
        f"Next Action: {GO}",
        f"动作：{GO}",
        f"Action:\n{GO}",
        f"Action:\n\n {GO}\n",
        f"### Action\n\n{GO}",
        f"Action:\n```\n{GO}\n```",
        f"Action:\n```text\n{GO}\n```\nThat is all.",
        f"Action: ```{GO}```",
        f"```\nAction: {GO}\n```",
        f'Action: "{GO}".',
        f"Action: '{GO}.'",
        f"Action: `{GO}`.",
        f"Action: “{GO}”",
        f'Action: {GO}"',
        f"Action: {GO}。",
        f"Action: Action: {GO}",
        f"Action:Action: {GO}",
        f"Action:\n**Action:** {GO}",
        f"Action: [{GO}]",
        f"Action: <{GO}>",
        f"Action: ({GO})",
        f"Action: - {GO}",
        f"Action: {GO} Observation: You arrive at desk 1.",
        f"Action: {GO}. Thought: Now I look.",
        f"Action: {GO} **Observation:** You arrive.",
        f"<action>{GO}</action>",
        f"<action>\n{GO}\n</action>\n<observation>You</observation><action>look</action>",
        f"I looked. <action>look</action> Now <action>{GO}</action>",
        f'{{"action": "{GO}"}}',
        f'```json\n{{"thought": "Not Action: look", "action": "{GO}"}}\n```',
        f"{{'thought': 'I go', 'action': '{GO}'}}",
        f'Action: {{"action": "{GO}"}}',
        "Action: go to\nAction Input: desk 1",
        f"Action: {GO}\nAction Input: None",
        f"Action: {GO} 👍",
        f"Action: 🚪 {GO} ✔️.",
        f"Action: {GO} \ud83d",
        f"\u200bAction: {GO}\u200b",
        f"Action: {GO}!",
        f"Action: {GO};",
        f"Action: {GO}\\n",
        f"Action: {GO}<br>",
        f"Action: <b>{GO}</b> [END]",
        f"| Action: {GO} |",
        f"Action: `{GO}` (it is near)",
        "Action: go to `desk 1`",
        f"Action: $\\boxed{{{GO}}}$",
        f"So I go.\n\\boxed{{\\text{{{GO}}}}}",
        f"[ACTION]{GO}[/ACTION]",
        f"Action [1]: {GO}",
        f"Action (step 1): {GO}",
        f"Action:: {GO}",
        f"Action = {GO}",
        f"Action: {GO}. Reason: It is near.",
        f"Action: {GO}\nResponse: You arrive.\nAction: look",
        f"Action: {GO}\nResult: You arrive. Action: look",
        f"Action: {GO}<|im_end|>",
        f"Action: {GO}</s><s>Action: look",
        f"<think>{THOUGHT}</think>\nAction: {GO}",
        f"{THOUGHT}</think>Thought: I go.\nAction: {GO}",
        f"analysis{THOUGHT}assistantfinalThought: I go.\nAction: {GO}",
        f"Thought: I go. Action: {GO}",
        f"Thought: I go there Action: {GO}",
        f'Thought: "Action: look around failed", so I go.\nAction: {GO}',
        f"Thought: Since Action: look around failed, I go.\nAction: {GO}",
        f"Thought: The last Action: look was no good. Action: {GO}",
        f"Thought: It said\nAction: look\nwhich failed. So:\nAction: {GO}",
        f"Action: look\nAction: {GO}",
        f"Thought: a\nAction: {GO}\nObservation: You\nThought: b\nAction: look",
        f"Thought: a\nAction: {GO}\nThought: b\nAction: look",
        f"Thought 1: a\nAction 1: {GO}\nObservation 1: b\nThought 2: c\nAction 2: look",
        f"Observation: a room.\nThought: I go.\nAction: {GO}",
        f"Thought: I go. Action: {GO} Observation: You arrive. Thought: b Action: look",
        f"Action:Thought: I go.\nAction: {GO}",
        f"Action:<think>{THOUGHT}</think> {GO}",
        f"Action:Thought: I go. Action: {GO}",
        f"**Thought:** I go.\r\n\r\n**Action:** `{GO}`\r\n",
        f"Action: {GO} (to look for the mug)",
        f"Action: {GO} # the mug may be there",
        f"Action: {GO} // the mug may be there",
        f"Action: {GO} - because the mug may be there",
        f"Action: {GO}. This shows what is there.",
        f"Action: {GO}, then take mug 1 from desk 1",
        f"Action: {GO}; take mug 1 from desk 1",
        f"Action: {GO} -> You arrive at desk 1.",
        f"Action: `{GO}` and then I look.",
        f'Action: "{GO}" to look for it',
        f"Action: **{GO}** (to look for it)",
        "Action: go to `desk 1`",
        "Action: go to [desk 1]",
        'Action: go to "desk 1"',
        f"Action: \\boxed{{{GO}}}",
        f"The answer is \\boxed{{\\text{{{GO}}}}}.",
        f"Action: {GO},",
        f"Action: {GO}!",
        f"Action: {GO} 🙂",
        f"Action: {GO} [END]",
        f"Action: {GO}###",
        f"Action: {GO} because it may hold the mug",
        f"Action: {GO} [because of the mug]",
        f"Action: I will {GO}.",
        f"Action: Let me {GO}",
        f"Action: Now I'll {GO} now.",
        "Action: `go to` `desk 1`",
        f"Action: `{GO}` The mug may be there",
        f"Action: {GO}Observation: You arrive.",
        f"<answer>{GO}</answer>",
        f"<action>Action: {GO}</action>",
        f"My next action will be: {GO}",
        f"Action → {GO}",
        f"Action: {GO} | Observation: You arrive.",
        f"Action: {GO}<br>",
        f"<b>Action:</b> {GO}",
        f"<p>Thought: I go.</p><p>Action: {GO}</p>",
        f"Action: <code>{GO}</code>",
        f"Action: &quot;{GO}&quot;",
        "Action:\u200bgo to\u00a0desk  1",
        f"Thought: I go.\\nAction: {GO}\\nObservation: You arrive.",
        f"Act: {GO}",
        f"Act 1: {GO}",
        f"Command: {GO}",
        f"The next action is: {GO}",
        f"Action to take: {GO}",
        f"I will take the following action: {GO}",
        f"Action (step 1): {GO}",
        f"Action [1]: {GO}",
        f"Action_1: {GO}",
        f"Action = {GO}",
        f"Ação: {GO}",
        f"Hành động: {GO}",
        f"[ACTION] {GO} [/ACTION]",
        f"Action: [Action] {GO}",
        f"<response>Action: {GO}</response>",
        f"Action: {GO}\n[Observation] You arrive.\nAction: look",
        f"Action: {GO}\nResult: You arrive.\nAction: look",
        '{"action": "go to", "action_input": "desk 1"}',
        f'{{"command": "{GO}"}}',
        f'<tool_call>{{"name": "act", "arguments": {{"action": "{GO}"}}}}</tool_call>',
    ],
)
def test_an_action_is_read_whatever_is_around_it(reply):
    assert read_action(reply).action == GO


@pytest.mark.parametrize(
    "action",
    [
        "open f(x)",
        "search[red mug]",
        "दरवाज़ा खोलो",
        "take mug (empty)",
        "print(1)",
        "move cup (containing water) to sink",
        "open door to hallway (that is closed)",
        "put mug 1 in/on desk 1",
        "search[red mug - 12oz; blue]",
        "think[I should go. Then look]",
        "click[< Prev]",
        "चलो दरवाज़ा (to the left) खोलो",
    ],
)
def test_what_belongs_to_an_action_is_kept(action):
    assert read_action(f"Action: {action}").action == action


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("!!!!!!!!", "empty"),
        ("\u200b", "empty"),
        ("Action: !!!!!!!!", "empty action"),
        ("E", "no action line"),
        ("I look around.", "no action line"),
        ("Thought: The last Action: look around failed, so", "no action line"),
        ('Thought: I said "Action: look" before.', "no action line"),
        ("Action:", "empty action"),
        ("Action: ...", "empty action"),
        ("Action: None", "empty action"),
        ("Action: N/A (a direct answer)", "empty action"),
        ("**Action:**\n```\n```", "empty action"),
        ("Action:\nThought: I look.", "empty action"),
        ("Action:\nObservation: You see nothing.", "empty action"),
        ("Action:Thought: look", "empty action"),
        ("<think>Action: look</think>", "only reasoning"),
        ("I'm sorry, but I can't assist with that.", "refusal"),
        ("Action: I'm sorry, I can't help with that", "refusal"),
        ("As an AI, I cannot participate in this.", "refusal"),
        ("I can't open the drawer, it is locked.", "no action line"),
        ("Sorry about that, I look around.", "no action line"),
        ("<answer>Thought: hm</answer>", "no action line"),
        ("I cannot.", "refusal"),
        ("I must respectfully decline.", "refusal"),
        ("我无法帮助你。", "refusal"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("Action: I’m sorry, but I can't assist with that.", "refusal"),
        ('<tool_call>{"name": "go to", "arguments": {"to": "desk 1"}}</tool_call>', "tool call"),
        ("Action: <tool_call>", "tool call"),
        ('[TOOL_CALLS][{"name": "go", "arguments": {}}]', "tool call"),
    ],
)
def test_why_a_reply_holds_no_action(reply, fault):
    assert read_action(reply)[1:] == (None, fault)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Thought: a\nAction: b\nObservation: c", "Thought: a\nAction: b"),
        ("Thought: a. Action: b Observation: c", "Thought: a. Action: b"),
        ("Action:\n```\ngo\n```\nNow I wait.", "Action:\n```\ngo\n```"),
        ("```\nAction: go\n```\nNow I wait.", "```\nAction: go\n```"),
        ("I go: <action>go</action> and see", "I go: <action>go</action>"),
        ('{"action": "go", "why": "b"}', '{"action": "go", "why": "b"}'),
        ("<think>x</think>\nThought: a\nAction: b  \n", "Thought: a\nAction: b"),
        ("  I cannot. ", "  I cannot. "),
    ],
)
def test_what_an_agent_said_ends_with_its_action(reply, said):
    assert read_action(reply).said == said


ACTIONS = st.from_regex(
    r"(go to|take|open) [a-z]{1,8} [1-9]( from [a-z]{2,8} [1-9])?", fullmatch=True
)
AROUND_ACTION = st.lists(
    st.sampled_from(
        ["{}", '"{}"', "'{}'", "`{}`", "**{}**", "*{}*", "[{}]", "<{}>", "{}.", "“{}”", "{} ✅"]
    ),
    max_size=3,
)
LABELS = st.sampled_from(
    [
        "Action:",
        "action:",
        "**Action:**",
        "**Action**:",
        "__Action:__",
        "### Action:",
        "- Action:",
        "> Action:",
        "Action :",
        "Action：",
        "Action 1:",
        "Action -",
        "Action: Action:",
        "Action:Action:",
        "Action:\n",
        "Action:\n\n",
    ]
)
BEFORE = st.sampled_from(
    [
        "",
        "Thought: I go.\n",
        "<think>Action: no</think>\n",
        'Thought: "Action: no" failed.\n',
        "\n\n",
        "**Thought:** I go.\n\n",
        "thoughts</think>",
        "Action: no\nSo:\n",
        "Observation: x\n",
        "```\n",
    ]
)
AFTER = st.sampled_from(
    [
        "",
        "\n",
        " Observation: You",
        "\nObservation: You\nAction: no",
        "<|im_end|>",
        "</s>\nAction: no",
        "\n\nThought: b\nAction: no",
        "\n**Observation:** x",
        "\r\n",
        " Thought: and",
        "\n```\n",
    ]
)


@given(BEFORE, LABELS, AROUND_ACTION, ACTIONS, AFTER)
@examples(400)
def test_any_action_in_any_decoration_is_read_back(before, label, around, action, after):
    shown = action
    for form in around:
        shown = form.format(shown)
    assert read_action(f"{before}{label} {shown}{after}").action == action


@pytest.mark.parametrize(
    "unit",
    [
        "<think>",
        "</s>",
        "<|a|> ",
        "*",
        "_",
        " ",
        "\n",
        "\r\n",
        "Action:",
        "Action: ",
        "Action:\n",
        "Action",
        'Action: "a" ',
        'Action: .".',
        "- ",
        '"',
        "[",
        "`",
        "<action> ",
        '"action": "a',
        "<",
        "Thought:",
        "\\",
        "<|channel|>",
        "assistantfinal",
        "Action Input: ",
        "#",
        "(",
        "\0",
        "1. ",
        "please ",
        "- [",
        "👍",
        "\\boxed{",
        "`a",
        "[action]",
        ";!",
        "Action [",
        " (",
        "; ",
        " then",
        "\\n",
        "&lt;",
        "<b>",
        "[A",
        " [a",
        ". A",
    ],
)
def test_long_texts_made_to_be_slow_are_read_at_once(unit):
    for before in ("", "Action: ", "Thought: Action: x\n"):
        text = before + unit * (long_text() // len(unit)) + "\nx"
        started = time.process_time()
        read_action(text)
        assert time.process_time() - started < 1.5
