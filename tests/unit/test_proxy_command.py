"""`mpo proxy`: which planner it is given, and what it refuses."""

import json

import pytest
import yaml

from jobs.configs import named_config
from jobs.proxy import check_prompts, planners_of, source_of
from jobs.serve import served_planners
from mpo_core.config import ProxyConfig
from mpo_core.errors import InputError
from mpo_core.proxy.planners import PROMPTS, Planners, Source, write_planners, write_prompts_of
from tests.callers import talk
from tests.commandline import mpo_here
from tests.planning_proxy import TASK, file_of_plans, recording_upstream


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["nowhere", "--upstream=http://127.0.0.1:9/v1"], "no planner: expected a URL"),
        (["plans.jsonl", "--upstream=host:80"], "is not a whole URL"),
        (["plans.jsonl", "--upstream=http://h/v1", "proxy.host=0.0.0.0"], "put a key"),
        (["plans.jsonl", "--upstream=http://h/v1", "proxy.of=1"], "of: unknown key"),
        (["plans.jsonl", "--upstream=http://h/v1", "seed=1"], "only settings of the proxy"),
        (["plans.jsonl", "--upstream=http://h/v1", "--model=m"], "--model: only with"),
        (["http://127.0.0.1:9/v1", "--upstream=http://h/v1"], "name the planner by --model"),
        (["http://u:secret@h/v1", "--upstream=http://h/v1"], "leave login and query out"),
        (["http://h/v1?key=secret", "--upstream=http://h/v1"], "leave login and query out"),
        (["plans.jsonl", "--upstream=http://h/v1?key=secret"], "give it without a query"),
        (["odd.jsonl", "--upstream=http://h/v1"], "row 1: plan: missing"),
        (["plans.jsonl", "--upstream=http://h/v1", "--prompts=empty"], "which nobody asks"),
        (["empty", "--upstream=http://h/v1"], "no model folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, arguments, fault):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MPO_PROXY_KEY", raising=False)
    file_of_plans(tmp_path)
    (tmp_path / "odd.jsonl").write_text(json.dumps({"task": TASK}))
    (tmp_path / "empty").mkdir()
    done = mpo_here("proxy", *arguments)
    assert done.returncode == 2 and fault in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists() and "secret" not in done.stderr


@pytest.mark.parametrize("planner", ["plans.jsonl", "https://127.0.0.1:9/v1"])
def test_authorities_that_cannot_be_read_are_said_before_anything_is_written(
    tmp_path, monkeypatch, planner
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    file_of_plans(tmp_path)
    done = mpo_here("proxy", planner, "--upstream=https://h/v1")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "SSL_CERT_FILE" in done.stderr and "no certificates can be read" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_folder_goes_on_with_its_own_planners_only(tmp_path):
    source, other = (file_of_plans(tmp_path / name) for name in "ab")
    config = ProxyConfig(folder=tmp_path / "proxy")
    known = Planners(current="v2", versions={"v1": Source(folder="w"), "v2": source})
    write_planners(config.folder, known)
    assert planners_of(str(source.plans), None, config) == (config, known)
    assert planners_of(str(config.folder), None, ProxyConfig()) == (config, known)
    with pytest.raises(InputError, match=r"has other planners \(v1, v2\)"):
        planners_of(str(other.plans), None, config)
    elsewhere = ProxyConfig(folder=tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"proxy.folder: .*elsewhere, and .*proxy is a proxy's"):
        planners_of(str(config.folder), None, elsewhere)
    with pytest.raises(InputError, match="--model: only with a planner's URL"):
        planners_of(str(config.folder), "m", ProxyConfig())


@pytest.mark.parametrize("env", ["feedback", "alfworld"])
def test_prompts_of_ones_own_are_those_that_the_planner_is_asked_by(tmp_path, env):
    source = Source(endpoint="http://h/v1", model="m", env=env)
    planners = Planners(current="v1", versions={"v1": source})
    check_prompts(planners, None)
    for folder, fault in ((tmp_path / "none", "no such folder"), (tmp_path, f"no {env}/planner")):
        with pytest.raises(InputError, match=f"--prompts {folder}: .*{fault}"):
            check_prompts(planners, folder)
    (tmp_path / env).mkdir()
    (tmp_path / env / "planner.txt").write_text("Plan for: {task}")
    check_prompts(planners, tmp_path)


@pytest.mark.parametrize("arms", [[], ["off"], ["v1"], ["base", "off"], ["v1", "v3"]])
def test_a_first_planner_has_a_name_of_which_there_are_no_conversations(tmp_path, arms):
    source, config = file_of_plans(tmp_path), ProxyConfig(folder=tmp_path / "proxy")
    assert planners_of(str(source.plans), None, config)[1].current == "v1"
    assert not config.folder.exists()
    for arm in arms:
        talk(tmp_path, arm, [None], tasks=1, final=False)
    before = {path: path.read_bytes() for path in config.folder.rglob("*")}
    (name,) = planners_of(str(source.plans), None, config)[1].versions
    assert name == {"v1": "v2", "base": "v2", "v3": "v4"}.get(
        max(set(arms) - {"off"}, default=""), "v1"
    )
    assert {path: path.read_bytes() for path in config.folder.rglob("*")} == before


def test_a_run_is_named_as_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["models.llm.endpoint=http://h/v1"]
    config = named_config("endpoint", settings)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    text = yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True))
    (tmp_path / "runs" / "mine" / "config.yaml").write_text(text)
    by_name, by_path = (source_of(one, None, ProxyConfig()) for one in ("mine", "runs/mine"))
    assert by_name == by_path and by_name.endpoint == "http://h/v1"
    (tmp_path / "mine").mkdir()
    assert source_of("mine", None, ProxyConfig()).folder == tmp_path / "mine"


