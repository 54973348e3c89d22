import asyncio

from mpo_core.config import Section
from mpo_core.expert import expert_request
from mpo_core.rollout import Player
from tests.fakes import PROMPTS, Doors, task


class NoModel:
    fingerprint = "none"

    async def chat(self, request):
        raise AssertionError("the expert asks no model")

    async def close(self):
        pass


def test_the_expert_plays_the_environments_solution_without_a_model():
    async def play():
        player = Player({"toy": Doors(Section())}, {"toy": PROMPTS}, NoModel())
        return await player.play(expert_request(task(), {}))

    episode = asyncio.run(play())
    assert [turn.action for turn in episode.turns] == ["knock", "enter"]
    assert (episode.reward, episode.success, episode.end) == (1.0, True, "done")
    assert (episode.model, episode.plan) == ("expert", None)


def test_the_experts_episode_is_the_same_in_every_run():
    assert expert_request(task(), {}).key == expert_request(task(), {}).key
    assert expert_request(task(), {}).key != expert_request(task(1), {}).key
