"""The way to the upstream and back: what it answers reaches the caller as it came.

Nothing is decoded and nothing is read into memory whole. A caller that leaves ends the call.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

import httpx
from starlette.types import Receive, Scope, Send

from mpo_core.config import ProxyConfig
from mpo_core.connection import cause_of, proxy_of, trusted
from mpo_core.proxy.overheard import ResponseId, Tokens

Headers = list[tuple[bytes, bytes]]
CONNECT_S = 10.0
IDLE_S = 4.0
"""Connections are kept for the next request shorter than servers of the kind keep theirs."""
POOLS = 32
OF_ONE_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade expect host content-length".split()
)
"""Headers that are of a connection, not of what is said through it."""
AT_ONCE_S = 0.05
"""Within which a kept connection is closed that was so already when a request was sent over it."""
DISCONNECTED = "without sending a response"
"""As httpx says it of a connection that was closed."""
WITHOUT_BODY = (204, 304)
ROOT = b"/v1/"
DECODED = 4
"""Times that a path may have been percent-encoded."""
PLAIN = re.compile(rb"[!-~]*")


class UpstreamFailed(Exception):
    """The upstream gave no answer: in words, with the status to answer with."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Broken(Exception):
    """An answer ended in its middle; so must what the caller gets of it."""


class CallerLeft(Exception):
    """Nobody waits for the answer any more."""


@dataclass
class Answered:
    """What is known of an answer once it has been passed on."""

    status: int = 0
    whole: bool = False
    """All of it has been sent to the caller."""
    tokens: Tokens = field(default_factory=Tokens)


