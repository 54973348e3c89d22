import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mpo_core.envs.alfworld.host import ALFWorldHost, HostSettings
from mpo_core.errors import EnvironmentLost, InputError


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


def test_a_killed_process_loses_its_episodes_and_then_everything_works_again(host, six_tasks):
    async def play():
        worlds = host()
        envs = [await worlds.environment() for _ in range(3)]
        starts = [await env.reset(task) for env, task in zip(envs, six_tasks, strict=False)]
        look = await envs[0].step("look")
        [pid] = worlds.pids()
        os.kill(pid, signal.SIGKILL)
        for env in envs:
            with pytest.raises(EnvironmentLost, match="died"):
                await env.step("look")
        # The old sessions start over, and a new one opens, in a new process.
        assert await envs[0].reset(six_tasks[0]) == starts[0]
        assert await envs[0].step("look") == look
        fresh = await worlds.environment()
        assert await fresh.reset(six_tasks[1]) == starts[1]
        assert worlds.pids() != [pid]
        assert len(worlds.pids()) == 1
        await worlds.close()

    asyncio.run(play())


def test_a_process_killed_in_the_middle_of_a_call_raises_there(host, six_tasks):
    async def play():
        worlds = host()
        env = await worlds.environment()
        await env.reset(six_tasks[0])
        [pid] = worlds.pids()
        calls = asyncio.gather(*(env.step("look") for _ in range(5000)), return_exceptions=True)
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        answers = await calls
        lost = [answer for answer in answers if isinstance(answer, EnvironmentLost)]
        assert lost
        assert all(isinstance(a, EnvironmentLost) or a.understood for a in answers)
        # Once lost, lost: no later call slips through.
        assert answers[-len(lost) :] == lost
        await worlds.close()

    asyncio.run(play())


def test_a_hung_process_is_noticed_killed_and_replaced(host, six_tasks):
    async def play():
        worlds = host(call_timeout_s=4)
        env, other = await worlds.environment(), await worlds.environment()
        await env.reset(six_tasks[0])
        await other.reset(six_tasks[1])
        [pid] = worlds.pids()
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(EnvironmentLost, match="did not answer in time"):
            await env.step("look")
        with pytest.raises(EnvironmentLost):
            await other.step("look")
        assert time.monotonic() - started < 7
        assert gone(pid)
        assert (await env.reset(six_tasks[0])).observation
        await worlds.close()

    asyncio.run(play())


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


def test_a_process_is_replaced_after_its_share_of_games_when_its_sessions_have_left(
    host, six_tasks
):
    async def play():
        worlds = host(recycle_after=3)
        first, second = await worlds.environment(), await worlds.environment()
        await first.reset(six_tasks[0])
        await second.reset(six_tasks[1])
        [old] = worlds.pids()
        await first.reset(six_tasks[2])
        # The third game was the last one: a next episode moves, one under way plays on.
        await second.reset(six_tasks[3])
        assert len(worlds.pids()) == 2
        assert (await first.step("look")).observation
        await first.reset(six_tasks[0])
        assert gone(old)
        assert len(worlds.pids()) == 1
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


def test_closing_the_host_ends_its_processes_within_seconds_even_in_a_call(host, six_tasks):
    async def play():
        worlds = host(workers=2)
        envs = [await worlds.environment() for _ in range(2)]
        for env in envs:
            await env.reset(six_tasks[0])
        pids = worlds.pids()
        assert len(pids) == 2
        calls = asyncio.gather(
            *(env.step("look") for env in envs for _ in range(5000)), return_exceptions=True
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
        "import time; from mpo_core.envs.alfworld.process import GameProcess; "
        "print(GameProcess(None, 60).pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        assert "mpo_core.envs.alfworld.worker" in psutil.Process(pid).cmdline()
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
    assert gone(pid)


def test_the_process_listens_nowhere(host):
    async def play():
        worlds = host()
        await worlds.environment()
        [pid] = worlds.pids()
        assert not psutil.Process(pid).net_connections("inet")
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
