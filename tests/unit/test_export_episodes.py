"""`mpo export episodes`: which episodes of a run's folder, and what is refused."""

import json
import sqlite3

import pytest

from jobs import episodes as jobs_episodes
from jobs.episodes import export_episodes
from jobs.view.index import RunIndex
from mpo_core.errors import InputError
from mpo_core.types import Plan, Task
from tests.commandline import mpo_here
from tests.exported import documents, read_atif
from tests.viewed_run import GOOD, TASKS, append, episode, viewed_run


@pytest.fixture
def run(tmp_path):
    """A run of eight episodes of evaluation, and of four of other stages: without a plan, by the
    expert, under a plan that is no planner's, and of a task that stands in no file."""
    folder = viewed_run(tmp_path / "run")
    (folder / "config.yaml").write_text("name: run\n")
    free, solved = episode(20, None), episode(21, None).model_copy(update={"model": "expert"})
    given = episode(22, "Step 1: Sing.").model_copy(update={"reward": 0.25})
    lost = episode(23, None).model_copy(update={"task_id": "attic/sweep/1"})
    append(folder, [free, solved, given, lost], "scoring")
    return folder


def exported(run, out, *options):
    done = mpo_here("export", "episodes", str(run), "--format", "atif", "--out", str(out), *options)
    assert done.returncode == 0, done.stderr
    return [read_atif(one)[1] for one in documents("atif", out)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {*range(8), 20, 21, 22, 23}),
        (["--stage", "evaluation"], set(range(8))),
        (["--arm", "mpo"], {0, 1, 2, 3}),
        (["--arm", "none"], {20, 23}),
        (["--arm", "expert"], {21}),
        (["--arm", "given"], {22}),
        (["--env", "house"], {*range(8), 20, 21, 22}),
        (["--type", "find"], {1, 3, 5, 7, 21}),
        (["--split", "unseen", "--stage", "scoring"], {20, 21, 22}),
        (["--task", TASKS[1].id], {1, 5, 21}),
        (["--min-reward", "0.25"], {0, 1, 2, 3, 22}),
        (["--max-reward", "0.25", "--min-reward", "0.1"], {22}),
        (["--min-reward", "0"], {*range(8), 20, 21, 22, 23}),
        (["--limit", "3"], {0, 1, 2}),
        (["--limit", "2", "--arm", "sft"], {4, 5}),
    ],
)
def test_a_filter_leaves_what_it_says(run, tmp_path, options, expected):
    found = exported(run, tmp_path / "out.jsonl", *options)
    assert {one["key"] for one in found} == {f"{number:020x}" for number in expected}
    assert len(found) == len(expected)


def test_each_episode_comes_with_its_task_arm_stage_and_run(run, tmp_path):
    by_key = {int(one["key"], 16): one for one in exported(run, tmp_path / "out")}
    told = {key: by_key[1][key] for key in ("env", "type", "split", "task", "run", "stage", "plan")}
    assert told == {
        "env": "house",
        "type": "find",
        "split": "unseen",
        "task": TASKS[1].description,
        "run": "run",
        "stage": "evaluation",
        "plan": GOOD,
    }
    arms = {number: by_key[number]["arm"] for number in (0, 4, 20, 21, 22)}
    assert arms == {0: "mpo", 4: "sft", 20: "none", 21: "expert", 22: "given"}
    lost = {key: by_key[23][key] for key in ("env", "type", "split", "task")}
    assert lost == {"env": "attic", "type": "", "split": "", "task": ""}


def test_a_plan_that_several_planners_wrote_counts_for_each(run, tmp_path):
    path = run / "plans" / "sampled" / "sft-unseen.jsonl"
    path.parent.mkdir()
    path.write_text(Plan.of(TASKS[0].id, GOOD, "made-up").model_dump_json() + "\n")
    done = mpo_here(
        *("export", "episodes", str(run), "--format", "inspect", "--out", str(tmp_path / "logs")),
        *("--stage", "evaluation"),
    )
    assert done.returncode == 0, done.stderr
    logs = {
        path.name: len(documents("inspect", path.parent)) for path in (tmp_path / "logs").iterdir()
    }
    assert set(logs) == {
        "evaluation-mpo.eval",
        "evaluation-sft.eval",
        "evaluation-sft-sampled.eval",
    }


def test_of_an_arm_that_is_asked_for_there_is_no_log_but_its_own(run, tmp_path):
    path = run / "plans" / "sampled" / "sft-unseen.jsonl"
    path.parent.mkdir()
    path.write_text(Plan.of(TASKS[0].id, GOOD, "made-up").model_dump_json() + "\n")
    export_episodes(run, "inspect", tmp_path / "logs", {"planner": "mpo"})
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["evaluation-mpo.eval"]


