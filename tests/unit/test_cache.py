import pytest

from mpo_core.cache import keep


def test_a_kept_file_is_whole_under_its_name_and_for_all_to_read(tmp_path):
    path = tmp_path / "new" / "file"
    for content in (b"first", b"second"):
        keep(path, content)
        assert path.read_bytes() == content
        assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_kept_leaves_nothing(tmp_path):
    taken = tmp_path / "file"
    taken.mkdir()
    with pytest.raises(OSError, match="directory"):
        keep(taken, b"content")
    assert list(tmp_path.iterdir()) == [taken]
