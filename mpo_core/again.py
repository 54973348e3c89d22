"""Trying again: what a lost process or a busy server needs is mostly a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
LONGEST_WAIT_S = 30
# Those that failed at the same moment are not to come back at the same moment.
_jitter = Random()


async def again(
    once: Callable[[], Awaitable[T]],
    failures: type[E] | tuple[type[E], ...],
    tries: int,
    *,
    wait_s: float,
    asked_wait_s: Callable[[E], float] = lambda failure: 0,
    on_failure: Callable[[int, E], None] = lambda attempt, failure: None,
) -> T:
    """What a call gives, called again where it fails.

    Args:
        failures: what another try may mend. What else goes wrong is raised at once.
        tries: in all; the failure of the last one is raised.
        wait_s: before the second try, in seconds; twice as many before each further one, up to
            `LONGEST_WAIT_S`, and a quarter more or less.
        asked_wait_s: seconds that a failure asks to wait, which are waited at least.
        on_failure: told of each failed try, by its number from 1.
    """

    async def call() -> T:
        return await once()

    def wait(tried: RetryCallState) -> float:
        planned = min(wait_s * 2 ** (tried.attempt_number - 1), LONGEST_WAIT_S)
        return max(planned * _jitter.uniform(0.75, 1.25), asked_wait_s(_failure(tried)))

    trying = AsyncRetrying(
        retry=retry_if_exception_type(failures),
        stop=stop_after_attempt(tries),
        wait=wait,
        after=lambda tried: on_failure(tried.attempt_number, _failure(tried)),
        reraise=True,
        sleep=asyncio.sleep,
    )
    return await trying(call)


def _failure(tried: RetryCallState) -> Any:
    return tried.outcome.exception() if tried.outcome else None
