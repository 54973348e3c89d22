"""What every environment's host promises of its processes: killed, hung, spent or closed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpo_core.envs.alfworld import ALFWorld
from mpo_core.envs.scienceworld import ScienceWorld
from mpo_core.envs.scienceworld.jvm import bundled_java
from mpo_core.errors import EnvironmentLost, InputError
from mpo_core.types import Task
from tests.processes import gone


@dataclass
class World:
    """An environment to be disturbed."""

    host: Callable[..., Any]
    """A host with settings of the config section."""
    tasks: list[Task]
    look: str
    """An action that changes nothing and answers as the start does not."""
    two_processes: dict[str, int]
    """The setting for two processes."""
    process: str
    """Code that starts a process and keeps it in `process`."""
    started_by: Callable[[pytest.MonkeyPatch, Path], dict[str, Any]]
    """Lets another program start the processes; returns the settings for it."""
    program: str
    """The program that starts them else."""
    module: str
    """The module that starts them."""


@pytest.fixture(params=["scienceworld", "alfworld"])
def world(request) -> World:
    if request.param == "scienceworld":
        return World(
            lambda **settings: ScienceWorld(ScienceWorld.Config(**settings)).host(),
            ScienceWorld().tasks("unseen"),
            "look around",
            {"jvms": 2},
            "from mpo_core.envs.scienceworld.jvm import Jvm; process = Jvm(0.2, 60)",
            lambda patch, program: {"java": program},
            str(bundled_java()),
            "mpo_core.envs.scienceworld.jvm",
        )
    games = {"generated": {"train": 6, "seen": 0, "unseen": 6}}
    return World(
        lambda **settings: ALFWorld(ALFWorld.Config(**games | settings)).host(),
        ALFWorld(ALFWorld.Config(**games)).tasks("train"),
        "look",
        {"workers": 2},
        "from mpo_core.envs.alfworld.process import GameProcess; process = GameProcess(None, 60)",
        lambda patch, program: patch.setattr(sys, "executable", str(program)) or {},
        sys.executable,
        "mpo_core.envs.alfworld.process",
    )


def test_a_killed_process_loses_its_episodes_and_then_everything_works_again(world):
    async def play():
        host = world.host()
        envs = [await host.environment() for _ in range(3)]
        starts = [await env.reset(task) for env, task in zip(envs, world.tasks, strict=False)]
        look = await envs[0].step(world.look)
        [pid] = host.pids()
        os.kill(pid, signal.SIGKILL)
        for env in envs:
            with pytest.raises(EnvironmentLost, match="died"):
                await env.step(world.look)
        # The old sessions start over, and a new one opens, in a new process.
        assert await envs[0].reset(world.tasks[0]) == starts[0]
        assert await envs[0].step(world.look) == look
        fresh = await host.environment()
        assert await fresh.reset(world.tasks[1]) == starts[1]
        assert host.pids() != [pid]
        assert len(host.pids()) == 1
        await host.close()

    asyncio.run(play())


@pytest.fixture
def first_start(world, tmp_path, monkeypatch) -> Callable[[str], dict[str, Any]]:
    """Lets a shell command be what the first process does that is started; gives the settings."""

    def settings(command: str) -> dict[str, Any]:
        script = tmp_path / "program"
        first = f"mkdir {tmp_path}/started 2>/dev/null && {{ {command}; }}"
        script.write_text(f'#!/bin/sh\n{first}\nexec {world.program} "$@"\n')
        script.chmod(0o755)
        return world.started_by(monkeypatch, script)

    return settings


@pytest.mark.parametrize("command", ["kill -KILL $$", "kill -TERM $$", "exit 137"])
def test_a_process_killed_while_it_starts_is_lost_and_the_next_one_serves(
    world, first_start, command
):
    async def play():
        host = world.host(**first_start(command))
        with pytest.raises(EnvironmentLost, match="did not start"):
            await host.environment()
        env = await host.environment()
        assert (await env.reset(world.tasks[0])).observation
        await host.close()

    asyncio.run(play())


def test_a_process_that_ends_by_itself_at_its_start_is_bad_input(world, first_start):
    async def play():
        host = world.host(**first_start("echo no room here >&2; exit 3"))
        with pytest.raises(InputError, match=r"exit status 3\): no room here") as raised:
            await host.environment()
        assert "\n" not in str(raised.value)
        await host.close()

    asyncio.run(play())


def test_a_process_that_hangs_at_its_start_is_lost(world, first_start, monkeypatch):
    monkeypatch.setattr(f"{world.module}.START_TIMEOUT_S", 1)

    async def play():
        host = world.host(**first_start("sleep 600"))
        with pytest.raises(EnvironmentLost, match="did not start in time"):
            await host.environment()
        await host.close()

    asyncio.run(play())


def test_a_process_killed_in_the_middle_of_a_call_raises_there(world):
    async def play():
        host = world.host()
        env = await host.environment()
        await env.reset(world.tasks[0])
        [pid] = host.pids()
        calls = asyncio.gather(*(env.step(world.look) for _ in range(5000)), return_exceptions=True)
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        answers = await calls
        lost = [answer for answer in answers if isinstance(answer, EnvironmentLost)]
        assert lost
        assert all(isinstance(a, EnvironmentLost) or a.understood for a in answers)
        # Once lost, lost: no later call slips through.
        assert answers[-len(lost) :] == lost
        await host.close()

    asyncio.run(play())


def test_a_hung_process_is_noticed_killed_and_replaced(world):
    async def play():
        host = world.host(call_timeout_s=4)
        env, other = await host.environment(), await host.environment()
        await env.reset(world.tasks[0])
        await other.reset(world.tasks[1])
        [pid] = host.pids()
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(EnvironmentLost, match="did not answer in time"):
            await env.step(world.look)
        with pytest.raises(EnvironmentLost):
            await other.step(world.look)
        assert time.monotonic() - started < 7
        assert gone(pid)
        assert (await env.reset(world.tasks[0])).observation
        await host.close()

    asyncio.run(play())


def test_a_process_is_replaced_after_its_share_of_episodes_when_its_sessions_have_left(world):
    async def play():
        host = world.host(recycle_after=3)
        first, second = await host.environment(), await host.environment()
        await first.reset(world.tasks[0])
        await second.reset(world.tasks[1])
        [old] = host.pids()
        await first.reset(world.tasks[2])
        # The third one was its last: a next episode moves, one under way plays on.
        await second.reset(world.tasks[3])
        assert len(host.pids()) == 2
        assert (await first.step(world.look)).observation
        await first.reset(world.tasks[0])
        assert gone(old)
        assert len(host.pids()) == 1
        await host.close()

    asyncio.run(play())


def test_closing_the_host_ends_its_processes_within_seconds_even_in_a_call(world):
    async def play():
        host = world.host(**world.two_processes)
        envs = [await host.environment() for _ in range(2)]
        for env in envs:
            await env.reset(world.tasks[0])
        pids = host.pids()
        assert len(pids) == 2
        calls = asyncio.gather(
            *(env.step(world.look) for env in envs for _ in range(5000)), return_exceptions=True
        )
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await host.close()
        answers = await calls
        assert time.monotonic() - started < 5
        assert isinstance(answers[-1], EnvironmentLost)
        assert all(gone(pid) for pid in pids)
        with pytest.raises(EnvironmentLost, match="closed"):
            await host.environment()

    asyncio.run(play())


@pytest.mark.parametrize("stopped", [False, True])
def test_the_process_dies_with_a_parent_that_is_killed(world, stopped: bool):
    code = f"import time; {world.process}; print(process.pid, flush=True); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.Process(pid).is_running()
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
    assert gone(pid)


def test_the_process_listens_beyond_loopback_nowhere(world):
    async def play():
        host = world.host()
        await host.environment()
        [pid] = host.pids()
        listening = [
            c.laddr.ip
            for c in psutil.Process(pid).net_connections("inet")
            if c.status == psutil.CONN_LISTEN
        ]
        assert {ip.removeprefix("::ffff:") for ip in listening} <= {"127.0.0.1"}
        await host.close()

    asyncio.run(play())
