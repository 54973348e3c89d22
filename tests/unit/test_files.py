"""What is written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from mpo_core.errors import InputError
from mpo_core.files import whole, whole_folder, write_bytes
from mpo_core.scoring import save_scores
from mpo_core.types import PlanScore


def test_a_file_takes_its_place_when_all_of_it_is_written(tmp_path):
    path = tmp_path / "new" / "file"
    for content in (b"first", b"second"):
        with whole(path) as partial:
            partial.write_bytes(content)
            assert not path.exists() or path.read_bytes() == b"first"
        assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["file"]


def test_a_folder_takes_its_place_when_all_of_it_is_made(tmp_path):
    path = tmp_path / "new" / "folder"
    with whole_folder(path) as partial:
        (partial / "file").touch()
        assert not path.exists()
    assert os.listdir(path) == ["file"] and os.listdir(path.parent) == ["folder"]


@pytest.mark.parametrize("way", [whole, whole_folder])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_what_breaks_off_leaves_all_as_it_was(tmp_path, way, error):
    path = tmp_path / "there"
    write_bytes(path, b"before")
    with pytest.raises(type(error)), way(path) as partial:
        (partial if way is whole else partial / "file").write_bytes(b"after")
        raise error
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["there"]


def test_a_folder_that_another_process_has_made_meanwhile_stays(tmp_path):
    path = tmp_path / "folder"
    with pytest.raises(OSError, match="not empty"), whole_folder(path):
        path.mkdir()
        (path / "theirs").touch()
    assert os.listdir(path) == ["theirs"] and os.listdir(tmp_path) == ["folder"]


def test_two_writers_of_a_file_do_not_meet(tmp_path):
    path = tmp_path / "file"
    with whole(path) as one, whole(path) as other:
        assert one != other
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert path.read_bytes() == b"one" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "write", [lambda path: write_bytes(path, b""), lambda path: save_scores([SCORE], path)]
)
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, write):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/new: cannot write: File exists; a file, a folder"):
        write(Path(tmp_path / "file" / "new"))


SCORE = PlanScore.of("task", "plan", [0.5])
