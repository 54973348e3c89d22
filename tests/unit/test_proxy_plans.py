"""Where a conversation's plan stands, in each of its requests and each mode."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.config import ProxyConfig
from mpo_core.prompts import Prompts, plan_block
from mpo_core.proxy.asked import Asked, Headers
from mpo_core.proxy.placing import with_plan
from mpo_core.proxy.task_rule import TaskRule
from tests.planning_proxy import BLOCK, PLAN, TASK, chat, planning_proxy

AFTER = f"\n\n{BLOCK}"
PREFIX = Prompts.reply_prefix(PLAN, "thought")
SYSTEM = {"role": "system", "content": "You boil."}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"role": "tool", "tool_call_id": "1", "content": "Hot."}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def placed(body, mode, api="chat", rule=None, task=TASK):
    asked = Asked(api, json.dumps(body), Headers())
    [*_, (beginning, _)] = asked.beginnings
    at = TaskRule(rule or ProxyConfig()).place(asked.turns[:beginning], task)
    return json.loads(with_plan(asked, PLAN, at, mode))


def contents(body):
    return [message.get("content") for message in body["messages"]]


def test_the_query_holds_the_plan_in_every_request():
    first = chat(SYSTEM, {"role": "user", "content": TASK})
    later = chat(*first["messages"], CALLED, TOOL, {"role": "user", "content": "And?"})
    assert contents(placed(first, "query")) == ["You boil.", TASK + AFTER]
    assert contents(placed(later, "query")) == ["You boil.", TASK + AFTER, None, "Hot.", "And?"]


def test_after_each_observation_from_the_task_on():
    shots = [{"role": "user", "content": "Example."}, {"role": "assistant", "content": "So."}]
    body = chat(SYSTEM, *shots, {"role": "user", "content": TASK}, CALLED, TOOL)
    said = contents(placed(body, "observation"))
    assert said == ["You boil.", "Example.", "So.", TASK + AFTER, None, "Hot." + AFTER]


def test_as_the_beginning_of_every_reply():
    body = chat(TASK, "Well.", "And?", add_generation_prompt=True)
    found = placed(body, "thought")
    assert contents(found) == [TASK, PREFIX + "Well.", "And?", PREFIX]
    assert (found["continue_final_message"], found["add_generation_prompt"]) == (True, False)
    assert contents(placed(chat(TASK, CALLED, TOOL), "thought")) == [TASK, PREFIX, "Hot.", PREFIX]


def test_a_beginning_that_the_caller_gives_goes_on_after_the_plan():
    body = chat(TASK, "So", continue_final_message=True)
    assert contents(placed(body, "thought")) == [TASK, f"{PREFIX}So"]


def test_a_message_of_parts_keeps_them():
    text = {"type": "text", "text": TASK, "cache_control": {"type": "ephemeral"}}
    [said] = contents(placed(chat([IMAGE, text]), "query"))
    assert said == [IMAGE, text | {"text": TASK + AFTER}]
    [said] = contents(placed(chat([text, IMAGE]), "query"))
    assert said == [text, IMAGE, {"type": "text", "text": plan_block(PLAN)}]


def test_the_responses_api_holds_it_likewise():
    assert placed({"input": TASK}, "query", "responses")["input"] == TASK + AFTER
    part = {"type": "input_text", "text": TASK}
    items = [
        {"role": "user", "content": [part]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "Hot."},
    ]
    found = placed({"input": items}, "query", "responses")["input"]
    assert found == [{"role": "user", "content": [part | {"text": TASK + AFTER}]}, *items[1:]]
    found = placed({"input": items}, "observation", "responses")["input"]
    assert found[2]["output"] == "Hot." + AFTER and found[1] == items[1]


@given(
    st.lists(st.sampled_from(["user", "assistant", "tool", "system", "odd"]), min_size=1),
    st.lists(st.text(), min_size=1),
    st.sampled_from(["query", "observation", "thought"]),
)
def test_without_the_plan_it_is_the_callers_request_whatever_is_said(roles, texts, mode):
    messages = [{"role": role, "content": texts[k % len(texts)]} for k, role in enumerate(roles)]
    body = {"messages": [*messages, {"role": "user", "content": TASK}], "x": 1.0}
    found = placed(body, mode)
    said = contents(found)
    if mode == "thought":
        assert said.pop() == PREFIX
        del found["continue_final_message"], found["add_generation_prompt"]
    stripped = [text.removeprefix(PREFIX).removesuffix(AFTER) for text in said]
    assert stripped == contents(body)
    assert any(one != other for one, other in zip(said, stripped, strict=True)) or mode == "thought"


# ------------------------------------------------------------------------------------ the task

RULES = [
    ({}, chat(SYSTEM, {"role": "user", "content": f"  {TASK}\n"}), TASK),
    ({}, chat("Example.", "So.", TASK), TASK),
    ({}, chat(f"<examples>\nOther.\n</examples>\n{TASK}<example>x</example>"), TASK),
    ({}, chat([IMAGE, {"type": "text", "text": TASK}]), TASK),
    ({}, chat([IMAGE]), None),
    ({}, chat("  "), None),
    ({"task_regex": r"Task: (.+)"}, chat(f"Long words. Task: {TASK}\nGo."), TASK),
    ({"task_regex": r"(Task|Job): (?P<task>.+)"}, chat(f"Job: {TASK}"), TASK),
    ({"task_regex": r"Boil.*water\."}, chat(f"Now: {TASK}"), TASK),
    ({"task_regex": r"Task: (.+)"}, chat("No task."), None),
    ({"task_jmespath": "metadata.task"}, chat("Go.", metadata={"task": TASK}), TASK),
    ({"task_jmespath": "messages[?role=='user'] | [-1].content"}, chat("a", "b", TASK), TASK),
    ({"task_jmespath": "metadata.task"}, chat("Go."), None),
    ({"task_jmespath": "length(metadata)"}, chat("Go.", metadata=None), None),
    ({"task_jmespath": "metadata"}, chat("Go.", metadata={"task": TASK}), None),
]


@pytest.mark.parametrize(("settings", "body", "task"), RULES)
def test_the_task_is_what_the_rule_takes(settings, body, task):
    asked = Asked("chat", json.dumps(body), Headers())
    [*_, (beginning, _)] = asked.beginnings
    assert TaskRule(ProxyConfig(**settings)).task(asked, beginning) == task


def test_the_header_goes_before_the_rule():
    asked = Asked("chat", json.dumps(chat("Go.")), Headers(task=TASK))
    assert TaskRule(ProxyConfig(task_regex="x")).task(asked, 1) == TASK


@pytest.mark.parametrize(
    ("sent", "task"),
    [("Boil.", "Boil."), ("UTF-8''Boil%0A%C3%A9", "Boil\né"), ("é".encode(), "é"), (" ", None)],
)
def test_a_task_in_a_header_may_be_encoded(sent, task):
    value = sent.decode("latin-1") if isinstance(sent, bytes) else sent
    assert Headers.of({"x-mpo-task": value}).task == task


IN_WORDS = f"Go. The task: {TASK}"
ELSEWHERE = {"type": "text", "text": "Look."}


@pytest.mark.parametrize(
    ("first", "place"),
    [
        (chat("Example.", "So.", TASK), 2),
        (chat(TASK, "So.", TASK), 2),
        (chat(SYSTEM, {"role": "user", "content": "Go."}, {"role": "user", "content": TASK}), 2),
        (chat(IN_WORDS), 0),
        (chat(IN_WORDS, "So.", "Go."), 0),
        (chat("Go."), 0),
        (chat("Example.", "So.", "Go."), 2),
        (chat([IMAGE]), 0),
        (chat({"role": "user", "content": None}, {"role": "user", "content": [ELSEWHERE]}), 1),
        (chat(SYSTEM), None),
        (chat({"role": "user"}), None),
    ],
)
def test_the_plan_stands_in_the_turn_with_the_task_of_those_that_begin(first, place):
    asked = Asked("chat", json.dumps(first), Headers())
    [*_, (beginning, _)] = asked.beginnings
    assert TaskRule(ProxyConfig()).place(asked.turns[:beginning], TASK) == place


SAID = ["Go.", TASK, IN_WORDS, "Example."]


@given(
    st.lists(st.sampled_from(SAID), min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(["So.", TASK]), st.sampled_from(SAID)), max_size=4),
)
def test_whatever_is_said_later_the_plan_stays_where_it_was(beginning, later):
    messages = [{"role": "user", "content": said} for said in beginning]
    first = Asked("chat", json.dumps(chat(*messages)), Headers())
    place = TaskRule(ProxyConfig()).place(first.turns, TASK)
    mark = first.mark(first.turns[place])
    for reply, said in later:
        messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": said}]
        assert Asked("chat", json.dumps(chat(*messages)), Headers()).marked(mark) == first.marked(
            mark
        )
    assert first.turns[first.marked(mark)].text == first.turns[place].text


# ----------------------------------------------------------------------- in the running proxy


@pytest.mark.parametrize("mode", ["query", "observation"])
def test_each_request_extends_what_the_one_before_was(tmp_path, mode):
    """The upstream's prefix cache serves all but what is new."""
    with planning_proxy(tmp_path, mode=mode) as proxy:
        messages = [SYSTEM, {"role": "user", "content": TASK}]
        for said in (CALLED, TOOL), ({"role": "assistant", "content": "Hm."}, TOOL):
            proxy.ask(chat(*messages))
            messages += said
        proxy.ask(chat(*messages))
        sent = [seen.json["messages"] for seen in proxy.upstream.seen]
    assert [len(one) for one in sent] == [2, 4, 6]
    assert sent[1][:2] == sent[0] and sent[2][:4] == sent[1]
    assert sent[0][1]["content"] == TASK + AFTER


