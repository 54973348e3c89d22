from pathlib import Path

import pytest

from mpo_core.envs.alfworld.games import index_games
from mpo_core.envs.alfworld.generation import generate
from mpo_core.types import Task


@pytest.fixture(scope="session")
def six_games(tmp_path_factory) -> Path:
    """A data folder with a game of each type."""
    root = tmp_path_factory.mktemp("six-games") / "data"
    generate(root, {"train": 6}, seed=7, workers=1)
    return root


@pytest.fixture(scope="session")
def six_tasks(six_games: Path) -> list[Task]:
    return index_games(six_games).tasks["train"]
