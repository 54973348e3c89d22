"""Requests that share calls: a call stands for Ray Serve's, its answers come in any order."""

import asyncio
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.calls import LONGEST_S, SHARE, Calls, Unanswered
from tests.thoroughness import examples

PAUSE_S = 0.02


def calls_with(call, took=PAUSE_S / SHARE) -> Calls:
    """Calls whose answers have taken so long that they are `PAUSE_S` apart."""
    calls = Calls(call)
    calls._took = took
    return calls


class Stream:
    """Answers in an order of its own; then its end, or an error."""

    def __init__(self, requests, order, error=None, delay=0.0):
        self.requests = requests
        self.cancelled = False
        self._parts = [[(index, {"of": requests[index]["n"]}) for index in part] for part in order]
        self._error, self._delay = error, delay

    async def __aiter__(self):
        for part in self._parts:
            await asyncio.sleep(self._delay)
            yield part
        if self._error:
            raise self._error

    def cancel(self):
        self.cancelled = True


def recorded(made: list, order=lambda count: [range(count)], **how):
    def call(requests, gather_s):
        made.append(Stream(requests, order(len(requests)), **how))
        return made[-1]

    return call


async def ask(calls: Calls, number: int, after: float = 0.0):
    await asyncio.sleep(after)
    return (await calls.ask({"n": number}))["of"]


def test_requests_of_one_moment_share_a_call():
    made = []

    async def main():
        calls = calls_with(recorded(made))
        return await asyncio.gather(*(ask(calls, number) for number in range(5)))

    assert asyncio.run(main()) == list(range(5))
    assert [len(stream.requests) for stream in made] == [5]


def test_a_request_alone_waits_for_nobody_and_those_behind_it_share_the_next_call():
    made = []

    async def main():
        calls = calls_with(recorded(made))
        assert await ask(calls, 0) == 0
        return await asyncio.gather(*(ask(calls, number) for number in range(1, 5)))

    assert asyncio.run(main()) == [1, 2, 3, 4]
    assert [len(stream.requests) for stream in made] == [1, 4]


@examples(30)
@given(
    pauses=st.lists(st.sampled_from([0, 0, 0.001, PAUSE_S]), min_size=1, max_size=12),
    seed=st.integers(0, 2**32),
)
def test_each_request_gets_its_own_answer_whatever_the_order(pauses, seed):
    made, random = [], Random(seed)

    def order(count):
        indices = random.sample(range(count), count)
        cut = random.randint(0, count)
        return [indices[:cut], indices[cut:]]

    async def main():
        calls = calls_with(recorded(made, order))
        asked = []
        for number, pause in enumerate(pauses):
            await asyncio.sleep(pause)
            asked.append(asyncio.create_task(ask(calls, number)))
        return await asyncio.gather(*asked)

    assert asyncio.run(main()) == list(range(len(pauses)))
    assert sum(len(stream.requests) for stream in made) == len(pauses)


@pytest.mark.parametrize("error, raised", [(ValueError("a"), ValueError), (None, Unanswered)])
def test_a_call_that_fails_or_ends_fails_only_what_it_has_not_answered(error, raised):
    made = []

    async def main():
        calls = calls_with(recorded(made, lambda count: [[1], [3]], error=error))
        asked = [ask(calls, number) for number in range(4)]
        given = await asyncio.gather(*asked, return_exceptions=True)
        again = calls_with(recorded(made))
        return given, await ask(again, 7)

    given, after = asyncio.run(main())
    assert [given[1], given[3]] == [1, 3] and after == 7
    assert all(isinstance(given[number], raised) for number in (0, 2))


def test_a_call_that_cannot_be_made_fails_its_requests():
    def call(requests, gather_s):
        raise RuntimeError("no such deployment")

    async def main():
        with pytest.raises(RuntimeError, match="no such deployment"):
            await Calls(call).ask({"n": 0})

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("given_up, cancelled", [((0,), False), ((0, 1), True)])
def test_a_call_is_cancelled_when_nobody_waits_for_it(given_up, cancelled):
    made = []

    async def main():
        calls = calls_with(recorded(made, delay=5 * PAUSE_S))
        asked = [asyncio.create_task(ask(calls, number)) for number in range(2)]
        await asyncio.sleep(PAUSE_S)
        for number in given_up:
            asked[number].cancel()
        if not cancelled:
            assert await asked[1] == 1
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(main())
    assert [stream.cancelled for stream in made] == [cancelled]


def test_what_was_given_up_before_it_was_sent_is_not_sent():
    made = []

    async def main():
        calls = calls_with(recorded(made))
        assert await ask(calls, 0) == 0
        late = asyncio.create_task(ask(calls, 1))
        await asyncio.sleep(0)
        late.cancel()
        assert await ask(calls, 2) == 2

    asyncio.run(main())
    assert [[request["n"] for request in stream.requests] for stream in made] == [[0], [2]]


@pytest.mark.parametrize("took", [0.0, 0.02, 30.0])
def test_the_wait_between_calls_is_a_part_of_what_answers_take_and_short(took):
    assert calls_with(recorded([]), took).interval_s == min(SHARE * took, LONGEST_S)


@pytest.mark.slow
def test_the_wait_follows_the_engine():
    async def main():
        calls = calls_with(recorded([], delay=0.01), took=0.08)
        for number in range(60):
            await ask(calls, number)
        return calls.interval_s

    assert 0.01 * SHARE < asyncio.run(main()) < 0.06 * SHARE
