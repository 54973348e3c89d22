"""MLflow at addresses: wrong ones are named at once, a server that is away is only warned of."""

import json
import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import create_server
from typing import ClassVar

import pytest
from mlflow import MlflowClient

from mpo_core.errors import InputError
from mpo_core.hardware import free_port
from mpo_core.tracking import sender
from mpo_core.tracking.faults import IMPATIENT
from mpo_core.tracking.sender import sync
from mpo_core.tracking.store import sqlite_uri
from tests.tracked_runs import logged, tracking


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """A store with its tables, which take long to make."""
    runs = tmp_path_factory.mktemp("made")
    logged(runs, "first")
    return runs / "mlflow.db"


class Refusing(BaseHTTPRequestHandler):
    """A tracking server that lets nobody in."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_) -> None:
        pass


class Another(Refusing):
    """A server of something else than MLflow, to which all is well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


class Full(Refusing):
    """A tracking server that reads, and begins no run."""

    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = self.path.partition("?")[0].rpartition("mlflow/")[2]
        self.asked[call] += 1
        mine = {"experiment_id": "1", "name": "mpo", "lifecycle_stage": "active"}
        said = {"error_code": "INTERNAL_ERROR", "message": "database or disk is full"}
        if call != "runs/create":
            said = {"runs": []} if call == "runs/search" else {"experiment": mine}
        self.send_response(500 if call == "runs/create" else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    do_POST = do_GET


@contextmanager
def answering(kind: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_a_refused_login_names_the_variables_and_no_password(tmp_path):
    with (
        answering(Refusing) as port,
        pytest.raises(InputError, match="set MLFLOW_TRACKING_USERNAME") as refused,
    ):
        logged(tmp_path, uri=f"http://me:secret@127.0.0.1:{port}")
    assert "secret" not in str(refused.value)


def test_a_server_of_something_else_is_named(tmp_path):
    with (
        answering(Another) as port,
        pytest.raises(InputError, match="answers, but not as MLflow does"),
    ):
        logged(tmp_path, uri=f"http://127.0.0.1:{port}")


def test_a_server_that_is_not_there_is_only_warned_of_and_all_waits(tmp_path, caplog):
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    started = time.monotonic()
    with caplog.at_level(logging.WARNING), tracking(tmp_path, uri=uri) as opened:
        opened.log_metrics({"loss": 1.0}, step=1)
    assert time.monotonic() - started < 8
    first, last = [r.getMessage() for r in caplog.records if r.name.startswith("mpo_core")]
    assert "MLflow does not answer" in first and "Connection refused" in first
    assert "3 entries are not sent" in last and f"mpo track sync {tmp_path / 'mine'}" in last
    kept = "".join(path.read_text() for path in (tmp_path / "mine" / "tracking").rglob("*.json*"))
    assert "secret" not in caplog.text + kept
    assert not IMPATIENT.keys() & os.environ.keys()


def test_a_server_that_hangs_holds_up_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("mpo_core.tracking.tracker.FIRST_ANSWER_S", 0.2)
    with create_server(("127.0.0.1", 0)) as silent, caplog.at_level(logging.WARNING):
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with tracking(tmp_path, uri=uri, wait_s=0.2) as opened:
            for step in range(1000):
                opened.log_metrics({"loss": 1.0}, step)
        assert time.monotonic() - started < 5
    assert "1002 entries are not sent (no answer within 0.2 s)" in caplog.text


def test_what_waits_is_sent_later_once_and_to_whom_it_is_said(tmp_path, database):
    runs = tmp_path / "runs"
    with tracking(runs, uri=f"http://127.0.0.1:{free_port()}", wait_s=0) as opened:
        opened.log_metrics({"loss": 1.0}, step=1)
        opened.end("FINISHED")
    with pytest.raises(InputError, match=r"does not answer \(.*; 4 entries wait, send them later"):
        sync(runs / "mine", None)
    uri = sqlite_uri(Path(shutil.copy(database, runs / "other.db")))
    assert sync(runs / "mine", uri) == (4, 0)
    assert sync(runs / "mine", uri) == (0, 0)
    found = MlflowClient(uri).get_run((runs / "mine" / "mlflow_run_id").read_text())
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss": 1.0})
    assert found.info.end_time - found.info.start_time < 60_000


def test_a_sync_with_a_server_that_begins_no_run_ends_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sender, "FIRST_PAUSE_S", 0.01)
    with tracking(tmp_path, uri=f"http://127.0.0.1:{free_port()}", wait_s=0) as opened:
        opened.end("FINISHED")
    with (
        answering(Full) as port,
        pytest.raises(InputError, match=r"does not begin the run \(.*500.*\); 2 entries wait"),
    ):
        sync(tmp_path / "mine", f"http://127.0.0.1:{port}")
    assert Full.asked["runs/create"] == sender.TRIES


@pytest.mark.parametrize("uri", ["file:./mlruns", "mlruns", "nonsense://x", "sqlite:/bad", ":::"])
def test_an_address_of_no_store_says_what_one_looks_like(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"; set tracking\.uri to http://HOST:PORT or sqlite:///"):
        logged(tmp_path, uri=uri)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", ".mlflow.lock"}


@pytest.mark.parametrize("uri", ["http://", "https:///x", "http:x", "http://:5000", "http://[::1"])
def test_an_address_without_a_host_is_named_at_once(tmp_path, uri):
    with pytest.raises(InputError, match=r"tracking\.uri: .*no host in it; set it to http://HOST"):
        logged(tmp_path, uri=uri)


@pytest.mark.parametrize("name", ["USERNAME", "PASSWORD", "TOKEN"])
@pytest.mark.parametrize("sign", ["\n", "\r", "\t", "\x7f"])
def test_a_login_that_cannot_be_sent_is_named_and_not_shown(tmp_path, monkeypatch, name, sign):
    monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", f"se{sign}ret")
    with pytest.raises(InputError, match=f"MLFLOW_TRACKING_{name}: holds a line break") as raised:
        logged(tmp_path, uri=f"http://127.0.0.1:{free_port()}")
    assert "ret" not in str(raised.value)