def test_arms_that_are_offered_are_those_that_the_run_has(tmp_path):
    folder = viewed_run(tmp_path / "run")
    with pytest.raises(InputError, match=r"it has mpo, sft$"):
        export_episodes(folder, "atif", tmp_path / "out", {"planner": "mpoo"})


def test_no_work_is_shown_before_a_folder_that_is_there_is_refused(run, tmp_path, capsys):
    (tmp_path / "out.jsonl").touch()
    with pytest.raises(InputError, match="exists already"):
        export_episodes(run, "atif", tmp_path / "out.jsonl", {})
    assert capsys.readouterr().err == ""


def test_an_index_that_is_whole_already_shows_no_bar(run, tmp_path, capsys):
    export_episodes(run, "atif", tmp_path / "one.jsonl", {})
    assert "index:" in capsys.readouterr().err
    export_episodes(run, "atif", tmp_path / "two.jsonl", {})
    assert "index:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--arm", "rft"], "--arm rft: the run has no such episodes; it has expert, given, mpo"),
        (["--stage", "test"], "--stage test: the run has no such episodes; it has evaluation"),
        (["--env", "alfworld"], "it has house"),
        (["--task", "nowhere"], "no episodes with --task nowhere"),
        (
            ["--min-reward", "0.3", "--max-reward", "0.4"],
            "no episodes with --min-reward 0.3 --max-reward 0.4",
        ),
        (["--format", "otel"], "ends in .jsonl"),
        (["--format", "csv"], "csv"),
        (["--limit", "0"], "greater than or equal to 1"),
        (["--min-reward", "high"], "number"),
        (["--min-reward", "nan"], "no episodes with --min-reward nan"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(run, tmp_path, options, said):
    form = [] if "--format" in options else ["--format", "atif"]
    out = tmp_path / "made" / "out"
    done = mpo_here("export", "episodes", str(run), *form, "--out", str(out), *options)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert not out.parent.exists()


def test_a_folder_of_no_run_and_a_run_without_episodes_are_told(tmp_path):
    asked = ("--format", "hf", "--out", str(tmp_path / "out"))
    done = mpo_here("export", "episodes", str(tmp_path), *asked)
    assert (done.returncode, "no config.yaml" in done.stderr) == (2, True)
    (tmp_path / "config.yaml").touch()
    done = mpo_here("export", "episodes", str(tmp_path), *asked)
    assert (done.returncode, "no episodes yet" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_ledger_that_is_changed_meanwhile_stops_the_export_and_leaves_nothing(
    run, tmp_path, monkeypatch
):
    def damaging(records, folder, asked, limit, note):
        for played in played_of(records, folder, asked, limit, note):
            (folder / "episodes" / "scoring.jsonl").write_text("{}\n" * 100)
            yield played

    played_of = jobs_episodes._played
    monkeypatch.setattr(jobs_episodes, "_played", damaging)
    with pytest.raises(InputError, match=r"scoring\.jsonl: was changed by something else"):
        export_episodes(run, "hf", tmp_path / "out" / "d", {})
    assert list((tmp_path / "out").iterdir()) == []


def test_an_index_that_finds_no_room_is_told_in_one_line(run, tmp_path, monkeypatch):
    def full(self):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(RunIndex, "refresh", full)
    with pytest.raises(
        InputError, match=r"view\.sqlite: database or disk is full; free some space"
    ):
        export_episodes(run, "hf", tmp_path / "d", {})


def test_a_torn_last_line_is_left_out_and_a_folder_of_any_name_exported(run, tmp_path):
    moved = run.rename(tmp_path / "r\udcffn [1]")
    with (moved / "episodes" / "scoring.jsonl").open("a") as file:
        file.write(episode(30).model_dump_json()[:50])
    n = export_episodes(moved, "otel", tmp_path / "out.jsonl", {})
    assert n == 12
    texts = (tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(text) for text in texts] and "r\\\\udcffn [1]" in texts[0]


def test_the_order_is_that_of_the_ledgers_and_tasks_may_be_many_files(run, tmp_path):
    more = Task(id="attic/sweep/1", env="attic", type="sweep", split="train", description="Sweep.")
    (run / "tasks" / "train.jsonl").write_text(more.model_dump_json() + "\n")
    found = exported(run, tmp_path / "out.jsonl")
    assert [int(one["key"], 16) for one in found] == [*range(8), 20, 21, 22, 23]
    assert found[-1]["task"] == "Sweep."
