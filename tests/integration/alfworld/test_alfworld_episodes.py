import asyncio
import json
import re
import shutil
from pathlib import Path

import psutil
import pytest

from mpo_core.envs.alfworld.engine import GameError, Session
from mpo_core.envs.alfworld.games import game_file
from mpo_core.envs.alfworld.host import ALFWorldHost, HostSettings
from mpo_core.errors import InputError
from mpo_core.types import Task


@pytest.fixture
def host(six_games: Path, tmp_path_factory):
    translations = tmp_path_factory.getbasetemp() / "translations"

    def make(root: Path = six_games, workers: int = 1, sessions: int = 64) -> ALFWorldHost:
        return ALFWorldHost(HostSettings(root, translations, workers, sessions, 1000, 60))

    return make


def of_type(tasks: list[Task], name: str) -> Task:
    return next(task for task in tasks if task.type == name)


def test_the_experts_actions_solve_every_type(host, six_tasks):
    async def play():
        worlds = host()
        env = await worlds.environment()
        for task in six_tasks:
            actions = await env.expert_actions(task)
            with pytest.raises(RuntimeError, match="reset"):
                await env.step(actions[0])
            start = await env.reset(task)
            assert start.instruction.startswith("Your task is to: ")
            assert start.instruction.endswith(".")
            assert start.observation.startswith("You are in the middle of a room.")
            assert "\n" not in start.observation + start.instruction
            steps = [await env.step(action) for action in actions]
            assert [step.score for step in steps] == [0] * (len(steps) - 1) + [1]
            assert [step.done for step in steps] == [step.success for step in steps]
            assert all(step.understood for step in steps)
            assert steps[-1].success
        await worlds.close()

    asyncio.run(play())


def test_what_is_won_stays_won(host, six_tasks):
    task = of_type(six_tasks, "pick_and_place_simple")

    async def play():
        worlds = host()
        env = await worlds.environment()
        actions = await env.expert_actions(task)
        await env.reset(task)
        won = [await env.step(action) for action in actions][-1]
        thing, place = actions[-1].removeprefix("move ").split(" to ")
        taken = await env.step(f"take {thing} from {place}")
        await env.reset(task)
        again = await env.step("look")
        await worlds.close()
        return won, taken, again

    won, taken, again = asyncio.run(play())
    assert taken.observation.startswith("You pick up")
    assert (won.score, taken.score, again.score) == (1, 1, 0)
    assert (taken.done, taken.success) == (True, True)
    assert (again.done, again.success) == (False, False)


def test_the_papers_words_do_what_the_engines_do(host, six_tasks):
    task = of_type(six_tasks, "pick_heat_then_place_in_recep")

    async def play():
        worlds = host()
        one, other = await worlds.environment(), await worlds.environment()
        actions = await one.expert_actions(task)
        assert await one.reset(task) == await other.reset(task)
        for action in actions:
            said = action
            if action.startswith("move"):
                said = action.replace("move", "put").replace(" to ", " in/on ")
            assert await one.step(action) == await other.step(f" {said.upper()}. ")
            assert await one.valid_actions() == await other.valid_actions()
        assert any(action.startswith("move") for action in actions)
        await worlds.close()

    asyncio.run(play())


def test_what_is_no_command_is_not_understood_and_what_cannot_be_done_does_nothing(host, six_tasks):
    async def play():
        worlds = host()
        env = await worlds.environment()
        await env.reset(six_tasks[0])
        offered = await env.valid_actions()
        assert {"look", "inventory", "help"} < set(offered)
        for action in ("dance", "", "go to mars 1", "focus on \ud800", "x" * 100_000, "look\n\nup"):
            step = await env.step(action)
            assert step.understood == (action == "go to mars 1")
            assert step.observation == "Nothing happens."
            assert not step.done
        assert await env.valid_actions() == offered
        for action in offered:
            await env.reset(six_tasks[0])
            step = await env.step(action)
            assert step.understood
            assert step.observation != "Nothing happens."
        await worlds.close()

    asyncio.run(play())


def test_the_grammar_of_older_games_is_understood(host, six_games, six_tasks, tmp_path):
    """There, one arrives at numbered places, and things are put in or on others."""
    task = of_type(six_tasks, "pick_and_place_simple")
    old = game_file(tmp_path, task)
    shutil.copytree(game_file(six_games, task).parent, old.parent)
    data = json.loads(old.read_bytes())
    for now, then in (
        ("You arrive at {r.name}.", "You arrive at {lend.name}."),
        ("move {o} to {r}", "put {o} in/on {r}"),
    ):
        assert now in data["grammar"]
        data["grammar"] = data["grammar"].replace(now, then)
    old.write_text(json.dumps(data))

    async def play():
        new_host, old_host = host(), host(tmp_path)
        env = await new_host.environment()
        older = await old_host.environment()
        actions = await env.expert_actions(task)
        await env.reset(task)
        assert await older.reset(task) == await env.reset(task)
        arrivals = 0
        for action in actions:
            new, then = await env.step(action), await older.step(action)
            arrival, _, rest = new.observation.partition(". ")
            if action.startswith("go to"):
                arrivals += 1
                assert arrival.startswith("You arrive at ")
                assert then.observation == rest
            assert (then.understood, then.score) == (True, new.score)
        assert then.success
        assert arrivals
        await older.reset(task)
        for action in actions[:-1]:
            await older.step(action)
        [put] = [a for a in await older.valid_actions() if a.startswith("put")]
        assert (await older.step(put)).success
        await new_host.close()
        await old_host.close()

    asyncio.run(play())
    state = Session().load(old)
    assert state.observation.startswith("-= Welcome to TextWorld, ALFRED! =-")


