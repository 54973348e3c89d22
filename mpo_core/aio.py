"""Running coroutines together, and from code that is not one."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """A coroutine's result, wherever it is asked for: also where a loop runs already, as in a
    notebook.

    There it runs in a loop of its own, in a thread of its own, while the loop of the caller waits.
    An interrupt (Ctrl-C, a notebook's stop button) cancels it and is raised when it has ended.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        begun.set_result((asyncio.get_running_loop(), task))
        return await coroutine

    with ThreadPoolExecutor(1, thread_name_prefix="mpo") as pool:
        done = pool.submit(copy_context().run, asyncio.run, main())
        try:
            return done.result()
        except BaseException:
            # Interrupted, by whatever a signal's handler raises: leaving the pool waits for it.
            loop, task = begun.result()
            with contextlib.suppress(RuntimeError):  # It has ended by itself.
                loop.call_soon_threadsafe(task.cancel)
            raise


async def together(coroutines: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The results of all; the first error cancels the rest and is raised as itself.

    `asyncio.gather` would leave the rest running, and a bare TaskGroup wraps the error in a group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
