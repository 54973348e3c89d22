import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mpo_core.envs.alfworld.games import (
    TASK_TYPES,
    Fault,
    Index,
    data_root,
    game_file,
    index_games,
)
from mpo_core.errors import InputError
from mpo_core.types import Task

CLEAN = "pick_clean_then_place_in_recep-Apple-None-Fridge-7"
TEXT = "put a clean apple in fridge."
PROBLEM = """(define (problem plan) (:init
    (receptacleAtLocation Sink_bar__minus_01_dot_00_bar_SinkBasin loc_bar_1_bar_2_bar_90_bar_30)
    (receptacleAtLocation Cabinet_bar__plus_00_dot_68 loc_bar_3_bar_2_bar_90_bar_30)
    (receptacleAtLocation Cabinet_bar__plus_01_dot_18 loc_bar_4_bar_2_bar_90_bar_30)
    (objectType Mug_bar__plus_01_dot_00 MugType)))"""
ROOM = (
    "You are in the middle of a room. Looking quickly around you, you see a cabinet 2, a cabinet 1,"
    " and a sinkbasin 1."
)


def game(text: str = TEXT, **changes) -> dict:
    grammar = (
        f'grammar :: """ {{"task": [{{"rhs": {json.dumps("Your task is to: " + text)}}}]}} """;'
    )
    return {
        "pddl_domain": "(define (domain alfred))",
        "grammar": grammar,
        "pddl_problem": PROBLEM,
        "solvable": True,
        "walkthrough": ["look"],
    } | changes


def write_game(
    root: Path,
    name: str = f"{CLEAN}/trial_1",
    split: str = "train",
    content: dict | str | bytes | None = None,
    trajectory: dict | str | bytes | None = None,
) -> Path:
    """A game's folder; `content` and `trajectory` are what its files hold, by default sound."""
    folder = root / split / name
    folder.mkdir(parents=True)
    task_type = name.partition("-")[0]
    for file, given_content, sound in (
        ("game.tw-pddl", content, game()),
        ("traj_data.json", trajectory, {"task_type": task_type}),
    ):
        found = sound if given_content is None else given_content
        if isinstance(found, dict):
            found = json.dumps(found)
        (folder / file).write_bytes(found if isinstance(found, bytes) else found.encode())
    return folder


def ids(index: Index) -> dict[str, list[str]]:
    return {split: [task.id for task in tasks] for split, tasks in index.tasks.items()}


def test_a_game_s_task_is_read_from_its_files(tmp_path: Path):
    folder = write_game(tmp_path, split="valid_seen")
    index = index_games(tmp_path)
    task = Task(
        id=f"alfworld/{CLEAN}/trial_1",
        env="alfworld",
        type="pick_clean_then_place_in_recep",
        split="seen",
        description=f"{ROOM}\nYour task is to: put a clean apple in fridge.",
    )
    assert index == Index({"train": [], "seen": [task], "unseen": []}, [], [])
    assert game_file(tmp_path, task) == folder / "game.tw-pddl"


def test_the_order_is_that_of_the_ids_whatever_order_the_files_were_written_in(tmp_path: Path):
    names = [f"{kind}-Mug-None-Desk-{n}/trial_{n}" for kind in TASK_TYPES for n in (9, 10, 301)]
    for root, order in (("a", names), ("b", names[::-1])):
        for name in order:
            write_game(tmp_path / root, name)
    found, again = (index_games(tmp_path / root) for root in "ab")
    assert found == again
    assert ids(found)["train"] == sorted(f"alfworld/{name}" for name in names)
    assert {task.type for task in found.tasks["train"]} == set(TASK_TYPES)


