import asyncio

import psutil
import pytest

from mpo_core.envs.scienceworld import ScienceWorld
from mpo_core.errors import InputError
from mpo_core.types import Task


def suite(**settings) -> ScienceWorld:
    return ScienceWorld(ScienceWorld.Config(**settings))


def task_of(name: str) -> Task:
    return suite(task_types=[name], tasks={"unseen": 1}).tasks("unseen")[0]


def test_the_gold_path_solves_a_task_and_the_score_never_falls():
    task = task_of("find-plant")

    async def play():
        host = suite().host()
        env = await host.environment()
        actions = await env.expert_actions(task)
        with pytest.raises(RuntimeError, match="reset"):
            await env.step(actions[0])
        start = await env.reset(task)
        assert start.instruction.startswith("Your task is to find a(n) plant.")
        assert start.observation.startswith("This room is called the")
        steps = [await env.step(action) for action in actions]
        await host.close()
        return steps

    steps = asyncio.run(play())
    scores = [step.score for step in steps]
    assert scores == sorted(scores)
    assert (scores[0], scores[-1]) == (1 / 12, 1)
    assert steps[-1].done
    assert steps[-1].success
    assert not steps[0].success


def test_a_negative_score_fails_the_episode_and_keeps_the_best_score():
    task = task_of("find-plant")

    async def play():
        host = suite().host()
        env = await host.environment()
        actions = await env.expert_actions(task)
        halfway = actions[: next(i for i, a in enumerate(actions) if a.startswith("focus"))]
        await env.reset(task)
        before = [await env.step(action) for action in halfway][-1]
        failed = await env.step("focus on agent")
        await env.reset(task)
        after = await env.step("look around")
        await host.close()
        return before, failed, after

    before, failed, after = asyncio.run(play())
    assert before.score > 0
    assert not before.done
    assert failed.done
    assert not failed.success
    assert failed.score == before.score
    # The next episode starts afresh.
    assert after.score < before.score
    assert not after.done


def test_what_the_simulator_cannot_parse_is_not_understood():
    understood = ["look around", "inventory", "help", "objects", "task", "look\naround"]
    not_understood = ["dance", "", "open \\ door", "focus on \ud800", "x" * 100_000]

    async def play():
        host = suite().host()
        env = await host.environment()
        await env.reset(task_of("boil"))
        steps = {action: await env.step(action) for action in understood + not_understood}
        await host.close()
        return steps

    steps = asyncio.run(play())
    assert [action for action, step in steps.items() if step.understood] == understood
    assert all(step.observation and not step.done for step in steps.values())


def test_an_ambiguous_command_is_understood_and_can_be_resolved():
    async def play():
        host = suite().host()
        env = await host.environment()
        await env.reset(task_of("boil"))
        await env.step("teleport to hallway")
        asked = await env.step("close door")
        answered = await env.step("0")
        await host.close()
        return asked, answered

    asked, answered = asyncio.run(play())
    assert asked.observation.startswith("Ambiguous request")
    assert asked.understood
    assert answered.understood
    assert "closed" in answered.observation


def test_asking_for_valid_actions_changes_nothing():
    async def play():
        host = suite().host()
        asking, silent = await host.environment(), await host.environment()
        for env in (asking, silent):
            await env.reset(task_of("grow-fruit"))
        script = ["look around", "teleport to outside", "wait", "objects", "look around", "objects"]
        seen = []
        for action in script:
            offered = await asking.valid_actions()
            assert len(offered) > 20
            assert "look around" in offered
            seen.append((await asking.step(action), await silent.step(action)))
        await host.close()
        return seen

    assert all(one == other for one, other in asyncio.run(play()))


def test_a_hundred_sessions_play_at_once_in_one_process():
    async def play():
        tasks = suite().tasks("unseen")[:100]
        host = suite(sessions_per_jvm=100, heap_gb=1).host()
        envs = [await host.environment() for _ in tasks]
        starts = await asyncio.gather(
            *(env.reset(task) for env, task in zip(envs, tasks, strict=True))
        )
        looks = await asyncio.gather(*(env.step("look around") for env in envs))
        assert [s.observation for s in starts] == [step.observation for step in looks]
        [pid] = host.pids()
        rss = psutil.Process(pid).memory_info().rss
        for env in envs:
            await env.close()
        await host.close()
        return rss

    assert asyncio.run(play()) < 2 * 2**30


def test_sessions_beyond_the_limit_wait_for_room():
    async def play():
        host = suite(sessions_per_jvm=2).host()
        first, _ = await host.environment(), await host.environment()
        third = asyncio.ensure_future(host.environment())
        await asyncio.sleep(0.1)
        assert not third.done()
        await first.close()
        await first.close()
        assert (await (await third).reset(task_of("boil"))).observation
        await host.close()

    asyncio.run(play())


def test_several_processes_share_the_sessions_evenly():
    async def play():
        host = suite(jvms=2, sessions_per_jvm=2).host()
        envs = [await host.environment() for _ in range(4)]
        assert len(host.pids()) == 2
        for env in envs:
            await env.reset(task_of("boil"))
        await host.close()

    asyncio.run(play())


def test_a_cancelled_call_does_not_disturb_the_next_episode():
    async def play():
        host = suite().host()
        env = await host.environment()
        start = await env.reset(task_of("boil"))
        call = asyncio.ensure_future(env.step("wait"))
        await asyncio.sleep(0)
        call.cancel()
        assert await env.reset(task_of("boil")) == start
        await env.close()
        other = await host.environment()
        assert await other.reset(task_of("boil")) == start
        await host.close()

    asyncio.run(play())


def test_simplifications_do_not_leak_between_sessions():
    """`easy` forbids electrical actions in some task types and allows them in others."""

    async def play():
        host = suite().host()
        circuit, boil = await host.environment(), await host.environment()
        await circuit.reset(task_of("power-component"))
        await circuit.step("teleport to workshop")
        alone = await circuit.valid_actions()
        await boil.reset(task_of("boil"))
        assert not [a for a in await boil.valid_actions() if a.startswith("connect")]
        assert await circuit.valid_actions() == alone
        assert [a for a in alone if a.startswith("connect")]
        await host.close()

    asyncio.run(play())


def test_a_variation_that_does_not_exist_is_an_input_error():
    async def play():
        host = suite().host()
        env = await host.environment()
        task = task_of("boil").model_copy(update={"variation": 999})
        with pytest.raises(InputError, match="boil/999") as raised:
            await env.reset(task)
        assert (await env.reset(task_of("boil"))).observation
        await host.close()
        return str(raised.value)

    assert "\n" not in asyncio.run(play())
