import asyncio
from types import SimpleNamespace

import pytest

from mpo_core.completions import UNUSABLE
from mpo_core.errors import EnvironmentLost, InputError, ModelUnavailable
from mpo_core.ledger import Ledger, read_records
from mpo_core.rollout import REMEDIES, mostly_unusable, play_owed
from mpo_core.types import Episode, Turn
from tests.fakes import episode, request


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    real = asyncio.sleep
    own = SimpleNamespace(**vars(asyncio) | {"sleep": lambda _: real(0)})
    monkeypatch.setattr("mpo_core.again.asyncio", own)


def run(path, requests, play, attempts=3, **limits):
    async def main():
        with Ledger(path, Episode, key=lambda e: e.key) as ledger:
            await play_owed(requests, play, ledger, concurrency=4, attempts=attempts, **limits)

    asyncio.run(main())
    return read_records(path, Episode)


def test_every_owed_episode_is_played_once(tmp_path):
    requests, played = [request(n) for n in range(20)], []

    async def play(asked):
        played.append(asked.key)
        await asyncio.sleep(0)
        return episode(asked, 0.5)

    run(tmp_path / "l", requests[:7] + requests[:3], play)
    assert len(run(tmp_path / "l", requests, play)) == 20
    assert len(played) == len(set(played)) == 20


def test_a_failure_under_an_episode_starts_it_again(tmp_path):
    failures = iter([EnvironmentLost("jvm"), ModelUnavailable("replica")])

    async def play(asked):
        for failure in failures:
            raise failure
        return episode(asked, 1.0)

    [record] = run(tmp_path / "l", [request()], play)
    assert record.reward == 1.0


def test_a_failure_that_stays_ends_the_run_and_never_becomes_a_reward(tmp_path):
    requests = [request(n) for n in range(8)]

    async def play(asked):
        if asked.task.variation == 5:
            raise EnvironmentLost("always")
        return episode(asked, 0.5)

    with pytest.raises(EnvironmentLost):
        run(tmp_path / "l", requests, play)
    kept = read_records(tmp_path / "l", Episode)
    assert requests[5].key not in {record.key for record in kept}
    assert all(record.reward == 0.5 for record in kept)


def test_a_bug_is_not_retried(tmp_path):
    calls = []

    async def play(asked):
        calls.append(asked)
        raise KeyError("bug")

    with pytest.raises(KeyError):
        run(tmp_path / "l", [request()], play)
    assert len(calls) == 1


def said(asked, *faults):
    """An episode with a turn for each fault, an action where it is empty."""
    turns = [
        Turn(reply="r", action=None if f else "go", observation="", score=0, fault=f)
        for f in faults
    ]
    return episode(asked, 0.0).model_copy(update={"turns": turns})


@pytest.mark.parametrize(
    ("faults", "unusable"),
    [
        (["empty"], True),
        (["empty", ""], True),
        (["empty", "", ""], False),
        (["no action line", "no action line"], False),
        (["tool call", "refusal", "no action line"], True),
        ([], False),
    ],
)
def test_an_episode_is_unusable_when_half_of_its_replies_hold_no_answer(faults, unusable):
    assert mostly_unusable(said(request(), *faults)) == unusable


@pytest.mark.parametrize("fault", UNUSABLE)
def test_more_than_a_few_episodes_without_answers_stop_the_run_and_are_no_rewards(fault, tmp_path):
    requests = [request(n) for n in range(12)]

    async def play(asked):
        await asyncio.sleep(0)
        return said(asked, fault if asked.task.variation % 2 else "")

    with pytest.raises(InputError, match=f"{fault}.*agent.unusable_limit") as raised:
        run(tmp_path / "l", requests, play, unusable_limit=3)
    assert REMEDIES[fault] in str(raised.value) and "\n" not in str(raised.value)
    assert not any(map(mostly_unusable, read_records(tmp_path / "l", Episode)))


def test_a_few_episodes_without_answers_are_data(tmp_path):
    requests = [request(n) for n in range(12)]

    async def play(asked):
        return said(asked, "empty" if asked.task.variation < 3 else "")

    kept = run(tmp_path / "l", requests, play, unusable_limit=3)
    assert len(kept) == 12 and sum(map(mostly_unusable, kept)) == 3


def test_a_stage_of_nothing_but_episodes_without_answers_stops_however_small(tmp_path):
    async def play(asked):
        return said(asked, "empty")

    with pytest.raises(InputError, match="in 2 episodes"):
        run(tmp_path / "l", [request(0), request(1)], play, unusable_limit=3)
    assert not read_records(tmp_path / "l", Episode)
