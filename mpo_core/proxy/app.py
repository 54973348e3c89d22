"""The planning proxy: an OpenAI-compatible server between any agent and any upstream.

Every request reaches the upstream as it came, but for the plan that its conversation is given, and
every answer reaches the caller as it came, but for headers that say what was given. Of a body that
is no JSON, and of whatever else is wrong with a request, the upstream says so itself.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mpo_core.config import ProxyConfig
from mpo_core.errors import InputError
from mpo_core.proxy.access import Access, refusal
from mpo_core.proxy.answering import Answering, Exchange
from mpo_core.proxy.bookkeeping import Bookkeeping
from mpo_core.proxy.continuing import Continuing
from mpo_core.proxy.conversations import Conversations
from mpo_core.proxy.metrics import Metrics
from mpo_core.proxy.records import read_feedback
from mpo_core.proxy.store import Store, StoreFault
from mpo_core.proxy.upstream import CallerLeft, Upstream, read_body
from mpo_core.proxy.versions import Versions

log = logging.getLogger(__name__)
WITH_PLANS = ("/v1/chat/completions", "/v1/responses")
PASSED_ON = {
    "/v1/models": ["GET"],
    "/v1/models/{model:path}": ["GET"],
    "/v1/completions": ["POST"],
    "/v1/embeddings": ["POST"],
    "/v1/responses/{response}": ["GET", "DELETE"],
    "/v1/responses/{response}/cancel": ["POST"],
    "/v1/responses/{response}/input_items": ["GET"],
}
"""What goes to the upstream without a plan -> its methods."""
FEEDBACK = "/v1/mpo/feedback"
LONGEST_FEEDBACK = 2**16
STATUS = {"stored": 200, "repeated": 200, "late": 409, "unknown": 404}
SAID = {
    "late": "the conversation's final feedback says something else; this one is kept apart and "
    "does not count",
    "unknown": "no such conversation; send what the answers' header X-MPO-Conversation says",
}
"""What becomes of a feedback -> what is wrong with it."""
Answer = Callable[[Exchange], Awaitable[None]]


def proxy_app(
    config: ProxyConfig,
    upstream: str,
    *,
    key: str = "",
    upstream_key: str = "",
    prompts_dir: Path | None = None,
) -> ASGIApp:
    """The application of one worker.

    Args:
        upstream: base URL of the server that answers.
        key: that callers must send; empty for none.
        upstream_key: sent to the upstream in place of the caller's; empty to pass that on.

    Raises:
        InputError: the folder cannot be used.
    """
    metrics, store, access = Metrics(), Store(config.folder), Access(key)
    versions = Versions(config, prompts_dir)
    conversations = Conversations(config, store, versions, metrics)
    server = Upstream(upstream, upstream_key, config)
    books = Bookkeeping(store, conversations.write, config.redact)
    answering = Answering(
        config=config,
        access=access,
        conversations=conversations,
        upstream=server,
        continuing=Continuing(server.url, upstream_key),
        books=books,
        metrics=metrics,
    )

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        await versions.begin()
        beside = [asyncio.create_task(versions.watch()), asyncio.create_task(books.write_on())]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await versions.close()
            await server.close()
            conversations.close()
            books.write()
            store.close()

    async def feedback(request: Request) -> Response:
        body = await read_body(request.receive, request.scope, LONGEST_FEEDBACK)
        if body is None:
            return refusal(f"feedback is larger than {LONGEST_FEEDBACK} bytes", 413)
        try:
            said = read_feedback(_json(body), time.time())
            kept = await conversations.write(store.feedback, said)
        except StoreFault as error:
            # The caller is to send it once more.
            log.warning("feedback is not kept: %s", error)
            return refusal(str(error), 503, "mpo")
        except InputError as error:
            return refusal(str(error), 400, "mpo")
        metrics.feedback.labels(kept).inc()
        told = {"conversation": said.conversation, "result": kept}
        if kept in SAID:
            return refusal(SAID[kept], STATUS[kept], kept, **told)
        return JSONResponse(told)

    async def health(_: Request) -> Response:
        known = versions.known
        canary = known.canary.model_dump() if known and known.canary else None
        return JSONResponse({"status": "ok", "planner": known and known.current, "canary": canary})

    async def counts(_: Request) -> Response:
        page, media_type = await asyncio.to_thread(metrics.page)
        return Response(page, media_type=media_type)

    routes = [
        *(_route(path, ["POST"], answering.conversation) for path in WITH_PLANS),
        *(_route(path, methods, answering.passed_on) for path, methods in PASSED_ON.items()),
        Route(FEEDBACK, feedback, methods=["POST"]),
        Route("/health", health),
        Route("/metrics", counts),
    ]
    handlers = {HTTPException: _not_served, Exception: _failed}
    app = Starlette(routes=routes, lifespan=running, exception_handlers=handlers)
    # A redirection would lead to whatever host the caller's header names.
    app.router.redirect_slashes = False
    return Guarded(app, access)


class Guarded:
    """An application for those alone who have the key; of its health everyone may ask."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            refused = self._access.refused(scope)
            if refused is not None:
                await refused(scope, receive, send)
                return
        with suppress(CallerLeft):
            await self._app(scope, receive, send)


class _Endpoint:
    """An ASGI application of one route; a function would be given a `Request` by Starlette."""

    def __init__(self, path: str, answer: Answer) -> None:
        self._path, self._answer = path, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(Exchange(self._path, scope, receive, send))


def _route(path: str, methods: list[str], answer: Answer) -> Route:
    return Route(path, _Endpoint(path, answer), methods=methods)


async def _not_served(request: Request, error: Exception) -> Response:
    """An unknown path, or another method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    served = ", ".join([*WITH_PLANS, *PASSED_ON, FEEDBACK])
    said = f"{request.method} {request.url.path} is not served here; served are {served}"
    return refusal(said, status)


async def _failed(_: Request, error: Exception) -> Response:
    """A fault of ours. The server closes the connection after it: a caller that were not told
    could send its next request into one that is gone."""
    answer = refusal(f"the proxy failed: {type(error).__name__}; its log says where", 500, "mpo")
    answer.headers["connection"] = "close"
    return answer


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"feedback: not JSON: {error}") from error