def test_movable_sliced_and_unsolvable_games_are_left_out_by_name(tmp_path: Path):
    write_game(tmp_path)
    write_game(tmp_path, "pick_and_place_with_movable_recep-Pen-Mug-Desk-301/trial_2")
    write_game(tmp_path, "pick_and_place_simple-AppleSliced-None-Fridge-7/trial_3")
    write_game(tmp_path, f"{CLEAN}/trial_4", content=game(solvable=False))
    write_game(tmp_path, f"{CLEAN}/trial_5", "valid_unseen", content=game(solvable=False))
    index = index_games(tmp_path)
    assert ids(index)["train"] == [f"alfworld/{CLEAN}/trial_1"]
    assert index.faults == []
    assert sorted((fault.path, fault.reason) for fault in index.left_out) == [
        ("train/pick_and_place_simple-AppleSliced-None-Fridge-7/trial_3", "sliced object"),
        (
            "train/pick_and_place_with_movable_recep-Pen-Mug-Desk-301/trial_2",
            "movable receptacle",
        ),
        (f"train/{CLEAN}/trial_4", "not solvable"),
        (f"valid_unseen/{CLEAN}/trial_5", "not solvable"),
    ]


def test_a_data_folder_may_itself_be_called_movable(tmp_path: Path):
    write_game(tmp_path / "movable_Sliced")
    assert len(index_games(tmp_path / "movable_Sliced").tasks["train"]) == 1


def without(*keys: str) -> dict:
    return {key: value for key, value in game().items() if key not in keys}


@pytest.mark.parametrize(
    ("content", "trajectory", "file", "complaint"),
    [
        (json.dumps(game())[:100], None, "game.tw-pddl", "not JSON (Unterminated string"),
        ("", None, "game.tw-pddl", "not JSON (Expecting value"),
        (json.dumps(game()).encode("utf-16"), None, "game.tw-pddl", "not JSON ('utf-8' codec"),
        ("[" * 100_000, None, "game.tw-pddl", "not JSON (nested too deeply)"),
        ("[1]", None, "game.tw-pddl", "not a JSON object"),
        (without("solvable"), None, "game.tw-pddl", "whether it is solvable"),
        (game(solvable="no"), None, "game.tw-pddl", "whether it is solvable"),
        (without("pddl_domain"), None, "game.tw-pddl", "has no text 'pddl_domain'"),
        (without("grammar"), None, "game.tw-pddl", "has no text 'grammar'"),
        (game(pddl_problem=None), None, "game.tw-pddl", "has no text 'pddl_problem'"),
        (game(grammar="grammar :: {}"), None, "game.tw-pddl", "has no text 'Your task is to:'"),
        (game("UNKNOWN GOAL."), None, "game.tw-pddl", "its grammar holds no task"),
        (game(" ."), None, "game.tw-pddl", "its grammar holds no task"),
        (game("put {o.name} away."), None, "game.tw-pddl", "a sign that cannot be shown"),
        (game("put \ud800 away."), None, "game.tw-pddl", "a sign that cannot be shown"),
        (None, '{"task_type": "pick', "traj_data.json", "not JSON (Unterminated string"),
        (None, "{}", "traj_data.json", "unknown task_type None"),
        (None, {"task_type": "bake"}, "traj_data.json", "unknown task_type 'bake'; known: pick_"),
        (None, {"task_type": ["\ud800" * 99]}, "traj_data.json", "unknown task_type ['\\ud800"),
    ],
)
def test_a_damaged_game_is_a_fault_by_name_and_the_others_stay(
    tmp_path: Path, content, trajectory, file: str, complaint: str
):
    write_game(tmp_path, f"{CLEAN}/trial_bad", content=content, trajectory=trajectory)
    write_game(tmp_path, f"{CLEAN}/trial_good")
    index = index_games(tmp_path)
    assert ids(index)["train"] == [f"alfworld/{CLEAN}/trial_good"]
    [fault] = index.faults
    assert fault.path == f"train/{CLEAN}/trial_bad/{file}"
    assert complaint in fault.reason
    assert fault.reason.isprintable()


@pytest.mark.parametrize("file", ["game.tw-pddl", "traj_data.json"])
def test_a_missing_file_is_a_fault_by_name(tmp_path: Path, file: str):
    write_game(tmp_path)
    (write_game(tmp_path, f"{CLEAN}/trial_2") / file).unlink()
    assert index_games(tmp_path).faults == [Fault(f"train/{CLEAN}/trial_2/{file}", "missing")]


