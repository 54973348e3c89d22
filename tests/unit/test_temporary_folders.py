import os
import socket
import tempfile
from pathlib import Path

import pytest

from cluster import tempdir
from cluster.tempdir import LONGEST, shorten_temporary_folders
from mpo_core.errors import InputError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(variable, raising=False)


def long_folder(tmp_path: Path) -> Path:
    return tmp_path / ("x" * 115)


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_long_folder_is_reached_by_a_name_short_enough_for_sockets(
    tmp_path, monkeypatch, variable
):
    long = long_folder(tmp_path)
    monkeypatch.setenv(variable, str(long))
    undo = shorten_temporary_folders()
    short = os.environ[variable]
    assert len(short) <= LONGEST and Path(short).resolve() == long.resolve()
    assert variable == "RAY_TMPDIR" or tempfile.gettempdir() == short
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(f"{short}/{'s' * (107 - len(short) - 1)}")
    assert len(list(long.iterdir())) == 1
    undo()
    assert os.environ[variable] == str(long)
    assert not Path(short).is_symlink() and not Path(short).parent.exists()


def test_a_relative_folder_is_reached_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", "here")
    undo = shorten_temporary_folders()
    assert Path(os.environ["TMPDIR"]).resolve() == tmp_path / "here"
    undo()


def test_short_folders_are_left_as_they_are(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp")
    shorten_temporary_folders()()
    assert os.environ["TMPDIR"] == "/tmp" and "RAY_TMPDIR" not in os.environ


def test_where_nothing_short_can_be_written_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(long_folder(tmp_path)))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.setattr(tempdir, "SHORT_FOLDERS", ("/proc", "/none"))
    with pytest.raises(InputError, match=r"^TMPDIR: longer than .* bytes.*set RAY_TMPDIR") as said:
        shorten_temporary_folders()
    assert "\n" not in str(said.value)
    assert os.environ["TMPDIR"] == str(long_folder(tmp_path))


def test_a_long_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    long = tmp_path / "file" / ("x" * 115)
    monkeypatch.setenv("TMPDIR", str(long))
    with pytest.raises(InputError, match=f"^TMPDIR: {long}: Not a directory"):
        shorten_temporary_folders()
    assert os.environ["TMPDIR"] == str(long)