def continues(body):
    """What a server says that goes on from a beginning."""
    begun = body["messages"][-1]["role"] == "assistant"
    assert begun == bool(body.get("continue_final_message"))
    said = {"role": "assistant", "content": "Action: look"}
    return {"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}


def refuses(body):
    """What a server says that begins anew."""
    text = body["messages"][-1]["content"] if body["messages"][-1]["role"] == "assistant" else ""
    said = {"role": "assistant", "content": f"{text}Thought: I look.\nAction: look"}
    return {"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}


def test_a_thought_is_given_where_the_upstream_goes_on_from_one(tmp_path):
    with planning_proxy(tmp_path, mode="thought") as proxy:
        proxy.upstream.answer = continues
        assert [proxy.ask(chat(TASK)).status_code for _ in range(2)] == [200, 200]
        assert proxy.upstream.last.json["messages"][-1]["content"] == PREFIX
        probes = [s for s in proxy.upstream.seen if TASK not in s.body.decode()]
        assert len([s for s in probes if s.method == "POST"]) == 1


def test_a_thought_is_refused_in_one_line_where_the_upstream_begins_anew(tmp_path):
    with planning_proxy(tmp_path, mode="thought") as proxy:
        proxy.upstream.answer = refuses
        refused = proxy.ask(chat(TASK))
        assert refused.status_code == 400
        assert "does not go on from the beginning of a reply" in refused.text
        assert "set proxy.mode to query or observation" in refused.text
        assert proxy.ask(chat(TASK), x_mpo_plan="off").status_code == 200
        answer = proxy.ask({"model": "agent", "input": TASK}, "/responses")
        assert answer.status_code == 400 and "Responses API" in answer.text
