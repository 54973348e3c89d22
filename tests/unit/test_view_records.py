import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.view.index import RunIndex
from jobs.view.records import Gone, Records
from mpo_core.ledger import Ledger
from mpo_core.proxy.episodes import episode_key_of
from mpo_core.run_folder import RunFolder
from mpo_core.types import Episode, EpisodeFigures
from tests.thoroughness import examples
from tests.viewed_run import GOOD, POOR, TASKS, append, episode, viewed_run


@pytest.fixture
def opened():
    """Opens indexes and closes them at the end."""
    indexes = []

    def open_index(folder):
        indexes.append(RunIndex(folder))
        return indexes[-1]

    yield open_index
    for index in indexes:
        index.close()


def read(index: RunIndex) -> Records:
    list(index.refresh())
    return Records(index)


def keys(records: Records, **asked) -> list[str]:
    return [row["key"] for row in records.episodes({"sort": "oldest", **asked}).rows]


def test_a_runs_episodes_are_found_with_their_tasks_and_planners(tmp_path, opened):
    records = read(opened(viewed_run(tmp_path / "run")))
    found = records.episodes({})
    assert (found.total, found.mean_reward, found.success_rate) == (8, 0.5, 0.5)
    assert {row["planner"] for row in found.rows} == {"mpo", "sft"}
    assert {row["type"] for row in found.rows} == {"find", "carry"}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"planner": "mpo"}, {0, 1, 2, 3}),
        ({"planner": "none"}, set()),
        ({"success": "0"}, {4, 5, 6, 7}),
        ({"type": "find"}, {1, 3, 5, 7}),
        ({"end": "done", "type": "carry"}, {0, 2}),
        ({"min_reward": "0.5"}, {0, 1, 2, 3}),
        ({"max_tokens": "111"}, {0, 1}),
        ({"task_id": TASKS[1].id}, {1, 5}),
        ({"text": "TAKE thing 2"}, {0, 1, 2, 3}),
        ({"text": "thing 3."}, {3, 7}),
        ({"text": '"key'}, set()),
        ({"stage": "scoring"}, set()),
        ({"unknown": "x"}, set(range(8))),
    ],
)
def test_a_filter_leaves_what_it_says(tmp_path, opened, asked, expected):
    records = read(opened(viewed_run(tmp_path / "run")))
    assert set(keys(records, **asked)) == {f"{number:020x}" for number in expected}


@pytest.mark.parametrize("sort", ["newest", "oldest", "reward"])
@pytest.mark.parametrize("seconds", [0, 60])
def test_a_search_of_the_texts_that_goes_on_finds_everything_once(
    tmp_path, opened, monkeypatch, sort, seconds
):
    monkeypatch.setattr("jobs.view.records.PAGE", 3)
    monkeypatch.setattr("jobs.view.records.SEARCH_SECONDS", seconds)
    records = read(opened(viewed_run(tmp_path / "run", n=20)))
    found, searched, more = [], 0, True
    while more:
        asked = {"text": "TAKE thing 2", "sort": sort, "searched": str(searched)}
        here = records.episodes(asked)
        assert here.searched.before == searched < here.searched.until <= here.searched.of == 20
        found += [row["key"] for row in here.rows]
        searched, more = here.searched.until, here.more
    assert searched == 20 and sorted(found) == [f"{n:020x}" for n in range(10)]


def test_the_newest_are_those_of_the_ledger_that_was_last_written(tmp_path, opened):
    run = viewed_run(tmp_path / "run")
    append(run, [episode(8), episode(9)], stage="scoring")
    for stage, at in (("scoring", 100), ("evaluation", 200)):
        os.utime(run / "episodes" / f"{stage}.jsonl", (at, at))
    found = keys(read(opened(run)), sort="newest")
    assert found == [f"{n:020x}" for n in (*range(7, -1, -1), 9, 8)]


def test_a_callers_name_of_a_conversation_finds_its_episode(tmp_path, opened):
    run = viewed_run(tmp_path / "run")
    called = episode(9).model_copy(update={"key": episode_key_of("ticket 17")})
    append(run, [called], stage="feedback")
    records = read(opened(run))
    assert records.named("ticket 17") == [("episode", called.key)]
    assert keys(records, text="ticket 17") == [called.key]
    assert records.named("ticket 18") == []


def test_a_number_that_is_none_is_told(tmp_path, opened):
    records = read(opened(viewed_run(tmp_path / "run")))
    with pytest.raises(ValueError):
        records.episodes({"min_reward": "high"})


@examples(40)
@given(steps=st.lists(st.tuples(st.integers(0, 7), st.floats(0, 1)), max_size=6))
def test_what_a_growing_ledger_has_got_is_there_once_and_a_torn_line_when_it_is_whole(
    tmp_path_factory, steps
):
    run = tmp_path_factory.mktemp("run")
    path = run / "episodes" / "scoring.jsonl"
    path.parent.mkdir()
    path.touch()
    index, number = RunIndex(run), 0
    try:
        for whole, torn in steps:
            lines = [
                episode(number + i).model_dump_json().encode() + b"\n" for i in range(whole + 1)
            ]
            *first, last = lines
            cut = last[: int(len(last) * torn)]
            with path.open("ab") as file:
                file.write(b"".join(first) + cut)
            number += whole + (cut == last)
            assert keys(read(index)) == [f"{n:020x}" for n in range(number)]
            with path.open("ab") as file:
                file.write(last[len(cut) :])
            number += cut != last
        assert keys(read(index)) == [f"{n:020x}" for n in range(number)]
        assert index.behind() == 0
    finally:
        index.close()


