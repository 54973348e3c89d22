"""A shortened build of the sandbox's models, and the agent's gate in the real engine."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mpo_core.envs.alfworld.generation import generate
from mpo_core.sandbox import planner_vocabulary
from mpo_core.sandbox.folder import load, write
from mpo_core.sandbox.gate import gate
from mpo_core.sandbox.llama import Llama, Shape
from mpo_core.sandbox.train import Budget, Standing, train
from mpo_core.sandbox.vocabulary import words
from tests.commandline import mpo, mpo_here


def test_a_short_training_learns_to_act():
    standings: list[Standing] = []

    def watch(standing: Standing) -> None:
        standings.append(replace(standing, right=Counter(standing.right)))

    train(Budget(minutes=5, tokens=120_000, processes=1), watch)
    first, last = standings[0], standings[-1]
    assert first.loss > 5
    assert last.loss < 1.6
    early = standings[len(standings) // 2]
    assert last.right.total() > 3 * early.right.total() > 0


def test_two_processes_build_agent_and_planner_and_check_the_agent(tmp_path: Path):
    out = tmp_path / "models"
    built = mpo(
        *("sandbox", "build", "--minutes", "0.1", "--planner-minutes", "0.1", "--out", str(out))
    )
    assert built.returncode == 1, built.stderr
    assert "gate (best at least 0.8, poor and none at most 0.5): NOT KEPT" in built.stdout
    assert "go, same kind" in built.stdout
    for name, known in (("agent", words()), ("planner", planner_vocabulary.words())):
        card = (out / name / "README.md").read_text(encoding="utf-8")
        assert "mpo sandbox build --minutes 0.1 --planner-minutes 0.1 --seed 0" in card
        assert load(out / name).shape == Shape(len(known))
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
    again = mpo_here("sandbox", "build", "--out", str(out))
    assert (again.returncode, len(again.stderr.splitlines())) == (2, 1)
    assert "new or empty folder" in again.stderr


def test_the_engine_plays_what_the_agent_does(tmp_path: Path):
    generate(tmp_path / "games", {"train": 0, "seen": 0, "unseen": 6}, 5, 2.0, workers=1)
    torch.manual_seed(1)
    write(Llama(Shape(len(words()))), tmp_path / "agent", "")
    verdict = gate(tmp_path / "agent", tmp_path / "games")
    assert verdict.engine
    assert [len(won) for won in verdict.won.values()] == [6, 6, 6]
    assert not verdict.passed


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_that_holds_no_agent_or_no_games_is_one_line(tmp_path: Path, folder: str):
    (tmp_path / "empty").mkdir()
    checked = mpo_here("sandbox", "check", "--out", str(tmp_path / folder))
    assert (checked.returncode, len(checked.stderr.splitlines())) == (2, 1)
    assert "mpo sandbox build" in checked.stderr


def test_games_that_are_not_there_are_noticed_before_the_training(tmp_path: Path):
    (tmp_path / "games").mkdir()
    out, games = tmp_path / "agent", tmp_path / "games"
    built = mpo_here("sandbox", "build", "--out", str(out), "--games", str(games))
    assert (built.returncode, len(built.stderr.splitlines())) == (2, 1)
    assert not out.exists()
