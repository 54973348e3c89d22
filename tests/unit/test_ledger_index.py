"""A ledger of episodes and the index beside it: what is read is what the lines say, always."""

import json
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.errors import InputError
from mpo_core.ledger import Ledger, read_records
from mpo_core.types import Episode, EpisodeFigures, Turn
from tests.fakes import episode, request
from tests.thoroughness import examples


def played(number: int, text: str = "A key.\u2028") -> Episode:
    """An episode whose turns have something of everything that is counted."""
    turns = [
        Turn(reply=text, action=action, observation=text, score=0, fault=fault, understood=known)
        for action, fault, known in [("go", "", True), (None, "cut", False), ("fly", "", False)]
    ]
    done = episode(request(number % 3, repetition=number), number % 4 / 4, number % 4 == 3)
    changes = {"turns": turns[: number % 4], "completion_tokens": number, "seconds": number / 8}
    return done.model_copy(update=changes)


EPISODES = [played(number) for number in range(6)]
CHANGES = ["", "cut", "line gone", "moved", "added", "twice", "edited", "bit"]
HARM = ["", "gone", "torn", "behind", "foreign", "bit", "hole", "mixed"]


def ledger(path: Path, record: type[Episode] = Episode) -> Ledger[Episode, EpisodeFigures]:
    return Ledger(path, record, key=lambda e: e.key, figures=EpisodeFigures)


def write(path: Path, episodes=EPISODES) -> tuple[bytes, bytes]:
    """The bytes of a ledger and its index, one episode and then the others appended."""
    with ledger(path) as log:
        log.append(*episodes[:1])
        log.append(*episodes[1:])
    return path.read_bytes(), path.with_suffix(".index").read_bytes()


class Unparsed(Episode):
    """An episode that no line may be parsed for."""

    @classmethod
    def model_validate_json(cls, *_, **__):
        raise AssertionError("a line was parsed")


def outcome(read) -> object:
    try:
        return read()
    except InputError as error:
        return str(error)


def parsed(path: Path) -> dict[str, Episode]:
    return {one.key: one for one in read_records(path, Episode)}


def by_hand(draw, content: bytes) -> bytes:
    """A ledger's lines after someone has been at them."""
    lines = content.splitlines(keepends=True)
    place = draw(st.integers(0, len(lines) - 1))
    match draw(st.sampled_from(CHANGES)):
        case "cut":
            return content[: draw(st.integers(0, len(content)))]
        case "line gone":
            del lines[place]
        case "moved":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(place))
        case "added":
            lines.insert(place, played(9).model_dump_json().encode() + b"\n")
        case "twice":
            lines.append(lines[place].replace(b'"step_limit"', b'"context"'))
        case "edited":
            # As long as it was.
            lines[place] = lines[place].replace(b'"seconds":0', b'"seconds":9')
            lines[place] = lines[place].replace(b"A key", b"A toy")
        case "bit":
            return flipped(draw, content)
    return b"".join(lines)


