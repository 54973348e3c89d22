"""Versions of the planner are taken up while the proxy runs, as soon as they can be, and it says
so."""

import json
import logging
import re

import pytest

from mpo_core.files import write_text
from mpo_core.proxy import versions
from mpo_core.proxy.planners import FILE, Canary, Planners, Source, write_planners
from mpo_core.proxy.versions import changes
from tests.planning_proxy import TASK, chat, file_of_plans, planning_proxy, wait_until

ONE = {name: Source(endpoint="http://h:1/v1", model=name) for name in ("v1", "v2", "v3")}


def planners(current, canary=None, share=0.1):
    tried = Canary(version=canary, share=share) if canary else None
    return Planners(current=current, canary=tried, versions=ONE)


@pytest.mark.parametrize(
    ("before", "now", "anew", "said"),
    [
        (None, planners("v1"), ["v1"], ["takes up planner v1: new conversations get its plans"]),
        (planners("v1"), planners("v2"), ["v2"], ["takes up planner v2: .* plans, not v1's"]),
        (planners("v1"), planners("v1", "v2"), ["v2"], ["takes up v2 as canary: a share of 0.1 "]),
        (planners("v1", "v2"), planners("v1", "v2", 0.5), [], ["canary v2: a share of 0.5 of"]),
        (planners("v1", "v2"), planners("v2"), [], ["v2 is promoted: .* not v1's"]),
        (planners("v1", "v2"), planners("v1"), [], ["v2 is withdrawn: .* none of its plans"]),
        (planners("v1", "v2"), planners("v1", "v3"), ["v3"], ["v2 is withdrawn", "takes up v3 as"]),
        (planners("v1", "v2"), planners("v2", "v3"), ["v3"], ["v2 is promoted", "takes up v3 as"]),
        (planners("v1", "v2"), planners("v2", "v1"), [], ["v2 is promoted", "takes up v1 as"]),
        (planners("v1"), planners("v1"), ["v1"], ["takes up planner v1 from what it comes from"]),
        (planners("v1", "v2"), planners("v1", "v2"), ["v2"], ["takes up canary v2 from"]),
        (planners("v1"), planners("v1"), [], []),
        (
            planners("v1"),
            Planners(current="v1", versions={"v1": ONE["v1"]}),
            [],
            [f"{FILE} is read again: v1 writes"],
        ),
    ],
)
def test_a_line_for_each_change(before, now, anew, said):
    found = changes(before, now, anew)
    assert len(found) == len(said)
    for line, begins in zip(found, said, strict=True):
        assert re.match(begins, line), line


@pytest.fixture
def quick(monkeypatch, caplog):
    """A proxy that looks at its folder often; what it says."""
    monkeypatch.setattr(versions, "POLL_S", 0.01)
    caplog.set_level(logging.INFO, "mpo_core.proxy")
    return caplog


def lines(caplog):
    return [one.getMessage() for one in caplog.records if one.name.startswith("mpo_core.proxy")]


def said(caplog, part, times=1):
    wait_until(lambda: sum(part in line for line in lines(caplog)) == times)


def plan_of(proxy, name):
    proxy.ask(chat(TASK), x_mpo_conversation=name)
    return proxy.upstream.last.json["messages"][0]["content"].rpartition("Step 1: ")[2]


def health(proxy):
    return proxy.client.get(f"{proxy.address}/health").json()


def test_a_version_that_arrives_after_its_name_is_taken_up_when_it_is_there(tmp_path, quick):
    first = file_of_plans(tmp_path, {TASK: "Step 1: First."})
    later = tmp_path / "later" / "plans.jsonl"
    with planning_proxy(tmp_path / "proxy", planners=first) as proxy:
        assert health(proxy) == {"status": "ok", "planner": "v1", "canary": None}
        known = {"v1": first, "v2": Source(plans=later)}
        write_planners(proxy.folder, Planners(current="v2", versions=known))
        said(quick, "the planners stay as they were: ")
        assert plan_of(proxy, "a") == "First."
        file_of_plans(later.parent, {TASK: "Step 1: Later."})
        said(quick, "takes up planner v2: new conversations get its plans, not v1's")
        assert plan_of(proxy, "b") == "Later." and health(proxy)["planner"] == "v2"
        assert sum("stay as they were" in line for line in lines(quick)) == 1


def test_a_file_of_plans_that_changes_is_read_again(tmp_path, quick):
    source = file_of_plans(tmp_path, {TASK: "Step 1: First."})
    with planning_proxy(tmp_path / "proxy", planners=source) as proxy:
        assert plan_of(proxy, "a") == "First."
        write_text(source.plans, json.dumps({"task": "Another.", "plan": "Step 1: Second."}))
        said(quick, "takes up planner v1 from what it comes from anew")
        proxy.ask(chat("Another."))
        assert "Step 1: Second." in proxy.upstream.last.json["messages"][0]["content"]


def test_a_damaged_file_is_said_once_and_its_mending_too(tmp_path, quick):
    with planning_proxy(tmp_path) as proxy:
        path = tmp_path / FILE
        whole = path.read_text()
        write_text(path, "{")
        said(quick, "the planners stay as they were: ")
        assert plan_of(proxy, "a").endswith("Heat the water.")
        write_text(path, whole)
        said(quick, f"{FILE} can be used again: v1 writes the plans")
        assert sum("stay as they were" in line for line in lines(quick)) == 1


def test_a_canary_is_named_with_its_share(tmp_path, quick):
    source = file_of_plans(tmp_path)
    with planning_proxy(tmp_path / "proxy", planners=source) as proxy:
        both = {"v1": source, "v2": source}
        canary = Canary(version="v2", share=0.25)
        write_planners(proxy.folder, Planners(current="v1", canary=canary, versions=both))
        said(quick, "takes up v2 as canary: a share of 0.25")
        assert health(proxy)["canary"] == {"version": "v2", "share": 0.25}
        write_planners(proxy.folder, Planners(current="v2", versions=both))
        said(quick, "v2 is promoted")
        assert health(proxy) == {"status": "ok", "planner": "v2", "canary": None}


@pytest.mark.parametrize("content", [None, "{", '{"current": "v1", "versions": {"v1": {}}}'])
def test_a_worker_that_finds_no_planner_answers_without_plans_until_there_is_one(
    tmp_path, quick, monkeypatch, content
):
    source = file_of_plans(tmp_path / "plans")
    path = tmp_path / FILE

    def spoilt(*_):
        if content is not None:
            path.write_text(content)

    monkeypatch.setattr("tests.planning_proxy.write_planners", spoilt)
    with planning_proxy(tmp_path, planners=source) as proxy:
        assert health(proxy) == {"status": "ok", "planner": None, "canary": None}
        answer = proxy.ask(chat(TASK), x_mpo_conversation="early")
        assert answer.status_code == 200 and proxy.upstream.last.json == chat(TASK)
        write_planners(tmp_path, Planners(current="v1", versions={"v1": source}))
        said(quick, "takes up planner v1: new conversations get its plans")
        assert plan_of(proxy, "late").endswith("Heat the water.")
    assert not any(one.exc_info for one in quick.records)
