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


def test_nothing_else_in_the_library_starts_a_loop():
    root = Path(aio.__file__).parent
    found = [p.name for p in root.rglob("*.py") if "asyncio.run(" in p.read_text(encoding="utf-8")]
    assert found == ["aio.py"]
