"""A request on its way: its conversation found, its plan put in, the upstream's answer sent on."""

import logging
import time
from dataclasses import dataclass
from functools import partial

from starlette.datastructures import Headers as CallersHeaders
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mpo_core.config import ProxyConfig
from mpo_core.errors import InputError
from mpo_core.proxy.access import Access, refusal
from mpo_core.proxy.asked import LIST, Api, Asked, Headers, takes_long
from mpo_core.proxy.bookkeeping import Bookkeeping
from mpo_core.proxy.continuing import Continuing
from mpo_core.proxy.conversations import Conversations, Unplanned, in_thread
from mpo_core.proxy.given import Given
from mpo_core.proxy.metrics import Metrics
from mpo_core.proxy.placing import with_plan
from mpo_core.proxy.records import OFF
from mpo_core.proxy.upstream import (
    Answered,
    Broken,
    Upstream,
    UpstreamFailed,
    passed_on,
    path_of,
    read_body,
    while_there,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exchange:
    """A caller's request, by its route, and the way back to the caller."""

    path: str
    scope: Scope
    receive: Receive
    send: Send

    @property
    def headers(self) -> CallersHeaders:
        return CallersHeaders(scope=self.scope)

    async def answer(self, response: Response) -> None:
        """Send an answer of the proxy's own."""
        await response(self.scope, self.receive, self.send)


class Answering:
    """Answers what goes to the upstream, with plans and without."""

    def __init__(
        self,
        *,
        config: ProxyConfig,
        access: Access,
        conversations: Conversations,
        upstream: Upstream,
        continuing: Continuing,
        books: Bookkeeping,
        metrics: Metrics,
    ) -> None:
        self._config, self._access = config, access
        self._conversations, self._upstream = conversations, upstream
        self._continuing, self._books, self._metrics = continuing, books, metrics
        self._most_bytes = int(config.max_body_mb * 2**20)

    async def conversation(self, exchange: Exchange) -> None:
        """Answer a request of a conversation, by `/v1/chat/completions` or `/v1/responses`."""
        receive = exchange.receive
        body = await read_body(receive, exchange.scope, self._most_bytes)
        if body is None:
            await exchange.answer(self.too_large())
            return
        began = time.monotonic()
        api: Api = "responses" if exchange.path.endswith("responses") else "chat"
        given: Given | None = None
        try:
            headers = Headers.of(exchange.headers)
            slow = takes_long(body)
            asked = await in_thread(slow, _asked, api, body, headers)
            given = self._conversations.remembered(asked)
            how = "remembered" if given else "looked up"
            if given is None:
                given = await while_there(receive, self._conversations.of(asked))
            off = asked.headers.plan == OFF
            if given.plan is not None and not off:
                fault = await self._fault(asked, given, exchange)
                if fault:
                    await exchange.answer(refusal(fault, 400, "mpo"))
                    return
                body = await in_thread(slow, _placed, asked, given)
        except Unplanned as error:
            await self._forward(exchange, body, why=error.why)
            return
        except InputError as error:
            await exchange.answer(refusal(str(error), 400, "mpo"))
            return
        except UpstreamFailed as error:
            self._metrics.failures.labels("upstream", given.arm if given else "").inc()
            await exchange.answer(refusal(str(error), error.status, error.code))
            return
        except RecursionError:
            await self._forward(exchange, body, why="the body is nested too deep")
            return
        self._metrics.added.labels(how).observe(time.monotonic() - began)
        await self._forward(exchange, body, given, off=off)
        if self._config.record_messages:
            said = asked.body[LIST[api]]
            self._books.said(given.id, said if isinstance(said, list) else [said])

    async def passed_on(self, exchange: Exchange) -> None:
        """Answer a request that has nothing to do with plans."""
        body = await read_body(exchange.receive, exchange.scope, self._most_bytes)
        if body is None:
            await exchange.answer(self.too_large())
            return
        await self._forward(exchange, body)

    def too_large(self) -> Response:
        """What a request is refused with that is too large."""
        most = f"{self._config.max_body_mb:g} MB"
        return refusal(f"the request is larger than {most} (proxy.max_body_mb)", 413)

    async def _fault(self, asked: Asked, given: Given, exchange: Exchange) -> str:
        """Why a request cannot be given its plan in its conversation's mode; empty where it can.

        Raises:
            UpstreamFailed: the upstream cannot be asked whether it can.
        """
        if given.mode != "thought":
            return ""
        fault = "the Responses API does not go on from the beginning of a reply"
        if asked.api == "chat":
            bearer = exchange.headers.get("authorization", "").partition(" ")[2]
            fault = await self._continuing.fault(asked.model, bearer)
        remedy = "set proxy.mode to query or observation"
        return f"proxy.mode thought: {fault}; {remedy}" if fault else ""

    async def _forward(
        self,
        exchange: Exchange,
        body: bytes,
        given: Given | None = None,
        *,
        off: bool = False,
        why: str = "",
    ) -> None:
        """Ask the upstream, and tell the caller what it answers, or that it does not."""
        try:
            path = path_of(exchange.scope)
        except ValueError as error:
            said = f"the request's path is not passed on: {error}"
            await exchange.answer(refusal(said, 400, "invalid_path"))
            return
        arm = given.arm if given else ""
        answered, added = Answered(), _said_of(given, off=off, why=why)
        self._metrics.in_flight.inc()
        try:
            call = self._call(exchange, body, given, path=path, added=added, answered=answered)
            await while_there(exchange.receive, call, answered)
        except UpstreamFailed as error:
            answered.status = error.status
            self._metrics.failures.labels("upstream", arm).inc()
            refused = refusal(str(error), error.status, error.code)
            refused.raw_headers.extend(added)
            await exchange.answer(refused)
        except Broken as error:
            # What has begun cannot end well: the connection is closed in the middle.
            self._metrics.failures.labels("upstream", arm).inc()
            log.warning("upstream: an answer broke off (%s)", error)
        finally:
            self._metrics.in_flight.dec()
            status = str(answered.status or "left")
            self._metrics.requests.labels(exchange.path, status, arm).inc()
            if given is not None:
                self._written_down(given, answered)

    async def _call(
        self,
        exchange: Exchange,
        body: bytes,
        given: Given | None,
        *,
        path: bytes,
        added: list[tuple[bytes, bytes]],
        answered: Answered,
    ) -> None:
        """The upstream asked, and its answer passed on."""
        scope = exchange.scope
        spent = (value for name, value in scope["headers"] if name == b"authorization")
        own = {b"authorization"} if any(map(self._access.is_bearer, spent)) else set()
        headers = self._upstream.headers(scope["headers"], frozenset(own))
        if given is not None and not any(name == b"x-session-id" for name, _ in headers):
            # One replica of the upstream holds the conversation's prefix.
            headers.append((b"x-session-id", given.id.encode()))
        named = None
        if given is not None and exchange.path.endswith("/responses"):
            named = partial(self._conversations.also_named, id=given.id)
            # The id of the response is read from the answer, which is not to be compressed.
            headers = [one for one in headers if one[0].lower() != b"accept-encoding"]
            headers.append((b"accept-encoding", b"identity"))
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        target = (path + query).decode("latin-1")
        async with self._upstream.answer(scope["method"], target, headers, body) as response:
            await passed_on(response, exchange.send, added, answered, named)

    def _written_down(self, given: Given, answered: Answered) -> None:
        tokens = {"prompt": answered.tokens.prompt, "completion": answered.tokens.completion}
        self._books.used(given.id, *tokens.values())
        for kind, n in tokens.items():
            self._metrics.tokens.labels(kind, given.arm).inc(n)


def _asked(api: Api, body: bytes, headers: Headers) -> Asked:
    """The request that a body is.

    Raises:
        Unplanned: the upstream is to judge the body.
    """
    try:
        asked = Asked(api, body.decode(), headers)
    except UnicodeError as error:
        raise Unplanned("the body is not UTF-8") from error
    except ValueError as error:
        raise Unplanned(f"no conversation is read: {error}") from error
    if not asked.named:
        _ = asked.beginnings  # Which take their time, too.
    return asked


def _placed(asked: Asked, given: Given) -> bytes:
    """The body with the plan in it."""
    assert given.plan is not None
    return with_plan(asked, given.plan, asked.marked(given.turn), given.mode).encode()


def _said_of(given: Given | None, *, off: bool, why: str) -> list[tuple[bytes, bytes]]:
    """What an answer says of its conversation, or why there is none."""
    said = {"why": why} if why else {}
    if given is not None:
        plan = OFF if off or given.arm == OFF else given.plan_id or "none"
        said = {"conversation": given.id, "arm": given.arm, "plan": plan}
        said |= {"why": given.why} if given.why else {}
    return [(f"x-mpo-{name}".encode(), value.encode()) for name, value in said.items()]
