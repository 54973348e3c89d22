import asyncio

import pytest

from mpo_core import rollout
from mpo_core.errors import EnvironmentLost, ModelUnavailable
from mpo_core.ledger import Ledger, read_records
from mpo_core.rollout import play_owed
from mpo_core.types import Episode
from tests.fakes import episode, request


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    real = asyncio.sleep
    monkeypatch.setattr(rollout.asyncio, "sleep", lambda _: real(0))


def run(path, requests, play, attempts=3):
    async def main():
        with Ledger(path, Episode, key=lambda e: e.key) as ledger:
            await play_owed(requests, play, ledger, concurrency=4, attempts=attempts)

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
