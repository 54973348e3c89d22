import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from mpo_core.envs.alfworld.host import ALFWorldHost, HostSettings
from mpo_core.errors import EnvironmentLost, InputError
from tests.processes import gone


@pytest.fixture
def host(six_games: Path, tmp_path_factory):
    translations = tmp_path_factory.getbasetemp() / "translations"

    def make(**settings) -> ALFWorldHost:
        defaults = {
            "root": six_games,
            "translations": translations,
            "workers": 1,
            "sessions_per_worker": 64,
            "recycle_after": 1000,
            "call_timeout_s": 60,
        }
        return ALFWorldHost(HostSettings(**defaults | settings))

    return make


def test_a_hung_process_does_not_hold_up_a_long_action(host, six_tasks):
    """A line that nobody reads fills up: that, too, ends in time."""

    async def play():
        worlds = host(call_timeout_s=2)
        env = await worlds.environment()
        await env.reset(six_tasks[0])
        [pid] = worlds.pids()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(EnvironmentLost, match="did not answer in time"):
            await env.step("look " * 500_000)
        assert gone(pid)
        await worlds.close()

    asyncio.run(play())


def test_a_process_out_of_memory_is_lost_not_a_failed_episode(host, six_tasks):
    async def play():
        worlds = host()
        env = await worlds.environment()
        await env.reset(six_tasks[0])
        [pid] = worlds.pids()
        used = psutil.Process(pid).memory_info().vms
        psutil.Process(pid).rlimit(psutil.RLIMIT_AS, (used, used))
        with pytest.raises(EnvironmentLost, match="died"):
            await env.step("look" * 10_000_000)
        await env.reset(six_tasks[0])
        assert worlds.pids() != [pid]
        await worlds.close()

    asyncio.run(play())


def test_memory_stays_bounded_over_many_episodes(host, six_tasks):
    async def play():
        worlds = host()
        envs = [await worlds.environment() for _ in range(8)]
        [pid] = worlds.pids()

        async def play_round(number: int):
            for place, env in enumerate(envs):
                await env.reset(six_tasks[(number + place) % len(six_tasks)])
            for action in ("look", "inventory", "x" * 10_000):
                await asyncio.gather(*(env.step(f"{action} {number}") for env in envs))

        for number in range(20):
            await play_round(number)
        before = psutil.Process(pid).memory_info().rss
        for number in range(100):
            await play_round(number)
        assert worlds.pids() == [pid]
        assert psutil.Process(pid).memory_info().rss < before + 16 * 2**20
        await worlds.close()

    asyncio.run(play())


def test_a_process_that_cannot_start_is_one_line_with_advice(host, tmp_path, monkeypatch):
    (tmp_path / "textworld.py").write_text("raise ImportError('no textworld here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def play():
        worlds = host()
        for _ in range(2):
            with pytest.raises(InputError) as raised:
                await worlds.environment()
        monkeypatch.delenv("PYTHONPATH")
        # What failed once is tried again.
        await worlds.environment()
        await worlds.close()
        return str(raised.value)

    message = asyncio.run(play())
    assert "\n" not in message
    assert "no textworld here" in message
    assert "check that" in message


def test_what_is_printed_does_not_get_between_the_lines(host, six_tasks, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, threading, time\n"
        "def chatter():\n"
        "    while True:\n"
        "        print('{}', flush=True); os.write(1, b'[1]\\n'); time.sleep(0.001)\n"
        "if 'mpo_core.envs.alfworld.worker' in sys.orig_argv:\n"
        "    threading.Thread(target=chatter, daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def play():
        worlds = host()
        env = await worlds.environment()
        await env.reset(six_tasks[0])
        steps = [await env.step("inventory") for _ in range(100)]
        [pid] = worlds.pids()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EnvironmentLost, match=r"\[1\]|{}"):
            await env.step("look")
        await worlds.close()
        return steps

    assert {step.observation for step in asyncio.run(play())} == {"You are not carrying anything."}