def test_sixty_four_sessions_play_at_once_in_one_process(host, six_tasks):
    async def play():
        worlds = host()
        tasks = [six_tasks[n % len(six_tasks)] for n in range(64)]
        envs = [await worlds.environment() for _ in tasks]
        starts = await asyncio.gather(
            *(env.reset(task) for env, task in zip(envs, tasks, strict=True))
        )
        assert starts == [starts[n % len(six_tasks)] for n in range(64)]
        assert len(set(starts)) == len(six_tasks)
        steps = await asyncio.gather(*(env.step("inventory") for env in envs))
        assert all(step.understood for step in steps)
        [pid] = worlds.pids()
        rss = psutil.Process(pid).memory_info().rss
        for env in envs:
            await env.close()
        await worlds.close()
        return rss

    assert asyncio.run(play()) < 0.25 * 2**30


def test_sessions_beyond_the_limit_wait_for_room(host, six_tasks):
    async def play():
        worlds = host(sessions=2)
        first, _ = await worlds.environment(), await worlds.environment()
        third = asyncio.ensure_future(worlds.environment())
        await asyncio.sleep(0.1)
        assert not third.done()
        await first.close()
        await first.close()
        assert (await (await third).reset(six_tasks[0])).observation
        await worlds.close()

    asyncio.run(play())


def test_several_processes_share_the_sessions_evenly(six_games, six_tasks, tmp_path):
    async def play():
        worlds = ALFWorldHost(HostSettings(six_games, tmp_path / "new", 2, 2, 1000, 60))
        envs = [await worlds.environment() for _ in range(4)]
        assert len(worlds.pids()) == 2
        starts = await asyncio.gather(*(env.reset(six_tasks[0]) for env in envs))
        assert len(set(starts)) == 1
        await worlds.close()

    asyncio.run(play())
    assert len(list((tmp_path / "new").glob("*.z"))) == 1


def test_a_damaged_translation_is_made_anew(six_games, six_tasks, tmp_path):
    async def play():
        worlds = ALFWorldHost(HostSettings(six_games, tmp_path, 1, 2, 1000, 60))
        start = await (await worlds.environment()).reset(six_tasks[0])
        await worlds.close()
        return start

    start = asyncio.run(play())
    [kept] = tmp_path.glob("*.z")
    whole = kept.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-20] + bytes(20), b"not it"):
        kept.write_bytes(damaged)
        assert asyncio.run(play()) == start
        assert kept.read_bytes() == whole


def test_a_cancelled_call_does_not_disturb_the_next_episode(host, six_tasks):
    async def play():
        worlds = host()
        env = await worlds.environment()
        start = await env.reset(six_tasks[0])
        call = asyncio.ensure_future(env.step("inventory"))
        await asyncio.sleep(0)
        call.cancel()
        assert await env.reset(six_tasks[0]) == start
        await env.close()
        other = await worlds.environment()
        assert await other.reset(six_tasks[0]) == start
        await worlds.close()

    asyncio.run(play())


def change(text: str, key: str, make) -> str:
    data = json.loads(text)
    return json.dumps(data | {key: make(data[key])})


def impossible(problem: str) -> str:
    """The problem with a goal that nothing the agent does can reach."""
    start, _, _ = problem.partition("(:goal")
    thing = re.search(r"\(pickupable (\S+)\)", problem)[1]
    return f"{start}(:goal (and (isReceptacleObjectFull {thing}))))"


BROKEN = {
    "truncated": (lambda text: text[: len(text) // 2], "not a game file"),
    "empty": (lambda text: "", "not a game file"),
    "a list": (lambda text: "[]", "not a game file"),
    "without a problem": (lambda text: change(text, "pddl_problem", lambda _: None), "not a game"),
    "half a problem": (
        lambda text: change(text, "pddl_problem", lambda p: p[: len(p) // 2]),
        "cannot be read",
    ),
    "nobody's": (
        lambda text: change(
            text, "pddl_problem", lambda p: p.replace("(atLocation a", "(atLocation b")
        ),
        "cannot be solved",
    ),
    "not a grammar": (
        lambda text: change(text, "grammar", lambda g: g.replace("action", "reaction")),
        "cannot be read",
    ),
    "not solvable": (lambda text: change(text, "pddl_problem", impossible), "cannot be solved"),
    "not there": (None, "No such file"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_game_is_named_and_the_other_sessions_play_on(
    fault: str, host, six_games: Path, six_tasks, tmp_path
):
    good, bad = six_tasks[:2]
    shutil.copytree(six_games, tmp_path, dirs_exist_ok=True)
    path = game_file(tmp_path, bad)
    breaks, complaint = BROKEN[fault]
    if breaks:
        path.write_text(breaks(path.read_text()))
    else:
        path.unlink()

    async def play():
        worlds = host(tmp_path)
        playing, env = await worlds.environment(), await worlds.environment()
        start = await playing.reset(good)
        [pid] = worlds.pids()
        for _ in range(2):
            with pytest.raises(InputError, match=complaint) as raised:
                await env.reset(bad)
            with pytest.raises(RuntimeError, match="reset"):
                await env.step("look")
        assert (await playing.step("look")).understood
        assert await env.reset(good) == start
        assert worlds.pids() == [pid]
        await worlds.close()
        return str(raised.value)

    message = asyncio.run(play())
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    with pytest.raises(GameError):
        Session().load(path)