def listed(*names):
    rows = {"object": "list", "data": [{"id": name} for name in names]}
    return recording_upstream(body=json.dumps(rows).encode())


def test_the_only_model_of_a_server_is_the_planner(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with listed("writer") as server:
        source = source_of(server.url, None, ProxyConfig())
        assert (source.endpoint, source.model) == (server.url, "writer")
        assert server.last.header("authorization") == "Bearer k"
        assert source_of(server.url, "writer", ProxyConfig()).model == "writer"
        with pytest.raises(InputError, match=r"--model writr: .* \(did you mean writer\?\)"):
            source_of(server.url, "writr", ProxyConfig())
    with listed("a", "b") as server, pytest.raises(InputError, match="there are: a, b"):
        source_of(server.url, None, ProxyConfig())


def test_a_server_that_does_not_tell_its_models_is_believed_to_have_the_named_one(caplog):
    url = "http://127.0.0.1:9/v1"
    assert source_of(url, "writer", ProxyConfig()).model == "writer"
    assert "not told" in caplog.text and "writer" in caplog.text
    with listed() as server:
        assert source_of(server.url, "writer", ProxyConfig()).model == "writer"


def test_the_help_has_examples():
    shown = mpo_here("proxy", "--help").stdout
    assert "--upstream" in shown and "mpo proxy plans.jsonl" in shown


def test_planners_that_a_config_serves_answer_at_this_starts_address(tmp_path):
    config = named_config("demo-llm", [f"proxy.folder={tmp_path}"])
    name = config.planner.model
    first = served_planners(config, "http://127.0.0.1:1/v1", "base", name)
    assert (first.current, first.versions["base"].endpoint) == ("base", "http://127.0.0.1:1/v1")
    learnt = Source(folder=tmp_path / "v2")
    known = first.model_copy(update={"current": "v2", "versions": {**first.versions, "v2": learnt}})
    write_planners(tmp_path, known)
    again = served_planners(config, "http://127.0.0.1:2/v1", "base", name)
    assert again.current == "v2" and again.versions["v2"] == learnt
    assert again.versions["base"].endpoint == "http://127.0.0.1:2/v1"
    trained = served_planners(config, "http://127.0.0.1:2/v1", "mpo", f"{name}:mpo")
    assert trained.current == "mpo" and trained.versions["mpo"].model == f"{name}:mpo"


def test_a_served_planner_has_a_name_that_no_other_had_and_keeps_it(tmp_path):
    config = named_config("demo-llm", [f"proxy.folder={tmp_path / 'proxy'}"])
    name, url = config.planner.model, "http://127.0.0.1:1/v1"
    # Of a planner whose record was deleted, there are conversations.
    talk(tmp_path, "base", [None], tasks=1, final=False)
    for _ in range(2):
        found = served_planners(config, url, "base", name)
        assert (found.current, set(found.versions)) == ("v2", {"v2"})
        write_planners(config.proxy.folder, found)
    other = found.model_copy(update={"versions": {**found.versions, "mpo": Source(folder="w")}})
    write_planners(config.proxy.folder, other)
    for _ in range(2):
        found = served_planners(config, url, "mpo", f"{name}:mpo")
        assert found.current == "v3" and found.versions["v3"].model == f"{name}:mpo"
        assert found.versions["mpo"] == Source(folder="w")
        write_planners(config.proxy.folder, found)


def test_a_folder_of_weights_says_by_whose_prompt_its_planner_is_asked(tmp_path):
    assert source_of(str(tmp_path), None, ProxyConfig()).env == "feedback"
    write_prompts_of(tmp_path, "alfworld")
    assert source_of(str(tmp_path), None, ProxyConfig()).env == "alfworld"
    for damaged in ("{", "[]", '{"env": 3}', "{}"):
        (tmp_path / PROMPTS).write_text(damaged)
        with pytest.raises(InputError, match=f"{PROMPTS}: "):
            source_of(str(tmp_path), None, ProxyConfig())


@pytest.mark.parametrize(
    ("overrides", "asked_by"),
    [([], "alfworld"), (["envs.scienceworld={}"], None)],
)
def test_a_planner_is_asked_by_the_prompt_of_the_one_environment(overrides, asked_by):
    assert named_config("alfworld-llama3.1-8b", overrides).asked_by == asked_by
