"""Chat requests of one process to an engine, several in a call.

A call through Ray Serve costs milliseconds, on both sides of it, whatever it carries. So requests
that come soon after one another share a call: the first goes out at once, those that follow wait
until `INTERVAL_S` after the call before. Each is answered as soon as its own answer is there; what
is shared is the way, not the waiting.

What Serve and Ray say of a failed call holds for each of its requests that has no answer yet.
"""

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import Any, Protocol

INTERVAL_S = 0.025
"""Between two calls, and between two deliveries of one call's answers. An LLM takes longer for a
token or two."""

Request = dict[str, Any]
"""Fields of a chat completion's request."""
Answer = dict[str, Any]
"""A chat completion, or `error` for a refused request, or `failed` for one to be asked again."""


class Stream(AsyncIterable[list[tuple[int, Answer]]], Protocol):
    """Answers of a call as they come, each with the index of its request."""

    def cancel(self) -> None: ...


Call = Callable[[list[Request]], Stream]


class Unanswered(Exception):
    """A call ended without an answer to a request."""


class Calls:
    """Shares calls among the requests of one event loop that go the same way."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._waiting: list[tuple[Request, asyncio.Future[Answer]]] = []
        self._sender: asyncio.Task | None = None
        self._readers: set[asyncio.Task] = set()

    async def ask(self, request: Request) -> Answer:
        """Raises what the call raised, or `Unanswered`."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        return await answer

    async def _send(self) -> None:
        """Send what waits, and what comes until nothing has come for an interval."""
        await asyncio.sleep(0)  # Requests made at the same moment go together.
        while self._waiting:
            batch = [(asked, answer) for asked, answer in self._waiting if not answer.done()]
            self._waiting.clear()
            if batch:
                reader = asyncio.create_task(ask_all(self._call, batch))
                self._readers.add(reader)
                reader.add_done_callback(self._readers.discard)
            await asyncio.sleep(INTERVAL_S)


async def ask_all(call: Call, batch: list[tuple[Request, asyncio.Future[Answer]]]) -> None:
    """Ask all requests of a batch in one call and answer each; those given up end the call."""
    owed = dict(enumerate(answer for _, answer in batch))
    stream = None

    def given_up(answer: asyncio.Future[Answer]) -> None:
        if answer.cancelled() and all(other.cancelled() for other in owed.values()) and stream:
            stream.cancel()

    for answer in owed.values():
        answer.add_done_callback(given_up)
    try:
        stream = call([request for request, _ in batch])
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
