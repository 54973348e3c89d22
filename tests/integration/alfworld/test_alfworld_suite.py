"""The suite as a run uses it: default games, what the planner is told, the expert, the limits."""

import asyncio
import json

import pytest

from mpo_core.envs.alfworld import ALFWorld
from mpo_core.envs.alfworld.engine import Session
from mpo_core.envs.draw import TaskLimits
from mpo_core.errors import InputError
from mpo_core.expert import expert_request
from mpo_core.prompts import load_prompts
from mpo_core.rollout import Player

SPLITS = ("train", "seen", "unseen")


class NoModel:
    fingerprint = "none"

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def worlds() -> ALFWorld:
    return ALFWorld(ALFWorld.Config(generated={"train": 6, "seen": 6, "unseen": 6}))


def test_the_index_tells_the_planner_what_the_game_shows(worlds):
    async def shown():
        host = worlds.host()
        env = await host.environment()
        starts = [await env.reset(task) for split in SPLITS for task in worlds.tasks(split)]
        await host.close()
        return [f"{start.observation}\n{start.instruction}" for start in starts]

    told = [task.description for split in SPLITS for task in worlds.tasks(split)]
    assert asyncio.run(shown()) == told
    assert len(set(told)) == 18


def test_the_expert_solves_every_default_game(worlds):
    async def play():
        player = Player({"alfworld": worlds}, {"alfworld": load_prompts("alfworld")}, NoModel())
        tasks = worlds.tasks("unseen")
        episodes = [await player.play(expert_request(task, worlds.protocol())) for task in tasks]
        await player.close()
        return episodes

    episodes = asyncio.run(play())
    assert [episode.success for episode in episodes] == [True] * 6
    assert all(episode.steps <= worlds.step_limit(None) for episode in episodes)


def test_a_limit_and_types_choose_among_the_games(worlds):
    few = ALFWorld(worlds.config.model_copy(update={"tasks": TaskLimits(train=2)})).tasks("train")
    assert set(few) < set(worlds.tasks("train"))
    lamps = ALFWorld(worlds.config.model_copy(update={"task_types": ["look_at_obj_in_light"]}))
    assert [task.type for task in lamps.tasks("seen")] == ["look_at_obj_in_light"]


def test_a_data_folder_that_was_asked_for_is_never_replaced_by_generated_games(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no such folder"):
        ALFWorld().tasks("train")
    with pytest.raises(InputError, match="holds neither"):
        ALFWorld(ALFWorld.Config(data=tmp_path)).tasks("train")


def test_a_game_from_elsewhere_runs_no_code(worlds, tmp_path):
    [source, *_] = (worlds.root() / "train").glob("*/*/game.tw-pddl")
    content = json.loads(source.read_text())
    said = f"{{__import__('pathlib').Path('{tmp_path / 'ran'}').touch()}}"
    content["grammar"] = content["grammar"].replace("{r.name}", said, 1)
    game = tmp_path / "game.tw-pddl"
    game.write_text(json.dumps(content))
    with pytest.raises(InputError, match="an expression that is not allowed"):
        Session().load(game)
    assert not (tmp_path / "ran").exists()
