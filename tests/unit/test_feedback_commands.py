"""A run on callers' feedback by its commands, and its folder as others look at it."""

import re
import time
from html import unescape
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from jobs.feedback.prospect import other_planner
from jobs.run import Run
from jobs.view.app import viewer
from mpo_core.config import Config, parse_config
from mpo_core.errors import InputError
from mpo_core.ledger import read_records
from mpo_core.proxy.planners import Planners, Source, write_planners
from mpo_core.proxy.records import OFF, Feedback
from mpo_core.proxy.store import Store
from mpo_core.types import Episode, PreferencePair
from tests.callers import (
    GOOD,
    POOR,
    begin,
    config,
    talk,
    versions,
    without_weights,
    worked,
)
from tests.commandline import mpo_here


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    without_weights(monkeypatch)


def settings_of(folder: Path, asked: Config) -> str:
    path = folder / "mine.yaml"
    path.write_text(asked.model_dump_json(exclude_defaults=True))
    return str(path)


def mpo(*arguments: str) -> str:
    """What a command that ends well says, in one line."""
    done = mpo_here(*arguments)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_stages_alone_do_what_the_whole_does(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    asked = config(tmp_path)
    path, files = settings_of(tmp_path, asked), Run(asked).files
    assert "20 plans scored by 20 episodes" in mpo("rollout", path)
    ahead = mpo("run", path, "--dry-run")
    assert "trainings training: 10 pairs of plans of the" in ahead, ahead
    more = mpo("run", path, "--dry-run", "feedback.least_pairs=11")
    assert "trainings none: 10 pairs of plans of the 11 that" in more
    nowhere = mpo("run", path, "--dry-run", f"proxy.folder={tmp_path / 'nowhere'}")
    assert "no proxy has kept anything there" in nowhere and "trainings none" in nowhere
    assert "10 pairs in" in mpo("pairs", path)
    assert "weights in" in mpo("train", "dpo", path)
    assert versions(tmp_path).current == "v1"
    assert "20 conversations; 20 with a final reward" in mpo("evaluate", path)
    done = files.planner("mpo") / "training.json"
    before = done.stat().st_mtime_ns
    assert "Round 1 has trained v2" in mpo("run", path)
    assert done.stat().st_mtime_ns == before and versions(tmp_path).current == "v2"
    assert "20 conversations, 20 rewarded" in mpo("run", path, "--dry-run")
    assert "20 episodes" in mpo("status", str(files.path))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["plans", "CONFIG"], "callers' conversations"),
        (["collect", "CONFIG"], "callers' conversations"),
        (["train", "sft", "CONFIG"], "feedback.train says how is trained: dpo"),
        (["run", "CONFIG", "rounds=2"], "leave rounds out"),
        (["run", "CONFIG", "envs={alfworld: {}}"], "leave envs out"),
        (["run", "CONFIG", "feedback.train=rft"], "rft needs planner.rft.training"),
        (["run", "CONFIG", "planner.sft={}"], "there are no seed plans"),
        (["run", "CONFIG", "proxy.folder=nowhere"], "no proxy has kept anything here"),
        (["evaluate", "CONFIG", "--plans", "plans.jsonl"], "--plans: not with source=feedback"),
        *(
            (
                [*stage, "CONFIG", "feedback.models=[zzz]"],
                "feedback.models: zzz: no conversation of these has a final reward; there are "
                "those of agent (20)",
            )
            for stage in (["run"], ["evaluate"], ["rollout"], ["pairs"], ["train", "dpo"])
        ),
    ],
)
def test_what_cannot_be_done_with_feedback_is_one_line(tmp_path, arguments, fault):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    path = settings_of(tmp_path, config(tmp_path))
    done = mpo_here(*(path if one == "CONFIG" else one for one in arguments))
    assert done.returncode == 2 and fault in " ".join(done.stderr.split())


def test_rollouts_still_need_an_environment():
    tree = {"name": "a", "envs": {}, "models": {"m": {"endpoint": "http://h/v1"}}}
    tree |= {"planner": {"model": "m"}, "agent": {"model": "m"}}
    with pytest.raises(InputError, match="name an environment"):
        parse_config(tree)


