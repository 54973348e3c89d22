"""What a proxy finds out before it answers: its upstream, its planners, and what a plan takes."""

import asyncio
import re
import signal
import socket

import pytest

from mpo_core.chat import ChatRequest
from mpo_core.completions import Reply
from mpo_core.config import ProxyConfig
from mpo_core.errors import ContextFull, InputError
from mpo_core.proxy import serving
from mpo_core.proxy.planners import Planners, Source, read_planners, write_planners
from mpo_core.proxy.prompt import planner_prompts
from mpo_core.proxy.serving import check_planners, serve, upstream_fault
from mpo_core.proxy.workers import ending
from mpo_core.proxy.writers import ModelWriter
from tests.planning_proxy import PLAN, file_of_plans, recording_upstream

NOWHERE = "http://127.0.0.1:9/v1"


class Model:
    """A model of this process that takes its time."""

    name = fingerprint = "planner"

    def __init__(self, reply: Reply | Exception, takes_s: float = 0.0) -> None:
        self.reply, self.takes_s = reply, takes_s
        self.asked: list[ChatRequest] = []

    async def chat(self, request: ChatRequest) -> list[Reply]:
        self.asked.append(request)
        await asyncio.sleep(self.takes_s)
        if isinstance(self.reply, Exception):
            raise self.reply
        return [self.reply]

    async def close(self) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Model(Reply(PLAN)), r"writes a plan in 0\.\d s on this machine$"),
        (Model(Reply(PLAN), 0.3), "wait 0.4 s for one at most; raise proxy.planner_timeout_s"),
        (Model(Reply(PLAN), 5), "no plan within 0.4 s on this machine, .*proxy.planner_timeout_s"),
        (
            Model(Reply("Hm, I", True)),
            r"in 0\.\d s \(no steps\)\. .*cut at 99 .*proxy\.max_tokens$",
        ),
        (Model(Reply("Hm.")), r"no plan for a simple task in 0\.\d s \(no steps\)"),
        (Model(ContextFull("too long")), r"no plan for a simple task \(ContextFull: too long\)"),
    ],
)
def test_a_planner_of_this_process_says_what_a_plan_takes(tmp_path, model, said):
    config = ProxyConfig(planner_timeout_s=0.4, max_tokens=99)
    writer = ModelWriter(model, planner_prompts(), config, tmp_path)
    pace = asyncio.run(writer.pace())
    assert re.search(said, pace), pace


def test_a_planner_that_is_served_elsewhere_is_not_asked_beforehand(tmp_path):
    with recording_upstream() as planner:
        source = Source(endpoint=planner.url, model="m")
        planners = Planners(current="v1", versions={"v1": source})
        assert check_planners(planners, ProxyConfig(folder=tmp_path), None) == {}
        assert planner.seen == []


def test_weights_that_cannot_be_loaded_are_one_line(tmp_path):
    writer = ModelWriter(Model(KeyError("q_proj")), planner_prompts(), ProxyConfig(), tmp_path)
    with pytest.raises(InputError, match=r"this planner cannot be used \(KeyError: 'q_proj'"):
        asyncio.run(writer.ready())


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (Source(endpoint="nonsense", model="m"), "planners.json: nonsense: endpoint: .*whole URL"),
        (Source(folder="nowhere"), "no model folder"),
        (Source(plans="none.jsonl"), "none.jsonl"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_planner_that_cannot_be_used_is_one_line_and_leaves_nothing(
    tmp_path, source, fault, workers
):
    config = ProxyConfig(folder=tmp_path / "proxy", port=0, workers=workers)
    planners = Planners(current="v1", versions={"v1": source})
    with pytest.raises(InputError, match=fault) as refused:
        serve(config, planners, NOWHERE, print)
    assert "\n" not in str(refused.value) and not config.folder.exists()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("{", "names no base model"),
        ("{}", "names no base model"),
        ('{"base_model_name_or_path": null}', "expected a folder, found None"),
        ('{"base_model_name_or_path": "gone/away/from/here"}', "its base model: .*no such model"),
    ],
)
def test_an_adapter_whose_base_is_not_there_is_one_line(tmp_path, settings, fault):
    (tmp_path / "adapter_config.json").write_text(settings)
    planners = Planners(current="v1", versions={"v1": Source(folder=tmp_path)})
    with pytest.raises(InputError, match=f"adapter_config.json: .*{fault}"):
        check_planners(planners, ProxyConfig(folder=tmp_path), None)


# ------------------------------------------------------------------------------- its upstream


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, ""), (401, ""), (403, ""), (500, ""), (404, "it has no /models; .*ends in /v1")],
)
def test_an_upstream_without_models_is_told(status, said):
    with recording_upstream(status=status) as upstream:
        fault = upstream_fault(upstream.url)
    assert bool(fault) == bool(said)
    assert re.match(said, fault)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"http://h": 404, "http://h/v1": 200}, "has no /models, and http://h/v1 does; give --up"),
        ({"http://h": 404, "http://h/v1": 401}, "has no /models, and http://h/v1 does; give --up"),
        ({"http://h": 404, "http://h/v1": 404}, "mostly ends in /v1"),
        ({"http://h": 200}, "^$"),
    ],
)
def test_an_upstream_whose_models_are_under_v1_is_told_so(monkeypatch, known, said):
    monkeypatch.setattr(serving, "_models_status", known.__getitem__)
    assert re.search(said, upstream_fault("http://h"))


@pytest.mark.parametrize(
    ("listens", "names", "refused"),
    [
        ("127.0.0.1", ["127.0.0.1"], True),
        ("127.0.0.1", ["10.1.2.3"], False),
        ("127.0.0.1", ["127.0.1.1"], False),
        ("0.0.0.0", ["127.0.1.1"], True),
        ("0.0.0.0", ["10.1.2.3", "127.0.0.2"], True),
        ("0.0.0.0", ["192.0.2.1"], False),
    ],
)
def test_a_proxy_is_not_its_own_upstream_by_any_name_of_its_machine(
    monkeypatch, listens, names, refused
):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, 8100)) for name in names]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    if refused:
        with pytest.raises(InputError, match="--upstream http://me:8100/v1: is the proxy itself"):
            serving._refuse_itself("http://me:8100/v1", listens, 8100)
    else:
        serving._refuse_itself("http://me:8100/v1", listens, 8100)
    serving._refuse_itself("http://me:8000/v1", listens, 8100)


def test_planners_that_are_named_while_it_starts_are_kept(tmp_path, monkeypatch):
    ours, theirs = (
        Planners(current=name, versions={name: file_of_plans(tmp_path / name)}) for name in "ab"
    )
    config = ProxyConfig(folder=tmp_path / "proxy", port=0)
    config.folder.mkdir()

    def meanwhile(*_):
        write_planners(config.folder, theirs)
        return {}

    monkeypatch.setattr(serving, "check_planners", meanwhile)
    monkeypatch.setattr(serving.uvicorn.Server, "run", lambda *_, **__: None)
    serve(config, ours, NOWHERE, lambda line: None)
    assert read_planners(config.folder) == theirs


@pytest.mark.parametrize(("code", "how"), [(3, "exit code 3"), (-signal.SIGKILL, "SIGKILL")])
def test_how_a_worker_has_ended_is_said_by_name(code, how):
    assert ending(code) == how
