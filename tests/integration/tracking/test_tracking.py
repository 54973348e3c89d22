"""MLflow on SQLite: runs and experiments that were deleted, moved or are of another config."""

import json
import logging
import shutil
import time
from asyncio import CancelledError
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mpo_core.config import TrackingConfig
from mpo_core.errors import InputError
from mpo_core.tracking import MlflowTracker
from mpo_core.tracking.sender import sync
from mpo_core.tracking.store import sqlite_uri
from tests.tracked_runs import logged, tracking

ROW = [{"a": 1}]


def client_of(runs: Path) -> MlflowClient:
    return MlflowClient(sqlite_uri(runs / "mlflow.db"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A runs folder of an odd name with a finished run in MLflow: making its tables takes long."""
    folder = tmp_path_factory.mktemp("made") / "what? 50%25"
    with tracking(folder) as opened:
        opened.log_metrics({"loss": 1.0}, step=1)
        opened.log_table("table", ROW)
        opened.end("FINISHED")
    return folder


@pytest.fixture(autouse=True)
def as_in_a_new_process() -> None:
    """A process remembers where each run's artifacts go; a folder moves between two of them."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


@pytest.fixture
def runs(made, tmp_path) -> Path:
    """A copy: MLflow's absolute addresses in it still name the original."""
    return Path(shutil.copytree(made, tmp_path / "runs"))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def artifacts(runs: Path, run: str = "mine") -> set[str]:
    run_id = (runs / run / "mlflow_run_id").read_text()
    return files(runs / "mlartifacts" / run_id / "artifacts")


def test_a_run_goes_on_in_its_mlflow_run(runs):
    before = (runs / "mine" / "mlflow_run_id").read_text()
    with tracking(runs) as opened:
        opened.log_metrics({"loss": 3.0, "other": 2.0}, step=1)
        opened.log_metrics({"loss": 0.5}, step=2)
    assert opened.run_id == before
    client = client_of(runs)
    points = [(m.step, m.value) for m in client.get_metric_history(before, "loss")]
    assert points == [(1, 1.0), (2, 0.5)], "of a step, what was first logged"
    assert client.get_run(before).data.metrics["other"] == 2
    assert client.get_run(before).info.status == "RUNNING"


def test_runs_stand_under_the_run_they_were_logged_in(runs):
    with tracking(runs) as opened:
        for _ in range(2):
            with opened.nested("round 1", "round"), opened.nested("train", "training", alone=True):
                opened.log_metrics({"loss": 1.0}, step=1)
        with opened.nested("train", "training", alone=True):
            opened.log_metrics({"loss": 2.0}, step=1)
            opened.log_metrics({"loss": 0.5}, step=2)
        with opened.nested("plans", "stage"):
            pass
    client = client_of(runs)
    found = client.search_runs([client.get_experiment_by_name("mpo").experiment_id])
    by_id = {run.info.run_id: run for run in found}
    under = {
        run.info.run_name: by_id[run.data.tags["mlflow.parentRunId"]].info.run_name
        for run in found
        if "mlflow.parentRunId" in run.data.tags
    }
    assert under == {"round 1": "mine", "train": "round 1"}, "and none of what logged nothing"
    assert {run.info.run_name: run.info.status for run in found} == {
        "mine": "RUNNING",
        "round 1": "FINISHED",
        "train": "FINISHED",
    }
    [trained] = [run.info.run_id for run in found if run.info.run_name == "train"]
    points = client.get_metric_history(trained, "loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "KILLED"), (CancelledError, "KILLED"), (ValueError, "FAILED")],
)
def test_a_stage_that_fails_is_marked_so(runs, error, status):
    with (
        pytest.raises(error),
        tracking(runs) as opened,
        opened.nested("scoring", "stage"),
    ):
        opened.log_metrics({"episodes": 1}, step=1)
        raise error
    client = client_of(runs)
    [one] = client.search_runs(
        [client.get_experiment_by_name("mpo").experiment_id], "tags.mpo.kind = 'stage'"
    )
    assert one.info.status == status


def test_a_moved_runs_folder_takes_its_artifacts_along(made, runs):
    before = files(made)
    with tracking(runs) as opened:
        opened.log_table("table", [{"a": 2}])
        opened.log_table("other", ROW)
    with tracking(runs, "second") as second:
        second.log_table("table", ROW)
    assert artifacts(runs) == {"table.json", "other.json"}
    assert files(made) == before, "nothing is written where the folder was"
    found = client_of(runs).download_artifacts(opened.run_id, "table.json")
    assert json.loads(Path(found).read_text())["data"] == [[2]]


@pytest.mark.parametrize(
    "name",
    ["a b", "what?", "50%", "50%25", "a%3Fb", "ü#1", "a&b=c;d", "sqlite:", "it's", 'a"b@c:d'],
)
def test_a_runs_folder_may_have_any_name(made, tmp_path, name):
    runs = Path(shutil.copytree(made, tmp_path / name))
    before = files(runs)
    with tracking(runs, "second") as opened:
        opened.log_table("table", ROW)
    assert artifacts(runs, "second") == {"table.json"}
    assert logged(runs, "second") == opened.run_id
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert before < files(runs)


def test_a_new_store_lies_in_the_runs_folder_whatever_that_is_called(made):
    assert [path.name for path in made.parent.iterdir()] == [made.name]
    shown = sorted(path.name for path in made.iterdir() if not path.name.startswith("."))
    assert shown == ["mine", "mlartifacts", "mlflow.db"]
    assert "table.json" in {path.name for path in (made / "mlartifacts").rglob("*")}


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(runs):
    client = client_of(runs)
    number = client.get_experiment_by_name("mpo").experiment_id
    client.delete_experiment(number)
    restore = f"mlflow experiments restore --experiment-id {number}"
    with pytest.raises(InputError, match=rf"tracking\.experiment: 'mpo' was deleted .*{restore}"):
        logged(runs)
    other = logged(runs, experiment="other")
    assert client.get_run(other).info.experiment_id != number
    client.restore_experiment(number)
    assert logged(runs) != other


def test_a_run_that_was_deleted_is_made_anew_with_all_that_was_logged(runs, caplog):
    first = (runs / "mine" / "mlflow_run_id").read_text()
    client = client_of(runs)
    client.delete_run(first)
    with caplog.at_level(logging.WARNING):
        again = logged(runs)
    assert f"run {first} was deleted" in caplog.text
    assert again != first
    found = client.get_run(again)
    assert (found.data.params, found.data.metrics) == ({"identity": "one"}, {"loss": 1.0})
    assert artifacts(runs) == {"table.json"}
    assert logged(runs) == again


@pytest.mark.parametrize("kind", ["metrics", "table", "folder"])
def test_what_is_logged_after_a_deletion_stands_in_a_new_run(runs, caplog, kind):
    client = client_of(runs)
    with caplog.at_level(logging.WARNING), tracking(runs) as opened:
        deleted = opened.run_id
        client.delete_run(deleted)
        match kind:
            case "metrics":
                opened.log_metrics({"reward": 0.5}, step=3)
            case "table":
                opened.log_table("late", ROW)
            case "folder":
                (runs / "mine" / "late").mkdir()
                (runs / "mine" / "late" / "page").touch()
                opened.log_folder(runs / "mine" / "late", "late")
        opened.end("FINISHED")
    assert caplog.text.count("was deleted") == 1
    assert opened.run_id != deleted
    found = client.get_run(opened.run_id)
    assert found.info.status == "FINISHED"
    assert not any("late" in name for name in files(runs / "mlartifacts" / deleted))
    if kind == "metrics":
        assert found.data.metrics == {"loss": 1.0, "reward": 0.5}
    else:
        assert any("late" in name for name in artifacts(runs))


def test_a_run_that_is_deleted_after_all_is_logged_is_left_deleted(runs):
    with tracking(runs) as opened:
        while opened._sender._way.unsent():
            time.sleep(0.05)
        client_of(runs).delete_run(opened.run_id)
        opened.end("FINISHED")
    assert (runs / "mine" / "mlflow_run_id").read_text() == opened.run_id


def test_another_config_under_the_same_name_has_a_run_of_its_own(runs, caplog):
    first = (runs / "mine" / "mlflow_run_id").read_text()
    with caplog.at_level(logging.WARNING):
        other = logged(runs, identity="two")
    assert "other settings; all is logged into a new run" in caplog.text
    client = client_of(runs)
    stored = client.get_run(first)
    assert (stored.info.status, stored.data.params) == ("FINISHED", {"identity": "one"})
    assert client.get_run(other).data.params == {"identity": "two"}
    assert logged(runs, identity="two") == other


def test_another_store_is_sent_all_from_the_beginning(runs):
    first = (runs / "mine" / "mlflow_run_id").read_text()
    other = logged(runs, experiment="another")
    found = client_of(runs).get_run(other)
    assert (found.data.params, found.data.metrics) == ({"identity": "one"}, {"loss": 1.0})
    assert logged(runs) == first != other


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"no such run", b"0" * 32, "ü\x01".encode(), b"\xff\xfe", b"\0" * 32]
)
def test_the_id_that_is_written_down_is_for_people_alone(runs, content):
    before = (runs / "mine" / "mlflow_run_id").read_text()
    (runs / "mine" / "mlflow_run_id").write_bytes(content)
    with tracking(runs) as opened:
        pass
    assert opened.run_id == before