def flipped(draw, content: bytes) -> bytes:
    changed, place = bytearray(content), draw(st.integers(0, len(content) - 1))
    changed[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def spoilt(draw, index: bytes, other: bytes) -> bytes | None:
    """An index after whatever may have happened to it; None: it is gone."""
    lines = index.splitlines(keepends=True)
    place = draw(st.integers(0, len(lines) - 1))
    match draw(st.sampled_from(HARM)):
        case "gone":
            return None
        case "torn":
            return index[: draw(st.integers(0, len(index)))]
        case "behind":
            return b"".join(lines[:place])
        case "foreign":
            return draw(st.sampled_from([other, b"", b"\n", b"\xff\0 [1]\n", b"[]\n" + index]))
        case "bit":
            return flipped(draw, index)
        case "hole":
            del lines[place]
        case "mixed":
            lines[place] = other.splitlines(keepends=True)[place]
    return b"".join(lines)


@pytest.mark.slow
@examples(300)
@given(st.data())
def test_what_is_read_equals_a_full_parse_whatever_was_done_to_ledger_and_index(
    tmp_path_factory, data
):
    folder = tmp_path_factory.mktemp("l")
    path, index = folder / "l.jsonl", folder / "l.index"
    _, other = write(folder / "other.jsonl", [played(number, "No.") for number in range(6)])
    content, entries = write(path)
    path.write_bytes(by_hand(data.draw, content))
    left = spoilt(data.draw, entries, other)
    index.unlink() if left is None else index.write_bytes(left)

    wanted = outcome(lambda: parsed(path))
    log = ledger(path)
    read = outcome(lambda: {one.key: one for one in log.read()})
    if isinstance(wanted, str):
        assert read == wanted
        return
    assert read == {key: EpisodeFigures.of(one) for key, one in wanted.items()}
    assert {key: log.whole(key) for key in read} == wanted
    # A second time no line is parsed, and the index is that of an untouched ledger.
    assert list(ledger(path, Unparsed).read()) == list(log)
    whole = path.read_bytes()[: path.read_bytes().rfind(b"\n") + 1]
    added = played(20)
    with ledger(path) as again:
        again.append(added)
        assert again[added.key] == EpisodeFigures.of(added)
    assert path.read_bytes() == whole + added.model_dump_json().encode() + b"\n"
    assert ledger(path, Unparsed).read().whole
    index_of_all = index.read_bytes()
    index.unlink()
    ledger(path).read()
    assert index.read_bytes() == index_of_all


KILLED = """
import os, signal, sys
from pathlib import Path
from mpo_core.ledger import Ledger
from mpo_core.ledger_index import Index
from mpo_core.types import Episode, EpisodeFigures
from tests.fakes import episode, request
path, add = Path(sys.argv[1]), Index.add
def killed(index, lines):
    lines = list(lines)
    if lines[0][1].repetition == 3:
        if sys.argv[2] == "half":
            with index.path.open("ab") as file:
                file.write(b"0123456789abcdef [")
        os.kill(os.getpid(), signal.SIGKILL)
    add(index, lines)
Index.add = killed
with Ledger(path, Episode, key=lambda e: e.key, figures=EpisodeFigures) as log:
    for number in range(6):
        log.append(episode(request(repetition=number), 0.5))
"""


@pytest.mark.slow
@pytest.mark.parametrize("left", ["nothing", "half"])
def test_a_writer_killed_between_ledger_and_index_has_lost_nothing(tmp_path, left):
    path = tmp_path / "l.jsonl"
    command = [sys.executable, "-c", KILLED, str(path), left]
    root = Path(__file__).parents[2]
    assert subprocess.run(command, check=False, cwd=root).returncode == -signal.SIGKILL
    owed = [episode(request(repetition=number), 0.5) for number in range(6)]
    with ledger(path) as log:
        assert list(log) == [EpisodeFigures.of(one) for one in owed[:4]]
        log.append(*owed[4:])
    assert list(ledger(path, Unparsed).read()) == [EpisodeFigures.of(one) for one in owed]


def test_a_ledger_whose_index_cannot_be_written_does_without(tmp_path):
    (tmp_path / "l.index").mkdir()
    path = tmp_path / "l.jsonl"
    with ledger(path) as log:
        log.append(*EPISODES)
    assert list(ledger(path).read()) == [EpisodeFigures.of(one) for one in EPISODES]


def test_an_index_of_other_figures_is_made_anew(tmp_path):
    path = tmp_path / "l.jsonl"
    _, index = write(path)
    head, _, entries = index.partition(b"\n")
    version, *names = json.loads(head)
    for other in ([version + 1, *names], [version, *names[::-1]], [version, *names[:-1]]):
        path.with_suffix(".index").write_bytes(json.dumps(other).encode() + b"\n" + entries)
        assert list(ledger(path).read()) == [EpisodeFigures.of(one) for one in EPISODES]
        assert path.with_suffix(".index").read_bytes() == index


def test_a_missing_ledger_is_read_as_an_empty_one_and_nothing_is_made(tmp_path):
    assert list(ledger(tmp_path / "new" / "l.jsonl").read()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_was_changed_since_it_was_read_is_named(tmp_path):
    path = tmp_path / "l.jsonl"
    content, _ = write(path)
    log = ledger(path).read()
    lines = content.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[::-1]))
    with pytest.raises(InputError, match="was changed by something else"):
        log.whole(EPISODES[0].key)


@pytest.mark.slow
@pytest.mark.parametrize("indexed", [True, False])
def test_memory_does_not_grow_with_the_episodes_texts(tmp_path, indexed):
    path, count = tmp_path / "l.jsonl", 200
    write(path, [played(number, "word " * 4000) for number in range(count)])
    if not indexed:
        path.with_suffix(".index").unlink()
    tracemalloc.start()
    log = ledger(path).read()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(log) == count and held / count < 1500 < path.stat().st_size / count
