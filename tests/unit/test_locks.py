"""One process at a time, as far as the file system can say so."""

import errno
import fcntl
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.sweep import Sweep
from mpo_core import locks
from mpo_core.config import TrackingConfig
from mpo_core.envs.alfworld import translation
from mpo_core.errors import InputError
from mpo_core.ledger import Ledger
from mpo_core.locks import lock_file, share
from mpo_core.tracking import MlflowTracker
from mpo_core.types import Plan

NOT_OFFERED = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO, errno.EBADF]


def ledger(path: Path) -> Ledger[Plan, Plan]:
    return Ledger(path, Plan, key=lambda plan: plan.task_id)


@pytest.fixture(params=[None, *NOT_OFFERED], ids=lambda code: errno.errorcode.get(code, "flock"))
def offered(request, monkeypatch) -> bool:
    """Whether the file system offers locks."""
    monkeypatch.setattr(locks, "_WARNED", set())

    def refuse(file: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    if request.param is not None:
        monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param is None


def test_a_ledger_has_one_writer_at_a_time_and_no_lock_is_one_warning(offered, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        for name in ("scoring", "evaluation"):
            path = tmp_path / name
            with ledger(path) as first:
                with pytest.raises(InputError, match="another process is writing"), ledger(path):
                    pass
                first.append(Plan.of("t", "Step 1: Go.", "o"))
            with ledger(path) as again:
                assert "t" in again
    assert caplog.text.count("offers no file locks") == (0 if offered else 1)


def test_a_lock_file_is_held_by_one_and_waited_for(offered, tmp_path):
    path = tmp_path / "new" / "lock"
    with lock_file(path):
        with pytest.raises(BlockingIOError), lock_file(path):
            pass
        with pytest.raises(BlockingIOError), lock_file(path, wait_s=0.05):
            pass
        with lock_file(tmp_path / "other"):
            pass
    with lock_file(path, wait_s=0.05):
        pass


HOLD = """
import sys
from mpo_core.locks import lock_file
if sys.argv[2] == "without":
    import fcntl
    def flock(*_):
        raise OSError(37, "No locks available")
    fcntl.flock = flock
with lock_file(__import__("pathlib").Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_ends_with_its_process_however_that_ends(offered, tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path), "with" if offered else "without"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError), lock_file(path):
            pass
        holder.kill()
    with lock_file(path):
        pass


def test_a_sweep_is_run_by_one_process(offered, tmp_path):
    sweep = Sweep("demo-llm", [f"runs_dir={tmp_path}"], ["seed=0,1"], "local")
    with sweep._alone(), pytest.raises(InputError, match="another process runs"), sweep._alone():
        pass
    with sweep._alone():
        pass


def test_mlflows_store_is_opened_by_one_process(offered, tmp_path, monkeypatch):
    monkeypatch.setattr("mpo_core.tracking.delivery.STORE_WAIT_S", 0.05)
    monkeypatch.setattr("mpo_core.tracking.delivery.prepare", lambda *_: pytest.fail("not alone"))
    with (
        lock_file(tmp_path / ".mlflow.lock"),
        pytest.raises(InputError, match=r"\.mlflow\.lock: other processes have held it"),
    ):
        MlflowTracker(TrackingConfig(), tmp_path, tmp_path / "run", {})


def test_a_translation_goes_on_without_a_lock_and_without_a_word(
    offered, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(translation, "LOCK_WAIT_S", 0.05)
    entered = []
    with caplog.at_level(logging.WARNING), lock_file(tmp_path / "l", vital=False):
        for path in (tmp_path / "l", tmp_path / "free", tmp_path / "l" / "no folder" / "l"):
            with translation._lock(path):
                entered.append(path)
    assert len(entered) == 3 and caplog.text == ""


@pytest.mark.parametrize(
    ("mode", "made", "shared"),
    [(0o2775, 0o644, 0o664), (0o775, 0o600, 0o660), (0o755, 0o644, 0o644), (0o700, 0o600, 0o600)],
)
def test_what_a_groups_folder_holds_the_group_may_write(tmp_path, mode, made, shared):
    folder, file = tmp_path / "runs", tmp_path / "runs" / "file"
    folder.mkdir()
    folder.chmod(mode)
    file.touch()
    file.chmod(made)
    share(file)
    assert file.stat().st_mode & 0o777 == shared
