"""Trying again: how often, after how long, and what is told of it."""

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.again import LONGEST_WAIT_S, again


class Busy(Exception):
    pass


def called(outcomes, monkeypatch, tries=4, **options):
    """What calls with these outcomes, one after the other, give; the waits between them."""
    left, waits = iter(outcomes), []

    async def sleep(seconds):
        waits.append(seconds)

    async def once():
        outcome = next(left)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with monkeypatch.context() as patched:
        # Of this module alone: servers of other tests may be waiting in threads of their own.
        own = SimpleNamespace(**vars(asyncio) | {"sleep": sleep})
        patched.setattr("mpo_core.again.asyncio", own)
        try:
            given = asyncio.run(again(once, Busy, tries, **{"wait_s": 0.5} | options))
        except BaseException as error:
            given = error
    assert next(left, None) is None
    return given, waits


def test_an_answer_is_given_at_once(monkeypatch):
    assert called(["yes"], monkeypatch) == ("yes", [])


@given(n_failures=st.integers(0, 12), tries=st.integers(1, 8), wait_s=st.floats(0, 8))
def test_failures_are_tried_again_after_waits_that_double(n_failures, tries, wait_s):
    outcomes = [*(Busy(str(n)) for n in range(min(n_failures, tries))), "yes"][:tries]
    with pytest.MonkeyPatch.context() as monkeypatch:
        found, waits = called(outcomes, monkeypatch, tries, wait_s=wait_s)
    assert found is outcomes[-1]
    assert len(waits) == len(outcomes) - 1
    for n, waited in enumerate(waits):
        planned = min(wait_s * 2**n, LONGEST_WAIT_S)
        assert 0.75 * planned <= waited <= 1.25 * planned


@pytest.mark.parametrize("other", [ValueError("no"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_what_another_try_cannot_mend_is_raised_at_once(monkeypatch, other):
    found, waits = called([Busy(), other], monkeypatch)
    assert type(found) is type(other)
    assert len(waits) == 1


def test_a_failure_may_ask_for_a_longer_wait(monkeypatch):
    _, waits = called([Busy(), "yes"], monkeypatch, asked_wait_s=lambda failure: 7.0)
    assert waits == [7.0]


def test_every_failure_is_told_with_its_number(monkeypatch):
    told = []
    failures = [Busy("a"), Busy("b")]
    found, _ = called(
        failures, monkeypatch, tries=2, on_failure=lambda *failure: told.append(failure)
    )
    assert told == [(1, failures[0]), (2, failures[1])] and found is failures[1]
