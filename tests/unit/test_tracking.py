"""MLflow on SQLite: runs and experiments that were deleted, moved or are of another config."""

import json
import logging
import os
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mpo_core.config import TrackingConfig
from mpo_core.errors import InputError
from mpo_core.hardware import free_port
from mpo_core.tracking import RETRIES, MlflowTracker

ROW = [{"a": 1}]


def tracker(runs: Path, run: str = "mine", identity: str = "one", **config) -> MlflowTracker:
    (runs / run).mkdir(parents=True, exist_ok=True)
    params = {"identity": identity}
    return MlflowTracker(TrackingConfig(**config), runs, runs / run, params, identity)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A runs folder of an odd name with a finished run in MLflow: making its tables takes long."""
    folder = tmp_path_factory.mktemp("made") / "what? 50%25"
    opened = tracker(folder)
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


def artifacts(runs: Path, opened: MlflowTracker) -> set[str]:
    return files(runs / "mlartifacts" / opened.run_id / "artifacts")


def test_a_run_goes_on_in_its_mlflow_run(runs):
    before = (runs / "mine" / "mlflow_run_id").read_text()
    opened = tracker(runs)
    assert opened.run_id == before
    assert opened.logged_steps("loss") == {1}
    assert opened._client.get_run(before).info.status == "RUNNING"


def test_a_moved_runs_folder_takes_its_artifacts_along(made, runs):
    before = files(made)
    opened = tracker(runs)
    opened.log_table("table", [{"a": 2}])
    opened.log_table("other", ROW)
    tracker(runs, "second").log_table("table", ROW)
    assert artifacts(runs, opened) == {"table.json", "other.json"}
    assert files(made) == before, "nothing is written where the folder was"
    found = opened._client.download_artifacts(opened.run_id, "table.json")
    assert json.loads(Path(found).read_text())["data"] == [[2]]


@pytest.mark.parametrize(
    "name",
    ["a b", "what?", "50%", "50%25", "a%3Fb", "ü#1", "a&b=c;d", "sqlite:", "it's", 'a"b@c:d'],
)
def test_a_runs_folder_may_have_any_name(made, tmp_path, name):
    runs = Path(shutil.copytree(made, tmp_path / name))
    before = files(runs)
    opened = tracker(runs, "second")
    opened.log_table("table", ROW)
    assert artifacts(runs, opened) == {"table.json"}
    assert tracker(runs, "second").run_id == opened.run_id
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert before < files(runs)


def test_a_new_store_lies_in_the_runs_folder_whatever_that_is_called(made):
    assert [path.name for path in made.parent.iterdir()] == [made.name]
    shown = sorted(path.name for path in made.iterdir() if not path.name.startswith("."))
    assert shown == ["mine", "mlartifacts", "mlflow.db"]
    assert "table.json" in {path.name for path in (made / "mlartifacts").rglob("*")}


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(runs):
    client = tracker(runs)._client
    number = client.get_experiment_by_name("mpo").experiment_id
    client.delete_experiment(number)
    restore = f"mlflow experiments restore --experiment-id {number}"
    with pytest.raises(InputError, match=rf"tracking\.experiment: 'mpo' was deleted .*{restore}"):
        tracker(runs)
    other = tracker(runs, experiment="other")
    assert other._client.get_run(other.run_id).info.experiment_id != number
    client.restore_experiment(number)
    assert tracker(runs).run_id != other.run_id


def test_a_run_that_was_deleted_is_made_anew(runs, caplog):
    first = tracker(runs)
    first._client.delete_run(first.run_id)
    with caplog.at_level(logging.WARNING):
        again = tracker(runs)
    assert f"run {first.run_id} was deleted" in caplog.text
    assert again.run_id != first.run_id
    assert again.logged_steps("loss") == set()
    assert again._client.get_run(again.run_id).data.params == {"identity": "one"}
    assert tracker(runs).run_id == again.run_id


@pytest.mark.parametrize("logged", ["metrics", "table", "folder"])
def test_what_is_logged_after_a_deletion_stands_in_a_new_run(runs, caplog, logged):
    opened = tracker(runs)
    deleted = opened.run_id
    opened._client.delete_run(deleted)
    with caplog.at_level(logging.WARNING):
        match logged:
            case "metrics":
                opened.log_metrics({"reward": 0.5}, step=3)
            case "table":
                opened.log_table("late", ROW)
            case "folder":
                opened.log_folder(runs / "mine", "late")
    opened.end("FINISHED")
    assert caplog.text.count("was deleted") == 1
    assert opened.run_id != deleted
    found = opened._client.get_run(opened.run_id)
    assert found.info.status == "FINISHED"
    assert not any("late" in name for name in files(runs / "mlartifacts" / deleted))
    if logged == "metrics":
        assert found.data.metrics == {"reward": 0.5}
    else:
        assert any("late" in name for name in artifacts(runs, opened))


def test_a_run_that_is_deleted_after_all_is_logged_is_left_deleted(runs):
    opened = tracker(runs)
    opened._client.delete_run(opened.run_id)
    opened.end("FINISHED")
    assert (runs / "mine" / "mlflow_run_id").read_text() == opened.run_id


def test_another_config_under_the_same_name_has_a_run_of_its_own(runs, caplog):
    first = tracker(runs)
    first.end("FINISHED")
    with caplog.at_level(logging.WARNING):
        other = tracker(runs, identity="two")
    assert f"run {first.run_id} is of other settings" in caplog.text
    stored = other._client.get_run(first.run_id)
    assert (stored.info.status, stored.data.params) == ("FINISHED", {"identity": "one"})
    assert other._client.get_run(other.run_id).data.params == {"identity": "two"}
    assert tracker(runs, identity="two").run_id == other.run_id


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"no such run", b"0" * 32, "ü\x01".encode(), b"\xff\xfe", b"\0" * 32]
)
def test_an_id_of_no_run_is_replaced(runs, content):
    (runs / "mine" / "mlflow_run_id").write_bytes(content)
    assert len(tracker(runs).run_id) == 32


def test_what_is_no_database_is_named_at_once(tmp_path):
    (tmp_path / "mlflow.db").write_text("hello " * 100)
    with pytest.raises(InputError, match=r"mlflow\.db: file is not a database; "):
        tracker(tmp_path)


def test_a_database_elsewhere_whose_runs_folder_is_gone_recreates_nothing(made, tmp_path):
    old = Path(shutil.copytree(made, tmp_path / "old"))
    tracker(old)
    database = f"sqlite:///{shutil.move(old / 'mlflow.db', tmp_path / 'elsewhere.db')}"
    old.rename(tmp_path / "new")
    with pytest.raises(InputError, match=rf"tracking\.experiment: 'mpo' keeps .* {old}/mlart"):
        tracker(tmp_path / "new", uri=database)
    opened = tracker(tmp_path / "new", uri=database, experiment="other")
    opened.log_table("table", ROW)
    assert artifacts(tmp_path / "new", opened) == {"table.json"}
    assert not old.exists()


class Refusing(BaseHTTPRequestHandler):
    """A tracking server that lets nobody in."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_) -> None:
        pass


