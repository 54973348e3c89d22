"""The games, made by TextWorld where the suite's cache lacks them: the same id, the same game."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from mpo_core.cache import default_cache
from mpo_core.errors import InputError
from mpo_core.types import content_hash

TEXTWORLD = version("textworld")
SKILLS = {
    "cook": {"recipe": 1, "take": 1, "cook": True, "go": 1},
    "cut": {"recipe": 1, "take": 1, "cut": True, "go": 1},
    "cook-and-cut": {"recipe": 2, "take": 2, "cook": True, "cut": True, "go": 6},
}
REST = {"open": True, "cook": False, "cut": False, "drop": False, "recipe_seed": 0}


def game_file(task_id: str) -> Path:
    """Where a task's game lies: TYPE-SPLIT-NUMBER.z8, and beside it what TextWorld knows of it."""
    _, kind, number = task_id.split("/")
    return default_cache() / "cooking" / TEXTWORLD / f"{kind}-{number}.z8"


def notes(task_id: str) -> tuple[str, list[str]]:
    """A game's instruction and solution. Raises InputError where it cannot be made."""
    make_games([task_id])
    game = json.loads(game_file(task_id).with_suffix(".json").read_text(encoding="utf-8"))
    _, _, *recipe = filter(None, map(str.strip, game["metadata"]["recipe"].splitlines()))
    return "\n".join([game["objective"], *recipe]), game["metadata"]["walkthrough"]


def make_games(task_ids: Sequence[str]) -> None:
    """Make the games that are missing, 2 seconds each. Raises InputError where that fails."""
    missing = [id for id in task_ids if not game_file(id).is_file()]
    if not missing:
        return
    # A process of its own, for the generator goes through sets in the order of their hashes.
    command = [sys.executable, "-m", "mpo_cooking.games", *missing]
    seeded = os.environ | {"PYTHONHASHSEED": "0"}
    made = subprocess.run(command, check=False, env=seeded, capture_output=True, text=True)
    if made.returncode:
        [*_, fault] = made.stderr.splitlines() or [f"exit status {made.returncode}"]
        raise InputError(f"envs.cooking: the game {missing[0]} cannot be made: {fault}")


def _make(task_id: str) -> None:
    """Write a game whole; its .z8, by which it is known, comes last."""
    import textworld
    from textworld.challenges.tw_cooking.cooking import make
    from textworld.generator import compile_game

    to = game_file(task_id)
    kind, split, _ = to.stem.rsplit("-", 2)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".") as aside:
        options = textworld.GameOptions()
        options.seeds, options.path = int(content_hash(task_id), 16) % 2**31, f"{aside}/{to.name}"
        foods = {"split": "test" if split == "unseen" else "train"}
        compile_game(make(REST | SKILLS[kind] | foods, options), options)
        for path in (to.with_suffix(".json"), to):
            os.replace(f"{aside}/{path.name}", path)


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        _make(wanted)
