"""The sandbox's ScienceWorld simulator against the engine, as the agent reads both."""

from collections.abc import Iterator

import pytest

from mpo_core.envs.scienceworld.jvm import Jvm
from mpo_core.envs.scienceworld.simulator import Simulator
from mpo_core.sandbox.scienceworld.agent import Table
from mpo_core.sandbox.scienceworld.follower import CALLED
from mpo_core.sandbox.scienceworld.games import STEPS, TYPES, Episode, Game, Goal, seen
from mpo_core.sandbox.scienceworld.gate import World, variations
from mpo_core.sandbox.scienceworld.plans import HOMES, PlanSpec


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    made = Simulator(Jvm(heap_gb=1, call_timeout_s=120))
    yield made
    made.stop()


def drawn_from(simulator: Simulator, type_: str, variation: int) -> Game:
    """The variation as a game of the text simulator's."""
    world = World(simulator, type_, variation)
    start = world.reset()
    views = []
    for room in ("outside", "greenhouse"):
        world.step(f"teleport to {room}")
        views.append(tuple(seen(world.step("look around").observation)))
    world.close()
    here = CALLED.search(start.observation)[1]
    return Game(type_, Goal.read(start.instruction), here, *views)


@pytest.mark.parametrize("type_", TYPES)
def test_the_agent_reads_the_engines_answers_as_the_simulators(
    simulator: Simulator, type_: str
) -> None:
    for variation in variations(type_, "train", 3):
        game = drawn_from(simulator, type_, variation)
        homes = PlanSpec(HOMES.get(game.goal.sought, ()))
        for plan in (homes, None):
            world = World(simulator, type_, variation)
            real, ours = Table(world, plan, None), Table(Episode(game), plan, None)
            going = (True, True)
            while going == (True, True) and len(real.actions) < STEPS:
                going = (real.act(None), ours.act(None))
            world.close()
            assert real.tokens == ours.tokens
            assert going[0] == going[1]
            assert real.last.success == ours.last.success