@pytest.mark.slow
def test_a_run_on_feedback_is_looked_at_compared_and_exported_as_others_are(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    talk(tmp_path, OFF, [None])
    with Store(tmp_path / "proxy") as store:
        call = {"type": "function", "function": {"name": "look", "arguments": "{}"}}
        said = [
            {"role": "user", "content": [{"type": "text", "text": "<b>Open</b> door 0."}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "A door.", "tool_call_id": "1"},
        ]
        store.record_messages("c0", said)
    asked = config(tmp_path)
    worked(asked)
    talk(tmp_path, "v2", [GOOD])
    worked(asked)
    folder = asked.run_dir
    texts = {}
    with TestClient(viewer([folder]), "http://127.0.0.1") as client:
        for _ in range(200):
            state = client.get("/state", params={"run": "mine"}).json()
            if state == {"episodes": 40, "behind": 0}:
                break
            time.sleep(0.05)
        todo = ["/"]
        while todo:
            address = todo.pop()
            if address not in texts:
                answer = client.get(address)
                texts[address] = answer.text
                assert answer.status_code == 200 or address.startswith("/pair?"), address
                todo += [unescape(link) for link in re.findall(r'href="(/[^"]*)"', answer.text)]
    assert any("&lt;b&gt;Open&lt;/b&gt; door 0." in text for text in texts.values())
    assert any("look" in text and "A door." in text for text in texts.values())
    assert any("arm off, conversation c29" in text for text in texts.values())
    assert not any("<option >expert</option>" in text for text in texts.values())
    html = (folder / "report" / "index.html").read_text()
    assert "Differences over all tasks" in html and "no plan (off)" in html
    assert "expert" not in html
    other = config(tmp_path, name="other", seed=7)
    worked(other)
    assert "v2" in mpo("compare", str(folder), str(other.run_dir))
    episode = read_records(Run(asked).files.episodes("feedback"), Episode)[0]
    assert "A door." in mpo("show", episode.key, str(folder))
    assert "feedback" in mpo("doctor", settings_of(tmp_path, asked))
    out = tmp_path / "out"
    mpo("export", "data", str(folder), "--out", str(out))
    assert {path.name for path in out.iterdir()} >= {
        "feedback_metaplan_preference_pairs.json",
        "feedback_metaplan_train_sampled_v1.jsonl",
    }


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["run", "CONFIG", "proxy.folder=nowhere"], "no proxy has kept anything here"),
        (["evaluate", "CONFIG", "proxy.folder=nowhere"], "no proxy has kept anything here"),
        (["run", "CONFIG", "feedback.prompts=alfworld"], "set feedback.prompts=feedback"),
        (["run", "CONFIG", "feedback.planners=[v9]"], "there are those of v1 (20)"),
        (["run", "CONFIG", "feedback.models=[agent, x]"], "feedback.models: x: no conversation"),
        (["rollout", "CONFIG", "feedback.models=[x]"], "there are those of agent (20)"),
        (["pairs", "CONFIG", "--round", "2"], "has no such round; the last one, which may begin"),
    ],
)
def test_a_command_that_its_input_refuses_leaves_nothing(tmp_path, arguments, fault):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    store = {"enabled": True, "uri": f"sqlite:///{tmp_path}/mlflow.db"}
    path = settings_of(tmp_path, config(tmp_path, tracking=store))
    done = mpo_here(*(path if one == "CONFIG" else one for one in arguments))
    assert done.returncode == 2 and fault in " ".join(done.stderr.split())
    assert not (tmp_path / "runs" / "mine").exists() and not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("key", ["models", "planners"])
def test_a_dry_run_refuses_what_the_run_would(tmp_path, key):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    path = settings_of(tmp_path, config(tmp_path))
    done = mpo_here("run", path, "--dry-run", f"feedback.{key}=[nobody]")
    assert done.returncode == 2 and f"feedback.{key}: nobody: no conversation" in done.stderr


def test_a_version_that_the_proxy_knows_may_be_named_before_it_has_conversations(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "draft", [GOOD, POOR])
    path = settings_of(tmp_path, config(tmp_path))
    assert "trainings none: 0 pairs" in mpo("run", path, "--dry-run", "feedback.planners=[v1]")


@pytest.mark.slow
def test_a_round_that_could_not_begin_is_no_round(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    asked = config(tmp_path)
    worked(asked)
    assert "in " + str(Run(asked).files.pairs(2)) in mpo(
        "pairs", str(asked.run_dir), "--round", "2"
    )
    done = mpo_here("pairs", str(asked.run_dir), "--round", "7")
    assert done.returncode == 2 and "--round 7" in done.stderr and "--round 2" in done.stderr


def test_a_single_plan_a_task_is_not_said_to_have_earned_the_same_as_others(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD], tasks=1)
    said = mpo("run", settings_of(tmp_path, config(tmp_path)))
    assert "1 conversation, 1 with a final reward; 1 of these, on 1 task, 0 of them" in said
    assert "proxy.explore=5" in said and "planner.temperature" not in said
    assert "1 plan, 1 episode, 0 pairs" in said