def test_a_file_written_anew_is_read_anew(tmp_path, opened):
    run = viewed_run(tmp_path / "run")
    index = opened(run)
    assert len(keys(read(index))) == 8
    (run / "episodes" / "evaluation.jsonl").unlink()
    append(run, [episode(n) for n in range(20, 23)])
    assert keys(read(index)) == [f"{n:020x}" for n in range(20, 23)]


def test_a_second_viewer_of_the_same_run_doubles_nothing(tmp_path, opened):
    run = viewed_run(tmp_path / "run")
    one, two = opened(run), opened(run)
    turns = [one.refresh(), two.refresh()]
    while turns:
        turns = [lines for lines in turns if next(lines, None) is not None]
    assert len(keys(Records(one))) == len(keys(Records(two))) == 8


@pytest.mark.parametrize("damage", [b"", b"not SQLite at all" * 100])
def test_a_damaged_index_is_made_anew(tmp_path, opened, damage):
    run = viewed_run(tmp_path / "run")
    RunIndex(run).close()
    RunFolder(run).view.write_bytes(damage)
    assert len(keys(read(opened(run)))) == 8


def test_the_ledgers_own_index_spares_the_reading_of_its_lines(tmp_path, opened):
    run = viewed_run(tmp_path / "run")
    Ledger(run / "episodes" / "evaluation.jsonl", Episode, lambda e: e.key, EpisodeFigures).read()
    assert (run / "episodes" / "evaluation.index").is_file()
    records = read(opened(run))
    row = records.episode_row(f"{3:020x}")
    assert records.episode(row) == episode(3)


def test_a_damaged_line_is_left_out_and_nothing_else(tmp_path, opened):
    run = viewed_run(tmp_path / "run")
    with (run / "episodes" / "evaluation.jsonl").open("ab") as file:
        file.write(b"\xff{]\n")
    append(run, [episode(8)])
    assert len(keys(read(opened(run)))) == 9


def test_plans_of_a_task_come_best_first_and_a_given_plan_from_its_episodes(tmp_path, opened):
    run = viewed_run(tmp_path / "run")
    given = episode(9, "Step 1: A plan of a file.")
    append(run, [given])
    records = read(opened(run))
    assert [(p["text"], p["mean"]) for p in records.plans(TASKS[0].id)] == [(GOOD, 1.0), (POOR, 0)]
    assert records.plan(given.plan_id)["text"] == given.plan
    assert records.plan("nothing") is None


def test_pairs_are_numbered_as_they_stand(tmp_path, opened):
    records = read(opened(viewed_run(tmp_path / "run")))
    rows, total = records.pairs("pairs")
    assert [row["number"] for row in rows] == [1, 2, 3, 4] and total == 4
    row, pair = records.pair("pairs", 2)
    assert pair.task_id == row["task_id"] == TASKS[1].id
    assert records.pair("pairs", 5) is None


def test_neighbours_are_those_of_the_ledger(tmp_path, opened):
    records = read(opened(viewed_run(tmp_path / "run")))
    first, middle = records.episode_row(f"{0:020x}"), records.episode_row(f"{3:020x}")
    assert records.neighbours(first) == (None, f"{1:020x}")
    assert records.neighbours(middle) == (f"{2:020x}", f"{4:020x}")


def test_a_file_that_is_removed_takes_its_records_along(tmp_path, opened):
    run = viewed_run(tmp_path / "run")
    index = opened(run)
    row = read(index).episode_row(f"{0:020x}")
    (run / "episodes" / "evaluation.jsonl").unlink()
    with pytest.raises(Gone):
        Records(index).episode(row)
    assert keys(Records(index), text="thing") == []
    assert keys(read(index)) == []


def test_what_cannot_be_read_hides_nothing_else(tmp_path, opened):
    run = viewed_run(tmp_path / "run")
    (run / "episodes" / "a-folder.jsonl").mkdir()
    huge = episode(8).model_copy(update={"prompt_tokens": 10**25})
    append(run, [huge, episode(9)], stage="scoring")
    index = opened(run)
    assert len(keys(read(index))) == 9 and index.behind() == 0


@pytest.mark.parametrize("kept", [0, 4096, 8192])
def test_an_index_damaged_anywhere_is_made_anew(tmp_path, opened, kept):
    run = viewed_run(tmp_path / "run", n=400)
    index = RunIndex(run)
    list(index.refresh())
    index.close()
    place = RunFolder(run).view
    whole = place.read_bytes()
    assert len(whole) > 8192
    place.write_bytes(whole[:kept] + b"\xa5" * (len(whole) - kept))
    assert len(keys(read(opened(run)))) == 50
    assert read(opened(run)).count() == 400


@pytest.mark.parametrize("success", ["2", "yes", "9" * 40])
def test_success_is_yes_or_no(tmp_path, opened, success):
    with pytest.raises(ValueError):
        read(opened(viewed_run(tmp_path / "run"))).episodes({"success": success})
