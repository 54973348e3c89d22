"""Games on the disk that an agent is checked with."""

from pathlib import Path

from mpo_core.envs.alfworld.games import data_root, game_file, index_games
from mpo_core.errors import InputError
from mpo_core.sandbox.games import Game
from mpo_core.sandbox.measure import POWER
from mpo_core.types import Task


def held_out_games(folder: Path) -> tuple[Path, list[Task], list[Game]]:
    """The data root in a folder of generated games, its unseen tasks and the game of each.

    Raises:
        InputError: it has none, or one that is not generated.
    """
    root = data_root(folder)
    tasks = index_games(root).tasks.get("unseen", [])
    if not tasks:
        raise InputError(
            f"{folder}: no unseen games; make some with `mpo tasks alfworld generate --unseen 200 "
            f"--prior-power {POWER:g} --out DIR`"
        )
    return root, tasks, [Game.load(game_file(root, task).parent) for task in tasks]
