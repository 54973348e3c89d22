"""Which requests are one conversation, and which plan it has."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from mpo_core.proxy import given
from mpo_core.proxy.arms import arm_of, drawn
from mpo_core.proxy.asked import Asked, Headers
from mpo_core.proxy.bookkeeping import redacted
from mpo_core.proxy.conversations import WITHOUT
from mpo_core.proxy.expressions import Limit, compiled
from mpo_core.proxy.planners import Canary, Planners, Source, write_planners
from mpo_core.proxy.records import task_of
from mpo_core.proxy.store import Store, StoreFault
from mpo_core.types import Plan
from tests.planning_proxy import (
    PLAN,
    TASK,
    chat,
    file_of_plans,
    planning_proxy,
    wait_until,
)

SYSTEM = {"role": "system", "content": "You boil."}
PLANS = [f"Step 1: Way {k}." for k in range(4)]


def said(answer, *names):
    return tuple(answer.headers.get(f"x-mpo-{name}") for name in names)


def ids(*bodies, **headers):
    """The ids of conversations that a proxy without any would begin."""
    asked = [Asked("chat", json.dumps(body), Headers(**headers)) for body in bodies]
    return [list(one.beginnings)[-1][1] for one in asked]


PART = {"type": "text", "text": TASK}


@pytest.mark.parametrize(
    "same",
    [
        chat(TASK, temperature=1.5, n=3, tools=[{"type": "function"}], stream=True),
        chat([PART]),
        chat([{**PART, "cache_control": {"type": "ephemeral"}}]),
        chat({"role": "user", "content": TASK, "name": "me"}),
    ],
)
def test_a_conversation_is_what_is_said_at_its_beginning(same):
    [one, other] = ids(chat(TASK), same)
    assert one == other


@pytest.mark.parametrize(
    "other",
    [
        chat(TASK + " "),
        chat(TASK, model="another"),
        chat(SYSTEM, {"role": "user", "content": TASK}),
        chat({"role": "system", "content": TASK}),
        chat("Example.", "So.", TASK),
        chat([PART, {"type": "image_url", "image_url": {"url": "data:,"}}]),
    ],
)
def test_other_words_another_conversation(other):
    [one, another] = ids(chat(TASK), other)
    assert one != another


def test_the_requests_of_a_conversation_are_known_by_its_beginning(tmp_path):
    with planning_proxy(tmp_path) as proxy:
        bodies = [chat(TASK), chat(TASK, "a", "b"), chat(TASK, "c", "d", "e", "f"), chat("Other.")]
        found = [said(proxy.ask(body), "conversation", "plan") for body in bodies]
    assert found[0] == found[1] == found[2] != found[3]


def test_worked_examples_are_part_of_the_beginning(tmp_path):
    with planning_proxy(tmp_path) as proxy:
        first, second = chat("Example.", "So.", TASK), chat("Example.", "So.", "Freeze it.")
        known = [said(proxy.ask(body), "conversation") for body in (first, second)]
        later = chat(*first["messages"], {"role": "assistant", "content": "?"}, "Go on.")
        assert said(proxy.ask(later), "conversation") == known[0] != known[1]
        with proxy.store() as store:
            assert [c.task for c in store.conversations()] == [TASK, "Freeze it."]


def test_the_header_names_a_conversation_whatever_is_said_in_it(tmp_path):
    with planning_proxy(tmp_path) as proxy:
        one = proxy.ask(chat(TASK), x_mpo_conversation="run 1/a")
        two = proxy.ask(chat(TASK), x_mpo_conversation="run 1/b")
        later = proxy.ask(chat("Shortened.", "a", TASK), x_mpo_conversation="run 1/a")
        assert [said(a, "conversation") for a in (one, two, later)] == [
            *(("run 1/a",), ("run 1/b",), ("run 1/a",))
        ]
        assert proxy.upstream.last.json["messages"][2]["content"].endswith(PLAN)
        for name in ("x" * 201, "caf\u00e9".encode()):
            headers = {"x-mpo-conversation": name}
            refused = proxy.client.post(
                f"{proxy.url}/chat/completions", json=chat(TASK), headers=headers
            )
            assert refused.status_code == 400 and "X-MPO-Conversation" in refused.text


def test_what_the_upstream_keeps_is_one_conversation(tmp_path):
    with planning_proxy(tmp_path, mode="observation") as proxy:
        proxy.upstream.answer = lambda body: {"object": "response", "id": f"resp_{len(body)}"}
        first = proxy.ask({"model": "m", "input": TASK}, "/responses")
        asked = {"model": "m", "previous_response_id": "resp_2"}
        output = [{"type": "function_call_output", "call_id": "1", "output": "Hot."}]
        later = proxy.ask({**asked, "input": output}, "/responses")
        assert said(later, "conversation", "plan") == said(first, "conversation", "plan")
        assert proxy.upstream.last.json["input"][0]["output"].endswith(PLAN)
        kept = {"model": "m", "conversation": {"id": "conv_1"}}
        two = [proxy.ask({**kept, "input": text}, "/responses") for text in (TASK, "And?")]
        assert said(two[0], "conversation") == said(two[1], "conversation") != said(first)


def with_plan(proxy):
    """Where the upstream has been sent a plan, of the last request's turns."""
    body = proxy.upstream.last.json
    said = body.get("messages", body.get("input"))
    turns = [said] if isinstance(said, str) else [turn["content"] for turn in said]
    return [k for k, turn in enumerate(turns) if PLAN in turn]


