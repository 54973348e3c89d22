"""What `mpo doctor` plays in ALFWorld, in the real engine."""

import asyncio
import json
from pathlib import Path

import pytest

from mpo_core.envs.alfworld import ALFWorld, ALFWorldConfig, Generated
from mpo_core.envs.alfworld.games import GAME
from mpo_core.envs.alfworld.generation import generate
from mpo_core.envs.trial import tried

OWN, OLDER = '"move {o} to {r}"', '"put {o} in/on {r}"'


def test_where_no_games_are_made_one_is_and_won_in_either_words(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MPO_CACHE", str(tmp_path / "cache"))
    config = ALFWorldConfig(generated=Generated(always=True, train=4000))
    expert, put = asyncio.run(tried(ALFWorld(config), tmp_path / "tried"))
    assert expert.status == put.status == "ok", (expert, put)
    assert put.name == "alfworld, 'put X in/on Y'" and put.found.endswith("reward 1.00")
    assert not (tmp_path / "cache" / "alfworld" / "games").exists()


@pytest.mark.parametrize(("grammar", "words"), [(OWN, "put X in/on Y"), (OLDER, "move X to Y")])
def test_games_of_either_wording_are_won_in_the_other(tmp_path: Path, grammar: str, words: str):
    generate(tmp_path / "games", {"train": 1}, seed=3, workers=1)
    [game] = (tmp_path / "games").rglob(GAME)
    told = json.loads(game.read_text())
    assert OWN in told["grammar"]
    told["grammar"] = told["grammar"].replace(OWN, grammar)
    game.write_text(json.dumps(told))
    expert, other = asyncio.run(tried(ALFWorld(ALFWorldConfig(data=tmp_path / "games")), tmp_path))
    assert (expert.status, other.status) == ("ok", "ok"), (expert, other)
    assert other.name == f"alfworld, {words!r}" and "reward 1.00" in other.found
