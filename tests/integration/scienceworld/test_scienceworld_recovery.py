import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mpo_core.envs.scienceworld import ScienceWorld, ScienceWorldHost
from mpo_core.errors import EnvironmentLost, InputError

TASKS = ScienceWorld().tasks("unseen")


def host(**settings):
    return ScienceWorld(ScienceWorld.Config(**settings)).host()


def gone(pid: int, within_s: float = 10) -> bool:
    """True once there is no such process, or only its entry for a parent that has not looked."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_a_killed_process_loses_its_episodes_and_then_everything_works_again():
    async def play():
        worlds = host()
        envs = [await worlds.environment() for _ in range(3)]
        for env, task in zip(envs, TASKS, strict=False):
            await env.reset(task)
        [pid] = worlds.pids()
        os.kill(pid, signal.SIGKILL)
        for env in envs:
            with pytest.raises(EnvironmentLost, match="died"):
                await env.step("look around")
        # The old sessions start over, and a new one opens, in a new process.
        again = await envs[0].reset(TASKS[0])
        assert (await envs[0].step("look around")).observation == again.observation
        fresh = await worlds.environment()
        assert await fresh.reset(TASKS[0]) == again
        assert worlds.pids() != [pid]
        assert len(worlds.pids()) == 1
        await worlds.close()

    asyncio.run(play())


def test_a_process_killed_in_the_middle_of_a_call_raises_there():
    async def play():
        worlds = host()
        env = await worlds.environment()
        await env.reset(TASKS[0])
        [pid] = worlds.pids()
        calls = asyncio.gather(*(env.step("wait") for _ in range(200)), return_exceptions=True)
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        answers = await calls
        lost = [answer for answer in answers if isinstance(answer, EnvironmentLost)]
        assert lost
        assert all(isinstance(a, EnvironmentLost) or a.score >= 0 for a in answers)
        # Once lost, lost: no later call slips through.
        assert answers[-len(lost) :] == lost
        await worlds.close()

    asyncio.run(play())


def test_a_hung_process_is_noticed_killed_and_replaced():
    async def play():
        worlds = host(call_timeout_s=3)
        env, other = await worlds.environment(), await worlds.environment()
        await env.reset(TASKS[0])
        await other.reset(TASKS[1])
        [pid] = worlds.pids()
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(EnvironmentLost, match="did not answer in time"):
            await env.step("look around")
        with pytest.raises(EnvironmentLost):
            await other.step("look around")
        assert time.monotonic() - started < 6
        assert gone(pid)
        assert (await env.reset(TASKS[0])).observation
        await worlds.close()

    asyncio.run(play())


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


def test_a_process_is_replaced_after_its_share_of_loads_when_its_sessions_have_left():
    async def play():
        worlds = host(recycle_after=3)
        first, second = await worlds.environment(), await worlds.environment()
        await first.reset(TASKS[0])
        await second.reset(TASKS[1])
        [old] = worlds.pids()
        await first.reset(TASKS[2])
        # The third load was the last one: a next episode moves, one under way plays on.
        await second.reset(TASKS[3])
        assert len(worlds.pids()) == 2
        assert (await first.step("look around")).observation
        await first.reset(TASKS[0])
        assert gone(old)
        assert len(worlds.pids()) == 1
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


def test_closing_the_host_ends_its_processes_within_seconds_even_in_a_call():
    async def play():
        worlds = host(jvms=2)
        envs = [await worlds.environment() for _ in range(2)]
        for env in envs:
            await env.reset(TASKS[0])
        pids = worlds.pids()
        assert len(pids) == 2
        calls = asyncio.gather(
            *(env.step("wait") for env in envs for _ in range(500)), return_exceptions=True
        )
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await worlds.close()
        answers = await calls
        assert time.monotonic() - started < 5
        assert isinstance(answers[-1], EnvironmentLost)
        assert all(gone(pid) for pid in pids)
        with pytest.raises(EnvironmentLost, match="closed"):
            await worlds.environment()

    asyncio.run(play())


@pytest.mark.parametrize("stopped", [False, True])
def test_the_process_dies_with_a_parent_that_is_killed(stopped: bool):
    code = (
        "import time; from mpo_core.envs.scienceworld.jvm import Jvm; "
        "print(Jvm(0.2, 60).pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.Process(pid).name().startswith("java")
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
    assert gone(pid)


def test_the_process_listens_on_loopback_only():
    async def play():
        worlds = host()
        await worlds.environment()
        [pid] = worlds.pids()
        listening = [
            c.laddr.ip
            for c in psutil.Process(pid).net_connections("inet")
            if c.status == psutil.CONN_LISTEN
        ]
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
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