@pytest.mark.parametrize("named", [{}, {"x_mpo_conversation": "c"}])
@pytest.mark.parametrize("first", [f"You act. Task: {TASK}", "Hello, see the system."])
def test_a_plan_stays_in_its_message_whatever_is_said_later(tmp_path, named, first):
    with planning_proxy(tmp_path) as proxy:
        headers = {"x_mpo_task": TASK, **named}
        for later in ([], ["What?", TASK], ["What?", TASK, "Hm.", first]):
            proxy.ask(chat(first, *later), **headers)
            assert with_plan(proxy) == [0]


@pytest.mark.parametrize("named", [{}, {"x_mpo_conversation": "c"}])
def test_what_the_upstream_keeps_has_the_plan_already(tmp_path, named):
    with planning_proxy(tmp_path) as proxy:
        proxy.upstream.answer = lambda body: {"id": f"r{len(proxy.upstream.seen)}"}
        first = proxy.ask({"model": "m", "input": TASK}, "/responses", **named)
        assert with_plan(proxy) == [0]
        for k, later in enumerate(["And now?", TASK, [{"role": "user", "content": TASK}]], 1):
            asked = {"model": "m", "input": later, "previous_response_id": f"r{k}"}
            answer = proxy.ask(asked, "/responses", **named)
            assert said(answer, "conversation", "plan") == said(first, "conversation", "plan")
            assert proxy.upstream.last.json == asked
        for later, places in ((TASK, [0]), ("And now?", []), (TASK, [0])):
            proxy.ask({"model": "m", "input": later, "conversation": "conv_1"}, "/responses")
            assert with_plan(proxy) == places


def test_a_named_conversation_may_go_on_from_what_others_have_said(tmp_path):
    with planning_proxy(tmp_path) as proxy:
        proxy.upstream.answer = lambda body: {"id": f"r{len(proxy.upstream.seen)}"}
        forked = {"model": "m", "input": TASK, "previous_response_id": "elsewhere"}
        for _ in range(2):
            proxy.ask(forked, "/responses", x_mpo_conversation="c")
            assert with_plan(proxy) == [0]
        later = {**forked, "previous_response_id": "r2"}
        proxy.ask(later, "/responses", x_mpo_conversation="c")
        assert with_plan(proxy) == []