class Upstream:
    """A client of one OpenAI-compatible server."""

    def __init__(self, url: str, key: str, config: ProxyConfig) -> None:
        """
        Args:
            url: base URL, with `/v1` where the server has it.
            key: sent in place of the caller's; empty to pass on the caller's.

        Raises:
            InputError: the authorities that the environment names cannot be read.
        """
        self.url, self._key = url.rstrip("/"), key
        self._timeout_s = config.timeout_s
        through = proxy_of(url)
        # A pool looks at all of its connections for each request: what many requests take would
        # grow with their square.
        of_each = -(-config.connections // POOLS)
        tls = trusted()
        self._pools = [
            httpx.AsyncClient(
                timeout=httpx.Timeout(config.timeout_s, connect=CONNECT_S, pool=CONNECT_S),
                limits=httpx.Limits(max_connections=of_each, keepalive_expiry=IDLE_S),
                proxy=through.url if through else None,
                trust_env=False,
                verify=tls,
            )
            for _ in range(POOLS)
        ]
        self._under_way = [0] * POOLS

    async def close(self) -> None:
        """Let go of the connections."""
        for pool in self._pools:
            await pool.aclose()

    def headers(self, given: Iterable[tuple[bytes, bytes]], without: frozenset[bytes]) -> Headers:
        """A caller's headers as they are sent on, with the upstream's key where it is the proxy's.

        Args:
            without: names, in lower case, of further headers that are not sent on.
        """
        # Whatever the caller's `Connection` names is of that connection, too.
        given = list(given)
        named = b",".join(value for name, value in given if name.lower() == b"connection")
        of_hop = {name.strip().lower() for name in named.split(b",")}
        left_out = OF_ONE_HOP | of_hop | without
        if self._key:
            left_out |= {b"authorization", b"api-key", b"x-api-key"}
        sent = [
            (name, value)
            for name, value in given
            if name.lower() not in left_out and not name.lower().startswith(b"x-mpo-")
        ]
        if self._key:
            sent.append((b"authorization", b"Bearer " + self._key.encode()))
        return sent

    @asynccontextmanager
    async def answer(
        self, method: str, path: str, headers: Headers, body: bytes
    ) -> AsyncIterator[httpx.Response]:
        """The upstream's answer, its body still to come.

        Args:
            path: below the base URL, with its query.

        Raises:
            UpstreamFailed: it gave none.
        """
        try:
            request = httpx.Request(method, f"{self.url}{path}", headers=headers, content=body)
        except httpx.InvalidURL as error:
            raise UpstreamFailed(f"the request's path: {error}", 414, "invalid_path") from error
        # Of those least used the first, which has a connection to use again.
        number = self._under_way.index(min(self._under_way))
        self._under_way[number] += 1
        try:
            try:
                response = await _sent(self._pools[number], request)
            except httpx.HTTPError as error:
                raise self._failed(error) from error
            try:
                if not 200 <= response.status_code < 600:
                    said = f"upstream: answers with the status {response.status_code}"
                    raise UpstreamFailed(said, 502, "upstream_unreadable")
                yield response
            finally:
                await response.aclose()
        finally:
            self._under_way[number] -= 1

    def _failed(self, error: httpx.HTTPError) -> UpstreamFailed:
        words, _ = cause_of(error, self.url, self._timeout_s)
        if isinstance(error, httpx.PoolTimeout):
            return UpstreamFailed("too many requests are under way", 503, "overloaded")
        if isinstance(error, httpx.TimeoutException):
            host = urlsplit(self.url).hostname
            slow = f"{host} did not answer within {self._timeout_s:g} s (proxy.timeout_s)"
            connecting = isinstance(error, httpx.ConnectTimeout)
            return UpstreamFailed(words if connecting else slow, 504, "upstream_timeout")
        return UpstreamFailed(f"upstream: {words}", 502, "upstream_unreachable")


async def _sent(pool: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """The response to a request; sent again where a kept connection turns out to be closed.

    Over a new connection, or where the close did not come at once, the upstream may have worked on
    the request, and is not asked twice.
    """
    at: dict[str, float] = {}

    async def trace(event: str, _: Any) -> None:
        at[event] = time.monotonic()

    request.extensions = {**request.extensions, "trace": trace}
    try:
        return await pool.send(request, stream=True)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
        odd = isinstance(error, httpx.RemoteProtocolError) and DISCONNECTED not in str(error)
        sent = at.get("http11.send_request_body.complete")
        late = request.method == "POST" and sent is not None and time.monotonic() - sent > AT_ONCE_S
        if odd or late or "connection.connect_tcp.started" in at:
            raise
    return await pool.send(request, stream=True)


def path_of(scope: Scope) -> bytes:
    """What a request's path says below `/v1`, as it came; with the slash.

    Raises:
        ValueError: a part of it could lead the upstream out of `/v1`, where its key has other
            rights, or ends the path for some readers and not for others.
    """
    # Not every server of ASGI applications tells the path as it came.
    came = scope.get("raw_path") or quote(scope["path"]).encode()
    root = quote(scope.get("root_path", "")).encode()
    path = came.partition(b"?")[0].removeprefix(root)
    if not path.startswith(ROOT) or not PLAIN.fullmatch(path) or b"#" in path:
        raise ValueError("no plain path")
    # Some readers decode what they have decoded.
    decoded = path
    for _ in range(DECODED):
        decoded = unquote_to_bytes(decoded)
    if unquote_to_bytes(decoded) != decoded:
        raise ValueError("it is encoded too often")
    # A backslash separates for some, and what follows a `;` is left out by some.
    parts = [part.partition(b";")[0].strip() for part in re.split(rb"[/\\]", decoded)[1:]]
    if any(part in (b"", b".", b"..") for part in parts):
        raise ValueError("a part of it is empty, . or ..")
    if any(byte < 0x20 or byte == 0x7F for byte in decoded) or b"?" in decoded or b"#" in decoded:
        raise ValueError("a sign of it ends the path for some readers")
    return path.removeprefix(ROOT[:-1])


async def passed_on(
    response: httpx.Response,
    send: Send,
    added: Headers,
    found: Answered,
    on_response: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Send an answer to the caller, chunk by chunk as it comes.

    Args:
        added: headers of the proxy's own.
        found: what is known of it at each moment.
        on_response: told the id of a response, by the Responses API, before the caller is.

    Raises:
        Broken: it ended before it was whole.
    """
    found.status = response.status_code
    left_out = ANSWERS_HOP
    if "transfer-encoding" in response.headers or response.status_code in WITHOUT_BODY:
        # Such an answer ends elsewhere than its length may say.
        left_out |= {b"content-length"}
    kept = [
        (name.lower(), value)
        for name, value in response.headers.raw
        if name.lower() not in left_out and not name.lower().startswith(b"x-mpo-")
    ]
    await send(
        {"type": "http.response.start", "status": response.status_code, "headers": kept + added}
    )
    length = dict(kept).get(b"content-length", b"")
    to_come = int(length) if length.isdigit() else -1
    tokens, id = found.tokens, ResponseId()
    try:
        async for chunk in response.aiter_raw():
            if on_response and (named := id.read(chunk)):
                await on_response(named)
            tokens.read(chunk)
            to_come -= len(chunk)
            # Who has all that was announced may leave at once.
            found.whole = to_come == 0
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except httpx.HTTPError as error:
        raise Broken(str(error) or type(error).__name__) from error
    found.whole = True
    await send({"type": "http.response.body", "body": b"", "more_body": False})


ANSWERS_HOP = OF_ONE_HOP - {b"content-length"}
"""Of an answer's headers: its length is what the caller is told."""


async def while_there(receive: Receive, work: Any, answered: Answered | None = None) -> Any:
    """What a coroutine gives, cancelled when the caller leaves.

    Args:
        answered: of the answer that it sends, which a caller leaves rightly when it is whole.

    Raises:
        CallerLeft: it has.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done() or (answered and answered.whole):
            return await task
        raise CallerLeft
    finally:
        for one in (task, leaving):
            if not one.done():
                one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def read_body(receive: Receive, scope: Scope, most: int) -> bytes | None:
    """A request's whole body; None where it is larger than `most` bytes.

    Raises:
        CallerLeft: it left before all was there.
    """
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > most:
        return None
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
