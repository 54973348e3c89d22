import asyncio
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mpo_core.envs.scienceworld import ScienceWorld, ScienceWorldHost
from mpo_core.errors import EnvironmentLost, InputError

TASKS = ScienceWorld().tasks("unseen")


def host(**settings):
    return ScienceWorld(ScienceWorld.Config(**settings)).host()


def test_a_process_out_of_memory_is_lost_not_a_failed_episode():
    async def play():
        settings = replace(host().settings, heap_gb=0.04, sessions_per_jvm=len(TASKS))
        worlds = ScienceWorldHost(settings)
        with pytest.raises(EnvironmentLost, match="OutOfMemoryError"):
            for task in TASKS:
                env = await worlds.environment()
                await env.reset(task)
                await env.step("look around")
        await worlds.close()

    asyncio.run(play())


def test_memory_stays_bounded_over_many_loads():
    async def play():
        worlds = host(heap_gb=0.3, sessions_per_jvm=8)
        env = await worlds.environment()
        [pid] = worlds.pids()
        for number in range(150):
            await env.reset(TASKS[number % len(TASKS)])
        assert worlds.pids() == [pid]
        assert psutil.Process(pid).memory_info().rss < 0.75 * 2**30
        await worlds.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("text", "mode", "complaint"),
    [
        ("", 0o644, "no Java program at"),
        ("#!/bin/sh\necho no room here >&2; exit 3\n", 0o755, "exit status 3): no room here;"),
    ],
)
def test_java_that_cannot_start_is_one_line_with_advice(
    tmp_path: Path, text: str, mode: int, complaint: str
):
    java = tmp_path / "java"
    java.write_text(text)
    java.chmod(mode)

    async def play():
        worlds = host(java=java)
        with pytest.raises(InputError) as raised:
            await worlds.environment()
        await worlds.close()
        return str(raised.value)

    message = asyncio.run(play())
    assert "\n" not in message
    assert complaint in message