def test_whoever_says_a_conversations_example_alone_takes_nothing_from_it(tmp_path):
    shots = chat("Example.", "So.", TASK)["messages"]
    with planning_proxy(tmp_path) as proxy, planning_proxy(tmp_path) as other:
        first = proxy.ask(chat(*shots))
        for one in (proxy, other):
            one.ask(chat("Example."))
            later = one.ask(chat(*shots, {"role": "assistant", "content": "a"}, "b"))
            assert said(later, "conversation", "plan") == said(first, "conversation", "plan")
            assert with_plan(one) == [2]


def test_a_task_by_header_is_part_of_the_beginning(tmp_path):
    plans = file_of_plans(tmp_path, {TASK: PLANS[0], "Other.": PLANS[1]})
    with planning_proxy(tmp_path, planners=plans) as proxy:
        for headers, plan in (({"x_mpo_task": "Other."}, PLANS[1]), ({}, PLANS[0])):
            first = proxy.ask(chat(TASK), **headers)
            later = proxy.ask(chat(TASK, "a", "b"), **headers)
            assert said(first, "conversation") == said(later, "conversation")
            assert proxy.upstream.last.json["messages"][0]["content"].endswith(plan)


def test_a_plan_without_a_message_to_stand_in_is_none(tmp_path):
    with planning_proxy(tmp_path) as proxy:
        for body in (chat(SYSTEM), chat({"role": "user"})):
            answer = proxy.ask(body, x_mpo_task=TASK)
            assert said(answer, "plan", "why") == ("none", "no task")


def test_what_began_without_the_folder_has_no_plan_by_any_worker(tmp_path, monkeypatch):
    with planning_proxy(tmp_path) as one, planning_proxy(tmp_path) as other:
        with monkeypatch.context() as broken:
            broken.setattr(Store, "open_conversation", fails)
            answer = one.ask(chat(TASK))
            assert said(answer, "plan", "why") == (None, "the proxy's folder cannot be used")
        later = other.ask(chat(TASK, "a", "Other."))
        assert said(later, "plan", "why") == ("none", WITHOUT)
        assert said(one.ask(chat(TASK, "a", "Other.")), "plan") == ("none",)
        assert other.upstream.last.json == chat(TASK, "a", "Other.")
        with one.store() as store:
            assert [(kept.task, kept.plan) for kept in store.conversations()] == [(TASK, None)]


def fails(*_):
    raise StoreFault("the disk is full")


# --------------------------------------------------------------------------------------- arms

VERSIONS = {"v1": Source(plans="a"), "v2": Source(plans="b")}


def test_shares_are_kept_and_drawn_alike_everywhere():
    planners = Planners(current="v1", canary=Canary(version="v2", share=0.25), versions=VERSIONS)
    arms = Counter(arm_of(f"c{k}", 0.2, planners) for k in range(4000))
    assert arms["off"] / 4000 == pytest.approx(0.2, abs=0.03)
    assert arms["v2"] / (arms["v1"] + arms["v2"]) == pytest.approx(0.25, abs=0.03)
    assert drawn("a", "b") == drawn("a", "b") != drawn("a", "c")
    alone = Planners(current="v1", versions=VERSIONS)
    assert {arm_of(f"c{k}", 0.0, alone) for k in range(99)} == {"v1"}
    assert {arm_of(f"c{k}", 1.0, alone) for k in range(99)} == {"off"}


def test_off_by_header_and_by_share(tmp_path):
    with planning_proxy(tmp_path, off=1.0) as proxy:
        assert said(proxy.ask(chat(TASK)), "plan", "arm", "why") == ("off", "off", None)
        fresh = proxy.ask(chat(TASK), x_mpo_plan="fresh")
        assert said(fresh, "arm") == ("v1",)
    with planning_proxy(tmp_path) as proxy:
        with_plan = proxy.ask(chat(TASK), x_mpo_conversation="c")
        off = proxy.ask(chat(TASK), x_mpo_conversation="c", x_mpo_plan="off")
        assert said(off, "plan", "arm") == ("off", "v1") and said(with_plan, "plan") != ("off",)
        assert proxy.upstream.last.json == chat(TASK)


