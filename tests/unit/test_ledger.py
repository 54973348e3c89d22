import errno
import resource
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.errors import InputError
from mpo_core.files import write_records
from mpo_core.ledger import Ledger, read_records
from mpo_core.types import Plan
from tests.thoroughness import examples


def plan(number: int) -> Plan:
    return Plan.of(f"task/{number}", f"Step 1: Do {number}.\u2028", "test")


def ledger(path):
    return Ledger(path, Plan, key=lambda p: p.task_id)


def write(path, numbers):
    with ledger(path) as log:
        for number in numbers:
            log.append(plan(number))


def test_what_was_appended_is_there_after_reopening(tmp_path):
    write(tmp_path / "l", range(3))
    with ledger(tmp_path / "l") as log:
        assert list(log) == [plan(0), plan(1), plan(2)]
        assert "task/1" in log and "task/9" not in log


@pytest.mark.slow
@examples(60)
@given(st.data())
def test_a_file_torn_at_any_byte_owes_only_what_was_not_whole(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("torn") / "l"
    write(path, range(4))
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    complete = whole[:cut].count(b"\n")
    with ledger(path) as log:
        assert list(log) == [plan(n) for n in range(complete)]
        for number in range(complete, 4):
            log.append(plan(number))
    assert path.read_bytes() == whole


def test_damage_that_no_torn_write_explains_is_named_not_guessed(tmp_path):
    path = tmp_path / "l"
    write(path, range(2))
    path.write_bytes(b"garbage\n" + path.read_bytes())
    with pytest.raises(InputError, match=r"l:1: not a Plan"), ledger(path):
        pass


def test_a_key_is_never_written_twice(tmp_path):
    with ledger(tmp_path / "l") as log:
        log.append(plan(1))
        with pytest.raises(ValueError, match="written twice"):
            log.append(plan(2), plan(1))
        assert len(log) == 1
    assert len(read_records(tmp_path / "l", Plan)) == 1


def test_a_second_writer_is_refused(tmp_path):
    path = tmp_path / "l"
    with ledger(path), pytest.raises(InputError, match="another process"), ledger(path):
        pass
    write(path, [1])


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from mpo_core.errors import InputError
from mpo_core.ledger import Ledger
from mpo_core.types import Plan
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
with Ledger(Path(sys.argv[1]), Plan, key=lambda p: p.task_id) as log:
    try:
        for number in range(100):
            log.append(Plan.of(f"task/{number}", "Step 1: " + "x" * 60, "test"))
    except InputError as error:
        print(len(log), error)
"""


@pytest.mark.slow
def test_a_write_that_does_not_fit_leaves_only_whole_records(tmp_path):
    path = tmp_path / "l"
    answer = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    written = int(answer.stdout.split()[0])
    assert written > 0 and "cannot write" in answer.stdout
    assert path.read_bytes().endswith(b"\n")
    assert len(read_records(path, Plan)) == written


def test_a_whole_file_is_replaced_or_untouched(tmp_path):
    path = tmp_path / "f.jsonl"
    write_records(path, [plan(1)])
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        with pytest.raises(InputError, match="cannot write") as refused:
            write_records(path, [plan(1), plan(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["f.jsonl"]
    assert refused.value.__cause__.errno == errno.EFBIG