@pytest.mark.slow
def test_a_run_of_other_settings_is_told_how_it_goes_on(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR])
    asked = config(tmp_path)
    path = settings_of(tmp_path, asked)
    mpo("run", path, "training.beta=0.3")
    done = mpo_here("run", path)
    assert done.returncode == 2 and f"such as `mpo run {asked.run_dir}`" in done.stderr
    assert "Nothing to learn yet" in mpo("run", str(asked.run_dir))


@pytest.mark.slow
def test_the_arms_stand_in_one_table_with_the_tasks_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.rendering.console.width", 120)
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=10)
    talk(tmp_path, OFF, [None], tasks=7)
    said = mpo_here("run", settings_of(tmp_path, config(tmp_path))).stdout.splitlines()
    cells = [line.split() for line in said]
    header = next(k for k, line in enumerate(cells) if line[:3] == ["plans", "mean", "reward"])
    off, v1 = (next(c for c in cells[header:] if c[: len(n)] == n) for n in (["no"], ["v1"]))
    assert off[-2:] == ["7", "7"] and v1[-2:] == ["10", "20"]
    assert sum(line[:3] == ["plans", "mean", "reward"] for line in cells) == 1


@pytest.mark.slow
def test_a_run_that_begins_with_a_copy_learns_anew_from_all_that_has_come(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=8)
    asked = config(tmp_path)
    worked(asked)
    talk(tmp_path, "v2", [GOOD, POOR], tasks=10)
    worked(asked)
    other = config(tmp_path, name="other", training={"beta": 0.3})
    path = settings_of(tmp_path, other)
    assert "Round 1 has trained v4 from base" in mpo("run", path, "--from", str(asked.run_dir))
    assert len(read_records(Run(other).files.pairs(), PreferencePair)) == 10
    assert versions(tmp_path).current == "v4"


def files_under(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("state", ["none", "empty", "closed", "open"])
def test_who_only_looks_leaves_the_proxys_folder_as_it_is(tmp_path, state):
    folder, shown = tmp_path / "proxy", "0 conversations, 0 rewarded"
    opened = None
    if state in ("none", "empty"):
        folder.mkdir()
        write_planners(folder, Planners(current="v1", versions={"v1": Source(folder=tmp_path)}))
        if state == "empty":
            (folder / "proxy.db").touch()
    else:
        begin(tmp_path)
        talk(tmp_path, "v1", [GOOD, POOR])
        talk(tmp_path, "v1", [GOOD], final=False)
        shown = "30 conversations, 20 rewarded"
        opened = Store(folder) if state == "open" else None
        if opened:
            opened.feedback(Feedback(conversation="c0", reward=0.1, at=9.0))
    before = files_under(folder)
    settings = settings_of(tmp_path, config(tmp_path))
    assert shown in mpo("run", settings, "--dry-run")
    assert shown.replace("rewarded", "with a final reward") in mpo("doctor", settings)
    after = files_under(folder)
    # SQLite's index of an open journal notes who reads.
    assert {p: c for p, c in after.items() if p.suffix != ".db-shm"} == {
        p: c for p, c in before.items() if p.suffix != ".db-shm"
    }
    assert after.keys() == before.keys()
    if opened:
        opened.close()


def test_rewards_of_nothing_that_the_proxy_knows_are_an_error(tmp_path):
    begin(tmp_path)
    talk(tmp_path, "v1", [GOOD])
    rewards = tmp_path / "rewards.jsonl"
    rewards.write_text('{"conversation": "x", "reward": 1}\n{"conversation": "y", "reward": 1}\n')
    done = mpo_here("feedback", str(rewards), "--folder", str(tmp_path / "proxy"))
    assert done.returncode == 2 and "has none of these conversations" in done.stderr
    assert "2 unknown" in done.stdout
    rewards.write_text('{"conversation": "x", "reward": 1}\n{"conversation": "c0", "reward": 1}\n')
    assert "1 unknown" in mpo("feedback", str(rewards), "--folder", str(tmp_path / "proxy"))


@pytest.mark.parametrize(
    ("source", "warned"),
    [("builtin:smollm2-135m-instruct", True), ("builtin:m-2", False), ("org/planner", False)],
)
def test_a_planner_that_is_not_the_one_to_be_trained_is_warned_of(tmp_path, source, warned):
    begin(tmp_path)
    found = other_planner(Run(config(tmp_path, models={"planner": {"source": source}}), make=False))
    assert bool(found) == warned
    assert not warned or "the proxy's planner v1 is m at http://h:1/v1" in found