def test_what_is_no_readable_file_is_a_fault_by_name(tmp_path: Path):
    write_game(tmp_path)
    folder, broken, looped = (write_game(tmp_path, f"{CLEAN}/trial_{n}") for n in (2, 3, 4))
    (folder / "game.tw-pddl").unlink()
    (folder / "game.tw-pddl").mkdir()
    (broken / "traj_data.json").unlink()
    (broken / "traj_data.json").symlink_to("nowhere")
    (looped / "traj_data.json").unlink()
    (looped / "traj_data.json").symlink_to("traj_data.json")
    (looped / "folder").symlink_to("folder")
    (tmp_path / "train" / "folder").symlink_to("folder")
    index = index_games(tmp_path)
    assert ids(index)["train"] == [f"alfworld/{CLEAN}/trial_1"]
    assert index.faults == [
        Fault(f"train/{CLEAN}/trial_2/game.tw-pddl", "not a file"),
        Fault(f"train/{CLEAN}/trial_3/traj_data.json", "No such file or directory"),
        Fault(f"train/{CLEAN}/trial_4/traj_data.json", "Too many levels of symbolic links"),
    ]


def test_a_game_in_the_wrong_place_or_twice_is_a_fault(tmp_path: Path):
    write_game(tmp_path)
    write_game(tmp_path, CLEAN.replace("Apple", "Mug"))
    write_game(tmp_path, f"{CLEAN}/trial_1", "valid_unseen")
    index = index_games(tmp_path)
    assert ids(index) == {"train": [f"alfworld/{CLEAN}/trial_1"], "seen": [], "unseen": []}
    misplaced, twice = index.faults
    assert misplaced.path == f"train/{CLEAN.replace('Apple', 'Mug')}"
    assert "SPLIT/TYPE-.../TRIAL" in misplaced.reason
    assert twice.path == f"valid_unseen/{CLEAN}/trial_1"
    assert f"the name of train/{CLEAN}/trial_1" in twice.reason


def test_a_folder_whose_name_is_no_text_is_a_fault(tmp_path: Path):
    write_game(tmp_path)
    bad = os.fsencode(write_game(tmp_path, f"{CLEAN}/trial_2"))
    os.rename(bad, bad + b"\xff")
    index = index_games(tmp_path)
    assert [task.id for task in index.tasks["train"]] == [f"alfworld/{CLEAN}/trial_1"]
    [fault] = index.faults
    assert fault.path == f"train/{CLEAN}/trial_2\\udcff"
    assert "cannot be printed" in fault.reason


def test_an_empty_trial_is_no_game(tmp_path: Path):
    write_game(tmp_path)
    (tmp_path / "train" / CLEAN / "trial_empty").mkdir()
    assert index_games(tmp_path).faults == []


DAMAGE = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from([*game(), "task_type"]),
        st.one_of(st.none(), st.text(), st.just(True), st.sampled_from(TASK_TYPES)),
    ).map(lambda value: json.dumps(game() | value).encode()),
    st.text().map(lambda text: json.dumps(game(text)).encode("utf-8")),
    st.lists(
        st.sampled_from(
            ["(", ")", " ", "receptacleAtLocation ", "Sink_bar_1", "basin", "é", "_bar_"]
        )
        | st.text(max_size=5)
    ).map(lambda parts: json.dumps(game(pddl_problem="".join(parts))).encode()),
    st.text().map(lambda text: json.dumps(game(grammar=f"Your task is to:{text}")).encode()),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=DAMAGE, trajectory=DAMAGE)
@example(content=b"", trajectory=b"")
def test_whatever_the_files_hold_is_a_task_or_a_fault(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, trajectory: bytes
):
    root = tmp_path_factory.mktemp("data")
    cache = tmp_path_factory.mktemp("cache")
    write_game(root, f"{CLEAN}/trial_1")
    write_game(root, f"{CLEAN}/trial_2", content=content)
    write_game(root, f"{CLEAN}/trial_3", trajectory=trajectory)
    index = index_games(root, cache)
    assert len(index.tasks["train"]) + len(index.faults) == 3
    assert all(fault.path.startswith(f"train/{CLEAN}/trial_") for fault in index.faults)
    assert index_games(root, cache) == index


