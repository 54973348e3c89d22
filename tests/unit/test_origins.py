"""Whose plans a run works with: those of a run that it began with are told apart."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import main
from jobs.origins import Origins, note_beginning, note_origin, origins_of, planner_of
from jobs.pipeline import run_pipeline
from jobs.run import Run
from jobs.status import status, status_lines
from jobs.view.index import RunIndex
from jobs.view.records import Records
from mpo_core.config import save_config
from mpo_core.errors import InputError
from mpo_core.run_folder import RunFolder
from mpo_core.teacher import RULES
from mpo_core.types import Plan
from tests.doors import config, open_doors
from tests.viewed_run import GOOD, POOR, TASKS, append, episode, viewed_run

NAMES = st.sampled_from(["sft-train", "mpo-2-unseen", "sampled/mpo-unseen", "seeds-train"])


def planners(run) -> dict[str, int]:
    return status(run)["plans"]


@pytest.fixture
def run(tmp_path):
    folder = viewed_run(tmp_path / "run")
    save_config(config(tmp_path), folder / "config.yaml")
    return folder


def test_of_a_run_that_noted_nothing_all_plans_are_its_own(run):
    assert planners(run) == {"mpo": 4, "sft": 4}


def test_of_a_copy_no_plans_are_its_own_until_it_asks_for_them(run):
    files = RunFolder(run)
    note_beginning(files, run.parent / "before")
    found = status(run)
    assert found["plans"] == {"mpo (earlier)": 4, "sft (earlier)": 4}
    assert found["stages"]["evaluation"] == {
        **{"episodes": 0, "mean_reward": None, "stderr": 0.0, "ends": {}},
        **{"earlier": 8, "of": None},
    }
    lines = list(status_lines(found))
    assert any("0 episodes; and 8 under earlier plans" in line for line in lines)
    assert (
        f"  begun with {run.parent}/before; its plans not used again are called earlier" in lines[1]
    )
    mpo = files.plans("mpo", "unseen")
    note_origin(files, mpo, "made-up")
    append(run, [episode(8, None)])
    found = status(run)
    assert found["plans"] == {"mpo": 4, "sft (earlier)": 4}
    of_stage = found["stages"]["evaluation"]
    assert (of_stage["episodes"], of_stage["earlier"]) == (5, 4)
    assert of_stage["mean_reward"] == pytest.approx(4 / 5)


def test_a_planner_trained_anew_has_its_old_plans_named_apart(run):
    files = RunFolder(run)
    mpo = files.plans("mpo", "unseen")
    with mpo.open("a") as file:
        for task in TASKS:
            file.write(Plan.of(task.id, POOR, "made-anew").model_dump_json() + "\n")
    note_origin(files, mpo, "made-anew")
    with closing(RunIndex(run)) as index:
        list(index.refresh())
        records = Records(index)
        assert records.choices()["planner"][2:] == ["mpo", "mpo (earlier)", "sft"]
        assert records.episodes({"planner": "mpo (earlier)"}).total == 4
        [row] = [r for r in records.plans(TASKS[0].id) if r["text"] == POOR]
        assert row["planner"] == "mpo, sft"
        note_origin(files, mpo, "made-up")
        list(index.refresh())
        assert records.episodes({"planner": "mpo"}).total == 4
        old = [r["planner"] for r in records.plans(TASKS[0].id) if r["text"] == GOOD]
        assert old == ["mpo"]


def test_an_index_that_is_not_kept_leaves_no_file(run):
    before = set(run.rglob("*"))
    assert status(run, kept=False)["plans"] == {"mpo": 4, "sft": 4}
    assert set(run.rglob("*")) == before


@pytest.mark.parametrize("text", ["", "[]", '{"asked": 7}', '{"asked": {"a": 1}, "begun_with": 3}'])
def test_damaged_notes_say_nothing_to_who_looks(run, text):
    RunFolder(run).origins.write_text(text)
    assert planners(run) == {"mpo": 4, "sft": 4}


def test_a_run_goes_on_with_no_damaged_notes(run):
    files = RunFolder(run)
    files.origins.write_text("{")
    with pytest.raises(InputError, match=r"origins\.json: damaged .* delete it"):
        note_origin(files, files.plans("mpo", "unseen"), "one")


@given(NAMES, st.lists(st.sampled_from(["one#1", "two#2", RULES]), min_size=1, max_size=5))
def test_the_origin_asked_for_last_is_a_planners_own_and_no_other(tmp_path_factory, name, asked):
    files = RunFolder(tmp_path_factory.mktemp("run"))
    path = files.path / "plans" / f"{name}.jsonl"
    file = path.relative_to(files.path).as_posix()
    for origin in asked:
        note_origin(files, path, origin)
    noted, last = origins_of(files), {planner_of(file, origin): origin for origin in asked}
    assert set(filter(lambda one: noted.is_own(file, one), asked)) == set(last.values())
    assert noted.is_own("plans/other-train.jsonl", "x")
    assert not Origins("before").is_own("plans/other-train.jsonl", "x")


@pytest.mark.slow
def test_a_run_that_begins_with_another_has_that_ones_plans_apart(tmp_path, monkeypatch, capsys):
    open_doors(monkeypatch)
    first = config(tmp_path, tracking={"enabled": False})
    with Run(first) as opened:
        run_pipeline(opened)
    asked = ["name=more", "planner.temperature=0.3"]
    with pytest.raises(SystemExit) as ended:
        main(["run", str(first.run_dir), *asked, "--from", str(first.run_dir)])
    assert not ended.value.code, capsys.readouterr().err
    before, after = planners(first.run_dir), planners(tmp_path / "more")
    assert before == {"base": 6}
    # Greedy plans of the evaluation are the same ones; those to score are drawn anew.
    assert after == {"base (earlier)": 4, "base": 6}
    # Another run yet that begins with it, of the same settings, takes up what is its own.
    with pytest.raises(SystemExit) as ended:
        main(["run", str(tmp_path / "more"), "name=third", "--from", str(tmp_path / "more")])
    assert not ended.value.code, capsys.readouterr().err
    assert planners(tmp_path / "third") == after
