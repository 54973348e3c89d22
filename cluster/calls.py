"""Chat requests of one process to an engine, several in a call.

A call through Ray Serve costs milliseconds, on both sides of it, whatever it carries, and an engine
computes many answers nearly as fast as one. So requests that come soon after one another share a
call: the first goes out at once, those that follow wait for the next call. Each is answered when
its own answer is there, gathered with others of its call. The wait is less than answers take, and
at most `LONGEST_S`: an engine that answers at once is not held up, an LLM hardly.

What Serve and Ray say of a failed call holds for each of its requests that has no answer yet.
"""

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import Any, Protocol

LONGEST_S = 0.1
"""Between two calls, and between two deliveries of one call's answers, at most."""
SHARE = 1 / 2
"""Of the time that answers take: that between two calls."""
INERTIA = 0.9
"""How much of what is known of that time stays with a new answer."""

Request = dict[str, Any]
"""Fields of a chat completion's request."""
Answer = dict[str, Any]
"""A chat completion, or `error` for a refused request, or `failed` for one to be asked again."""


class Stream(AsyncIterable[list[tuple[int, Answer]]], Protocol):
    """Answers of a call as they come, each with the index of its request."""

    def cancel(self) -> None: ...


Call = Callable[[list[Request], float], Stream]
"""Asks requests; the seconds for which their answers are gathered."""


class Unanswered(Exception):
    """A call ended without an answer to a request."""


class Calls:
    """Shares calls among the requests of one event loop that go the same way."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._waiting: list[tuple[Request, asyncio.Future[Answer]]] = []
        self._sender: asyncio.Task | None = None
        self._readers: set[asyncio.Task] = set()
        self._took = 0.0

    @property
    def interval_s(self) -> float:
        """Between two calls, by how long answers have taken lately."""
        return min(SHARE * self._took, LONGEST_S)

    async def ask(self, request: Request) -> Answer:
        """Raises what the call raised, or `Unanswered`."""
        loop = asyncio.get_running_loop()
        asked, answer = loop.time(), loop.create_future()
        self._waiting.append((request, answer))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        given = await answer
        self._took = INERTIA * self._took + (1 - INERTIA) * (loop.time() - asked)
        return given

    async def _send(self) -> None:
        """Send what waits, and what comes until nothing has come for an interval."""
        await asyncio.sleep(0)  # Requests made at the same moment go together.
        while self._waiting:
            batch = [(asked, answer) for asked, answer in self._waiting if not answer.done()]
            self._waiting.clear()
            if batch:
                reader = asyncio.create_task(ask_all(self._call, batch, self.interval_s))
                self._readers.add(reader)
                reader.add_done_callback(self._readers.discard)
            await asyncio.sleep(self.interval_s)


async def ask_all(
    call: Call, batch: list[tuple[Request, asyncio.Future[Answer]]], gather_s: float
) -> None:
    """Ask all requests of a batch in one call and answer each; those given up end the call."""
    owed = dict(enumerate(answer for _, answer in batch))
    stream: Stream | None = None

    def given_up(answer: asyncio.Future[Answer]) -> None:
        if answer.cancelled() and all(other.cancelled() for other in owed.values()) and stream:
            stream.cancel()

    for answer in owed.values():
        answer.add_done_callback(given_up)
    try:
        stream = call([request for request, _ in batch], gather_s)
        async for answers in stream:
            for index, given in answers:
                answer = owed.pop(index)
                if not answer.done():
                    answer.set_result(given)
        failure: Exception = Unanswered("the engine ended a call without an answer")
    except Exception as error:
        failure = error
    except BaseException:  # The end of the event loop, or of the process.
        for answer in owed.values():
            answer.cancel()
        raise
    for answer in owed.values():
        if not answer.done():
            answer.set_exception(failure)
