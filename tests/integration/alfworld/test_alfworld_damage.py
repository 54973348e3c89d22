"""A data folder with damaged games: named, skipped or refused, and no worker dies of them."""

import json
import re
import shutil
from pathlib import Path

import pytest

from mpo_core.envs.alfworld import ALFWorld
from mpo_core.envs.alfworld.games import game_file
from tests.commandline import mpo, mpo_here
from tests.small_run import HERE, write_config


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of generated games: one of each type to train on, six to evaluate."""
    worlds = ALFWorld(ALFWorld.Config(generated={"train": 6, "seen": 0, "unseen": 6}))
    return Path(shutil.copytree(worlds.root(), tmp_path / "games"))


def games(folder: Path, split: str) -> list[Path]:
    suite = ALFWorld(ALFWorld.Config(data=folder))
    return [game_file(folder, task) for task in suite.tasks(split)]


def change(game: Path, **changes) -> None:
    game.write_text(json.dumps(json.loads(game.read_text()) | changes))


def test_each_unusable_game_is_named_and_the_others_are_counted(folder):
    truncated, alone, unsolvable, movable, *_ = games(folder, "train")
    truncated.write_text(truncated.read_text()[:5000])
    (alone.parent / "traj_data.json").unlink()
    change(unsolvable, solvable=False)
    moved = movable.parents[1].with_name("pick_and_place_with_movable_recep-Pen-Mug-Desk-310")
    movable.parents[1].rename(moved)
    answer = mpo("tasks", "alfworld", "--data", str(folder), "--split", "train")
    assert answer.returncode == 0
    assert answer.stdout.splitlines()[-2].split()[1:4] == ["all", "│", "2"]
    unusable, left_out = (
        [line for line in answer.stderr.splitlines() if line.startswith(kind)]
        for kind in ("unusable: ", "left out: ")
    )
    assert len(unusable) == len(left_out) == 2
    for game, says, lines in (
        (truncated, "not JSON", unusable),
        (alone, "traj_data.json: missing", unusable),
        (unsolvable, "not solvable", left_out),
        (moved / "trial/game", "movable receptacle", left_out),
    ):
        [line] = [line for line in lines if str(game.parents[1].name) in line]
        assert says in line


def test_a_game_that_only_the_engine_finds_faulty_ends_the_run_in_one_line(folder, tmp_path):
    game = games(folder, "unseen")[0]
    start, _, _ = json.loads(game.read_text())["pddl_problem"].partition("(:goal")
    thing = re.search(r"\(pickupable (\S+)\)", start)[1]
    # Nothing that can be done makes anything full.
    change(game, pddl_problem=f"{start}(:goal (and (isReceptacleObjectFull {thing}))))")
    evaluation = {"splits": ["unseen"], "arms": ["none"]}
    envs = {"alfworld": {"data": str(folder)}}
    config = write_config(tmp_path, envs=envs, evaluation=evaluation, cluster=HERE)
    answer = mpo_here("evaluate", str(config))
    assert answer.returncode == 2, answer.stderr
    [line] = [line for line in answer.stderr.splitlines() if line.startswith("mpo: error:")]
    assert str(game) in line and "cannot be solved" in line
    assert "Traceback" not in answer.stderr
