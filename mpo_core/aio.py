"""Running coroutines together, and from code that is not one."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")
WARNINGS = (signal.SIGTERM, signal.SIGUSR1)
"""Signals that interrupt as Ctrl-C does, where a program's handlers of them raise or exit."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """A coroutine's result, wherever it is asked for: also where a loop runs already, as in a
    notebook.

    There it runs in a loop of its own, in a thread of its own, while the loop of the caller waits.
    An interrupt (Ctrl-C, a notebook's stop button, one of `WARNINGS`) cancels it and is raised when
    it has ended.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        in_main = threading.current_thread() is threading.main_thread()
        return asyncio.run(_interruptible(coroutine) if in_main else coroutine)
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


async def _interruptible(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives, which `WARNINGS` cancel as Ctrl-C does in `asyncio.run`.

    A handler that raises does so between any two steps of the loop, and the one that was due is
    lost: a task that was to be woken sleeps for ever, and with it whatever waits for its end.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    interrupted: list[BaseException] = []

    def cancelling(handler: Callable[..., Any]) -> Callable[..., None]:
        def heed(number: int, frame: Any) -> None:
            try:
                handler(number, frame)
            except (KeyboardInterrupt, SystemExit) as error:
                # A second one does not interrupt the tidying up after the first.
                if not interrupted:
                    interrupted.append(error)
                    loop.call_soon_threadsafe(task.cancel)

        return heed

    with contextlib.ExitStack() as handled:
        for number in WARNINGS:
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, cancelling(handler))
                handled.callback(signal.signal, number, handler)
        try:
            return await coroutine
        finally:
            if interrupted:
                raise interrupted[0]


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