def test_the_index_is_kept_and_read_again_without_the_files(tmp_path: Path):
    folder = write_game(tmp_path / "data")
    bad = write_game(tmp_path / "data", f"{CLEAN}/trial_2", content="{")
    index = index_games(tmp_path / "data", tmp_path / "cache")
    assert len(index.faults) == 1
    for path in (folder / "game.tw-pddl", bad / "game.tw-pddl"):
        replace_unnoticed(path, b"x" * path.stat().st_size)
    assert index_games(tmp_path / "data", tmp_path / "cache") == index
    assert len(list((tmp_path / "cache").iterdir())) == 1


def replace_unnoticed(path: Path, content: bytes) -> None:
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_changed_added_or_removed_game_makes_a_new_index(tmp_path: Path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    folder = write_game(data)
    assert len(index_games(data, cache).tasks["train"]) == 1
    other = write_game(data, f"{CLEAN}/trial_2")
    assert len(index_games(data, cache).tasks["train"]) == 2
    (other / "traj_data.json").unlink()
    assert len(index_games(data, cache).faults) == 1
    (folder / "game.tw-pddl").write_text(json.dumps(game("put a mug in fridge.")))
    [task] = index_games(data, cache).tasks["train"]
    assert task.description == f"{ROOM}\nYour task is to: put a mug in fridge."


def test_a_damaged_cache_is_made_again(tmp_path: Path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    write_game(data)
    index = index_games(data, cache)
    [kept] = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-5])
    assert index_games(data, cache) == index
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path):
    write_game(tmp_path / "data")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InputError, match=r"cache: cannot be written .* set MPO_CACHE"):
        index_games(tmp_path / "data", tmp_path / "cache")


def test_a_folder_without_games_says_how_to_get_some(tmp_path: Path):
    complaints = []
    for root, prepare in (
        ("none", lambda root: None),
        ("other", lambda root: (root / "pictures").mkdir(parents=True)),
        ("empty", lambda root: (root / "train").mkdir(parents=True)),
        ("bad", lambda root: write_game(root, content="{")),
        ("unsolvable", lambda root: write_game(root, content=game(solvable=False))),
    ):
        prepare(tmp_path / root)
        with pytest.raises(InputError) as raised:
            index_games(tmp_path / root)
        complaint = str(raised.value)
        assert complaint.startswith(f"{tmp_path / root}: ")
        assert "\n" not in complaint
        assert "`mpo tasks alfworld generate --out DIR`" in complaint
        assert "`alfworld-download`" in complaint
        complaints.append(complaint)
    none, other, empty, bad, unsolvable = complaints
    assert "no such folder" in none
    assert "holds none of the folders train, valid_seen, valid_unseen" in other
    assert "no game to play (nothing there)" in empty
    assert f"1 faulty, the first train/{CLEAN}/trial_1/game.tw-pddl: not JSON" in bad
    assert "1 left out as not solvable" in unsolvable


def test_the_data_folder_is_the_newest_release_or_the_folder_of_the_splits(tmp_path: Path):
    with pytest.raises(InputError, match="no such folder"):
        data_root(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds neither json_2\.1\.2 nor json_2\.1\.1"):
        data_root(tmp_path)
    write_game(tmp_path / "json_2.1.1")
    assert data_root(tmp_path) == tmp_path / "json_2.1.1"
    assert data_root(tmp_path / "json_2.1.1") == tmp_path / "json_2.1.1"
    patch = write_game(tmp_path / "json_2.1.2")
    assert data_root(tmp_path) == tmp_path / "json_2.1.2"
    (patch / "traj_data.json").unlink()
    assert data_root(tmp_path) == tmp_path / "json_2.1.1"
