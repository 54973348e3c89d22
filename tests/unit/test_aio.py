import asyncio
import contextvars
import signal
import threading
from pathlib import Path

import pytest

from mpo_core import aio

NUMBER = contextvars.ContextVar("number", default=0)


async def answer():
    await asyncio.sleep(0)
    return threading.current_thread()


async def fail():
    raise LookupError("nothing there")


def within(coroutine):
    """What `aio.run` does where a loop runs already."""

    async def main():
        return aio.run(coroutine)

    return asyncio.run(main())


@pytest.mark.parametrize(("run", "same"), [(aio.run, True), (within, False)])
def test_a_coroutine_gives_its_result_with_and_without_a_running_loop(run, same):
    assert (run(answer()) is threading.current_thread()) == same
    with pytest.raises(LookupError, match="nothing there"):
        run(fail())


def test_the_callers_context_goes_along():
    async def read():
        return NUMBER.get()

    async def main():
        NUMBER.set(7)
        return aio.run(read())

    assert asyncio.run(main()) == 7


def test_an_interrupt_ends_what_runs_before_it_is_raised():
    ended = []

    async def forever():
        main = threading.main_thread().ident
        asyncio.get_running_loop().call_later(0.05, signal.pthread_kill, main, signal.SIGINT)
        try:
            await asyncio.sleep(600)
        finally:
            ended.append(threading.current_thread())

    async def main():
        return aio.run(forever())

    loop = asyncio.new_event_loop()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # As a notebook's kernel runs its loop: `asyncio.run` would handle the signal itself.
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(main())
    finally:
        loop.close()
        signal.signal(signal.SIGINT, before)
    assert len(ended) == 1 and not ended[0].is_alive()


def raise_interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("number", aio.WARNINGS)
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("run", [aio.run, asyncio.run])
def test_a_warning_cancels_what_runs_and_tears_no_step_of_the_loop(number, raised, run):
    steps = []

    async def work():
        def step():
            # It arrives in the middle of what the loop does, once and again.
            signal.raise_signal(number)
            signal.raise_signal(number)
            steps.append("whole")

        asyncio.get_running_loop().call_soon(step)
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0.01)
            steps.append("tidied")

    def handler(*_):
        raise raised

    before = signal.signal(number, handler)
    try:
        with pytest.raises(raised):
            run(work())
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    assert (steps == ["whole", "tidied"]) == (run is aio.run)


@pytest.mark.parametrize("end", ["swallowed", "another error"])
def test_a_warning_is_heard_whatever_becomes_of_what_runs(end):
    async def work():
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            if end == "another error":
                raise LookupError from None

    before = signal.signal(signal.SIGTERM, raise_interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            aio.run(work())
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_that_interrupts_nothing_is_left_to_its_work():
    heard = []

    async def work():
        signal.raise_signal(signal.SIGUSR1)
        return await answer()

    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    try:
        assert aio.run(work()) is threading.current_thread() and heard == [1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_nothing_else_in_the_library_starts_a_loop():
    root = Path(aio.__file__).parent
    found = [p.name for p in root.rglob("*.py") if "asyncio.run(" in p.read_text(encoding="utf-8")]
    assert found == ["aio.py"]
