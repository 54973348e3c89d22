"""What ScienceWorld's scores mean for an episode; a scripted simulator in the real one's place."""

import asyncio

import pytest

from mpo_core.envs.scienceworld.host import ScienceWorldEnvironment
from mpo_core.envs.scienceworld.simulator import Reply, World
from mpo_core.types import Task

TASK = Task(id="scienceworld/boil/1", env="scienceworld", type="boil", split="train")


class Scripted:
    """A session's seat and the simulator in it, which reports the scores that it is given."""

    process = None

    def __init__(self, scores: list[float]) -> None:
        self._scores = [0.0, *scores]

    async def renew(self) -> None: ...

    def check(self) -> None: ...

    async def run(self, function):
        return function(self)

    def load(self, *_: object) -> World:
        return World(None, None, None, "", "Boil.", 0)

    def step(self, world: World, action: str) -> Reply:
        score = self._scores.pop(0)
        return Reply("Something happens.", score, completed=score >= 0.999, understood=True)


@pytest.mark.parametrize(
    ("scores", "score", "done", "success"),
    [
        ([1 / 12], 1 / 12, False, False),
        ([1 / 3, 1 / 12], 1 / 3, False, False),
        ([0.0], 0.0, False, False),
        ([-1.0], 0.0, True, False),
        ([2 / 7, -1.0], 2 / 7, True, False),
        ([-1e-17], 0.0, False, False),
        ([1.0], 1.0, True, True),
        ([1 - 1e-15], 1.0, True, True),
        ([1 + 1e-15], 1.0, True, True),
        ([399 / 400], 399 / 400, False, False),
    ],
)
def test_a_score_is_kept_as_it_is_and_decides_the_end(scores, score, done, success):
    async def play():
        env = ScienceWorldEnvironment("easy", Scripted(scores))
        await env.reset(TASK)
        return [await env.step("look around") for _ in scores][-1]

    last = asyncio.run(play())
    assert (last.score, last.done, last.success) == (score, done, success)