def test_a_refused_login_names_the_variables_and_no_password(tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with pytest.raises(InputError, match="set MLFLOW_TRACKING_USERNAME") as refused:
            tracker(tmp_path, uri=f"http://me:secret@127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert "secret" not in str(refused.value)


class Another(Refusing):
    """A server of something else than MLflow, to which all is well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def test_a_server_of_something_else_is_named(tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Another)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with pytest.raises(InputError, match="answers, but not as MLflow does"):
            tracker(tmp_path, uri=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match=r"Connection refused.*; check the address") as refused:
        tracker(tmp_path, uri=uri)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_known_in_seconds(tmp_path, monkeypatch):
    monkeypatch.delenv(RETRIES, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    started = time.monotonic()
    with pytest.raises(InputError, match="Connection refused"):
        tracker(tmp_path, uri=f"http://127.0.0.1:{free_port()}")
    assert time.monotonic() - started < 10
    assert RETRIES not in os.environ


@pytest.mark.parametrize("uri", ["file:./mlruns", "mlruns", "nonsense://x", "sqlite:/bad", ":::"])
def test_an_address_of_no_store_says_what_one_looks_like(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"; set tracking\.uri to http://HOST:PORT or sqlite:///"):
        tracker(tmp_path, uri=uri)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", ".mlflow.lock"}


@pytest.mark.parametrize("uri", ["http://", "https:///x", "http:x", "http://:5000", "http://[::1"])
def test_an_address_without_a_host_is_named_at_once(tmp_path, uri):
    with pytest.raises(InputError, match=r"tracking\.uri: .*no host in it; set it to http://HOST"):
        tracker(tmp_path, uri=uri)


@pytest.mark.parametrize("name", ["USERNAME", "PASSWORD", "TOKEN"])
@pytest.mark.parametrize("sign", ["\n", "\r", "\t", "\x7f"])
def test_a_login_that_cannot_be_sent_is_named_and_not_shown(tmp_path, monkeypatch, name, sign):
    monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", f"se{sign}ret")
    with pytest.raises(InputError, match=f"MLFLOW_TRACKING_{name}: holds a line break") as raised:
        tracker(tmp_path, uri=f"http://127.0.0.1:{free_port()}")
    assert "ret" not in str(raised.value)