def test_a_plan_by_its_id(tmp_path):
    source = file_of_plans(tmp_path, {TASK: PLANS})
    id = Plan.of(task_of(TASK).id, PLANS[2], "v1").id
    with planning_proxy(tmp_path, planners=source) as proxy:
        answer = proxy.ask(chat(TASK), x_mpo_plan=id)
        assert said(answer, "plan", "arm") == (id, "v1")
        assert proxy.upstream.last.json["messages"][0]["content"].endswith(PLANS[2])
        refused = proxy.ask(chat("Other."), x_mpo_plan=id)
        assert refused.status_code == 400 and "no plan" in refused.json()["error"]["message"]


@pytest.mark.parametrize("explore", [1, 3])
def test_plans_of_a_task_are_tried_in_turn(tmp_path, explore):
    source = file_of_plans(tmp_path, {TASK: PLANS})
    with planning_proxy(tmp_path, planners=source, explore=explore) as proxy:
        plans = [said(proxy.ask(chat(TASK), x_mpo_conversation=f"c{k}"), "plan") for k in range(9)]
    assert sorted(Counter(plans).values()) == [9 // explore] * explore
    assert len(set(plans[:explore])) == explore


@pytest.mark.slow
def test_a_plan_that_is_taken_out_of_its_file_is_given_to_no_new_conversation(tmp_path):
    names = (f"c{number}" for number in count())
    with planning_proxy(
        tmp_path, planners=file_of_plans(tmp_path, {TASK: PLANS[:2]}), explore=3
    ) as proxy:

        def plan():
            return said(proxy.ask(chat(TASK), x_mpo_conversation=next(names)), "plan")

        assert len({plan() for _ in range(4)}) == 2
        file_of_plans(tmp_path, {TASK: PLANS[2]})
        known = {plan() for _ in range(2)}
        wait_until(lambda: plan() not in known)
        assert len({plan() for _ in range(6)}) == 1
        file_of_plans(tmp_path, {"Another task.": PLANS[0]})
        wait_until(lambda: plan() == ("none",))


@pytest.mark.slow
def test_conversations_that_begin_at_once_share_the_plans_that_are_under_way(tmp_path):
    source = file_of_plans(tmp_path, {TASK: PLANS})
    with planning_proxy(tmp_path, planners=source, explore=2) as proxy:

        def ask(k):
            return said(proxy.ask(chat(TASK), x_mpo_conversation=f"c{k}"), "plan")

        with ThreadPoolExecutor(16) as pool:
            plans = Counter(pool.map(ask, range(16)))
    assert len(plans) == 2 and min(plans.values()) >= 4


def test_one_conversation_that_begins_twice_at_once_has_one_plan(tmp_path):
    source = file_of_plans(tmp_path, {TASK: PLANS})
    with planning_proxy(tmp_path, planners=source, explore=4) as proxy:
        with ThreadPoolExecutor(16) as pool:
            plans = set(pool.map(lambda _: said(proxy.ask(chat(TASK)), "plan"), range(16)))
        assert len(plans) == 1
        assert proxy.metrics("conversations_total") == {'{arm="v1"}': 1.0}


def test_a_fresh_plan_for_each_conversation_that_asks_for_one(tmp_path):
    source = file_of_plans(tmp_path, {TASK: PLANS})
    with planning_proxy(tmp_path, planners=source) as proxy:
        one, two = (proxy.ask(chat(TASK), x_mpo_plan="fresh") for _ in range(2))
        assert said(one, "plan") != said(two, "plan")
        assert said(one, "conversation") != said(two, "conversation")
        later = proxy.ask(chat(TASK, "a", "b"), x_mpo_plan="fresh")
        assert said(later, "conversation", "plan") == said(two, "conversation", "plan")
        same = [proxy.ask(chat(TASK), x_mpo_plan="fresh", x_mpo_conversation="c") for _ in "ab"]
        assert said(same[0], "plan") == said(same[1], "plan")


def test_another_start_gives_a_conversation_the_plan_that_it_has(tmp_path):
    with planning_proxy(tmp_path, planners=file_of_plans(tmp_path)) as proxy:
        first = proxy.ask(chat(TASK))
    (tmp_path / "plans.jsonl").write_text(json.dumps({"task": TASK, "plan": "Step 1: New."}))
    with planning_proxy(tmp_path, planners=Source(plans=tmp_path / "plans.jsonl")) as proxy:
        later = proxy.ask(chat(TASK, "a", "b"))
    assert said(later, "conversation", "plan", "arm") == said(first, "conversation", "plan", "arm")


def test_conversations_that_are_held_in_memory_no_more_keep_their_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(given, "REMEMBERED", 2)
    source = file_of_plans(tmp_path, {TASK: PLANS})
    with planning_proxy(tmp_path, planners=source, explore=4) as proxy:
        names = [f"c{k}" for k in range(6)]
        first = [said(proxy.ask(chat(TASK), x_mpo_conversation=name), "plan") for name in names]
        again = [said(proxy.ask(chat(TASK), x_mpo_conversation=name), "plan") for name in names]
    assert again == first and len(set(first)) == 4


@pytest.mark.slow
def test_a_new_version_is_taken_up_while_old_conversations_go_on(tmp_path):
    first = file_of_plans(tmp_path / "a", {TASK: PLANS[0], "Other.": PLANS[0]})
    second = file_of_plans(tmp_path / "b", {TASK: PLANS[1], "Other.": PLANS[1]})
    with planning_proxy(tmp_path, planners=first) as proxy:
        old = said(proxy.ask(chat(TASK)), "arm", "plan")
        (tmp_path / "planners.json").write_text("{")  # What cannot be read changes nothing.
        versions = {"v1": first, "v2": second}
        write_planners(tmp_path, Planners(current="v2", versions=versions))
        health = f"{proxy.address}/health"
        wait_until(lambda: proxy.client.get(health).json()["planner"] == "v2")
        assert said(proxy.ask(chat(TASK, "a", "b")), "arm", "plan") == old
        assert said(proxy.ask(chat("Other.")), "arm") == ("v2",)


def test_what_is_recorded_of_a_conversation(tmp_path):
    with planning_proxy(tmp_path, off=0.5) as proxy:
        for k in range(8):
            proxy.ask(chat(SYSTEM, {"role": "user", "content": TASK}), x_mpo_conversation=f"c{k}")
        with proxy.store() as store:
            kept = list(store.conversations())
    assert {c.arm for c in kept} == {"off", "v1"} and {c.task for c in kept} == {TASK}
    assert {(c.arm, c.plan) for c in kept} == {("off", None), ("v1", PLAN)}
    assert {(c.model, c.mode, c.why) for c in kept} == {("agent", "query", "")}


def test_messages_are_kept_only_where_asked_for_and_without_what_is_redacted(tmp_path):
    secret = f"{TASK} Card 1234-5678."
    plans = file_of_plans(tmp_path, {secret: PLAN})
    with planning_proxy(tmp_path, planners=plans) as proxy:
        proxy.ask(chat(secret), x_mpo_conversation="a")
    settings = {"record_messages": True, "redact": [r"\d{4}-\d{4}"]}
    with planning_proxy(tmp_path, planners=plans, **settings) as proxy:
        proxy.ask(chat(secret), x_mpo_conversation="b")
    with proxy.store() as store:
        assert store.messages("a") == []
        assert store.messages("b") == chat(f"{TASK} Card [redacted].")["messages"]


def test_messages_are_redacted_however_deep_they_lie():
    hidden, shown = {"a 1": ['"2"\\', 3, None]}, {"a [out]": ['"[out]"\\', 3, None]}
    for _ in range(940):
        hidden, shown = [hidden], [shown]
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(redacted, hidden, [compiled(r"\d")], Limit()).result()
    assert json.dumps(found) == json.dumps(shown).replace("[out]", "[redacted]")