def test_a_run_stands_under_the_run_that_is_named_or_under_a_sweeps(runs):
    sweep = runs / "sweeps" / "all"
    sweep.mkdir(parents=True)
    config = TrackingConfig(system_metrics=False)
    MlflowTracker(config, runs, sweep, {"points": "a, b"}, kind="sweep").close()
    above = (sweep / "mlflow_run_id").read_text()
    client = client_of(runs)
    # As where the sweep could not yet reach the store.
    client.delete_run(above)
    under = [
        client.get_run(logged(runs, name, parent=str(sweep))).data.tags["mlflow.parentRunId"]
        for name in ("a", "b")
    ]
    assert under[0] == under[1] != above
    assert client.get_run(under[0]).data.params == {"points": "a, b"}
    named = client.get_run(logged(runs, "c", parent=under[0]))
    assert named.data.tags["mlflow.parentRunId"] == under[0]


def test_what_is_no_database_is_named_at_once(tmp_path):
    (tmp_path / "mlflow.db").write_text("hello " * 100)
    with pytest.raises(InputError, match=r"mlflow\.db: file is not a database; "):
        logged(tmp_path)


def test_a_database_elsewhere_whose_runs_folder_is_gone_recreates_nothing(made, tmp_path):
    old = Path(shutil.copytree(made, tmp_path / "old"))
    logged(old)
    database = f"sqlite:///{shutil.move(old / 'mlflow.db', tmp_path / 'elsewhere.db')}"
    old.rename(tmp_path / "new")
    with pytest.raises(InputError, match=rf"tracking\.experiment: 'mpo' keeps .* {old}/mlart"):
        logged(tmp_path / "new", uri=database)
    with tracking(tmp_path / "new", uri=database, experiment="other") as opened:
        opened.log_table("other", ROW)
    assert "other.json" in artifacts(tmp_path / "new")
    assert not old.exists()


def test_two_processes_do_not_write_one_run(runs, monkeypatch):
    monkeypatch.setattr("mpo_core.tracking.queue.TAKEN_WAIT_S", 0.05)
    with (
        tracking(runs),
        pytest.raises(InputError, match=r"queue\.jsonl: another process is writing or sending"),
    ):
        sync(runs / "mine", None)
