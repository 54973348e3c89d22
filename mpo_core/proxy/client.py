"""Rewards sent to a proxy: one from an agent's own code, or many from a file.

import mpo_core

mpo_core.feedback("my-run-17", 1.0, url="http://127.0.0.1:8100")
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast, get_args

import httpx

from mpo_core import aio
from mpo_core.again import again
from mpo_core.connection import (
    cause_of,
    proxy_of,
    require_sendable,
    trusted,
    unusable,
    without_login,
)
from mpo_core.errors import InputError, ModelUnavailable
from mpo_core.proxy.records import Feedback, read_feedback
from mpo_core.proxy.store import Kept, Store
from mpo_core.textfile import read_values

PATH = "/v1/mpo/feedback"
URL = "http://127.0.0.1:8100"
URL_ENV, KEY_ENV = "MPO_PROXY_URL", "MPO_PROXY_KEY"
TIMES = 5
"""That a report is sent where the proxy does not answer; it is kept once all the same."""
WAIT_S = 0.5
"""Before the first repetition; twice as long before each further one."""
TIMEOUT_S = 30.0
BUSY = (408, 425, 429)
"""Statuses after which the same request may succeed, besides those of a server's failure."""
AT_ONCE = 8
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_HOST = re.compile(r"[^\s%\\]+|[^\s\\]*:[^\s\\]*")
"""What would have to be escaped is in no host's name, but for an address's zone."""


class Passing(ModelUnavailable):
    """The proxy does not answer, and another try may mend it."""


def feedback(
    conversation: str,
    reward: float,
    *,
    success: bool | None = None,
    final: bool = True,
    url: str | None = None,
    key: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Kept:
    """Report what a conversation has earned to the proxy that it went through.

    Args:
        conversation: its id, as sent in the header `X-MPO-Conversation` or found in that of the
            proxy's answers.
        reward: 0 to 1.
        success: whether the task was solved; left out, a reward of 1 says so.
        final: False for a reward that may still change; a conversation counts by its final one.
        url: the proxy's, by default MPO_PROXY_URL, else http://127.0.0.1:8100.
        key: the proxy's, by default MPO_PROXY_KEY.
        timeout_s: for each of five attempts.

    Returns:
        `stored`; `repeated`, where it says no more than was said before; `late`, where the final
        reward was another; `unknown`, where there is no such conversation.

    Raises:
        InputError: a value that cannot be, or the proxy refuses it.
        ModelUnavailable: the proxy does not answer.

    Example:
        >>> mpo_core.feedback(reply.headers["x-mpo-conversation"], 1.0)
    """
    said = {"conversation": conversation, "reward": reward, "success": success, "final": final}
    one = read_feedback(said, time.time())
    return _send([one], url, key, timeout_s)[0]


def read_reports(path: Path) -> list[Feedback]:
    """The reports of a file: objects of `conversation`, `reward`, `success` and `final`, as JSON
    lines, a JSON list or Parquet.

    Raises:
        InputError: the file cannot be read, or a row is no report; all rows are looked at first.
    """
    found = []
    for number, row in enumerate(read_values(path), start=1):
        given = {k: v for k, v in row.items() if v is not None} if isinstance(row, dict) else row
        try:
            found.append(read_feedback(given, time.time()))
        except InputError as error:
            raise InputError(f"{path}: row {number}: {error}") from error
    return found


def send(reports: Sequence[Feedback], url: str | None = None, key: str | None = None) -> list[Kept]:
    """Report to a proxy, several at a time, those of one conversation one after the other; what
    became of each. Raises as `feedback` does."""
    return _send(reports, url, key, TIMEOUT_S)


def keep(reports: Iterable[Feedback], folder: Path) -> list[Kept]:
    """Write reports into a proxy's folder on this machine, whether or not the proxy runs.

    Raises:
        InputError: there is no such folder, or it cannot be written.
    """
    with Store(folder, create=False) as store:
        return [store.feedback(one) for one in reports]


def _send(
    reports: Sequence[Feedback], url: str | None, key: str | None, timeout_s: float
) -> list[Kept]:
    of_each: dict[str, list[int]] = {}
    for number, one in enumerate(reports):
        of_each.setdefault(one.conversation, []).append(number)
    answers: dict[int, Kept] = {}

    async def all_of_them() -> None:
        async with client_of(url, key, timeout_s) as client:

            async def work(owed: Iterator[list[int]]) -> None:
                for numbers in owed:
                    for number in numbers:
                        answers[number] = await _sent(client, reports[number])

            owed = iter(of_each.values())
            await aio.together(work(owed) for _ in range(AT_ONCE))

    aio.run(all_of_them())
    return [answers[number] for number in range(len(reports))]


def client_of(url: str | None, key: str | None, timeout_s: float) -> httpx.AsyncClient:
    """A client of the proxy at a URL, by default the environment's, with its key.

    A login in the URL is that of a server before the proxy; it is shown nowhere.

    Raises:
        InputError: it is no URL of a proxy, or the key, or the environment's own proxy, cannot be
            used.
    """
    try:
        where, login = address_of_proxy(url or os.environ.get(URL_ENV) or URL)
    except InputError as error:
        raise InputError(f"{error}" if url else f"{URL_ENV}: {error}") from None
    key = (key or os.environ.get(KEY_ENV) or "").strip()
    require_sendable(f"key (by default that in {KEY_ENV}): its value", key)
    headers = {}
    if key:
        headers = {"X-MPO-Key": key} if login else {"Authorization": f"Bearer {key}"}
    through = proxy_of(where)
    try:
        return httpx.AsyncClient(
            base_url=where,
            headers=headers,
            auth=login,
            timeout=timeout_s,
            verify=trusted(),
            proxy=through.url if through else None,
            trust_env=False,
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise unusable(through, where, error) from error


def address_of_proxy(named: str) -> tuple[str, tuple[str, str] | None]:
    """A proxy's URL without its login, and that. Raises InputError, without login and query."""
    named = named.strip()
    shown = _QUERY.sub("", without_login(named))
    try:
        url = httpx.URL(named)
        url.host.encode("idna")
        whole = url.scheme in ("http", "https") and _HOST.fullmatch(url.host)
        if not whole or not 0 < (80 if url.port is None else url.port) < 2**16:
            raise ValueError
    except (httpx.InvalidURL, ValueError):
        # Its words may hold what is not to be shown.
        raise InputError(f"{shown}: not a proxy's URL; expected one such as {URL}") from None
    if url.query or url.fragment:
        raise InputError(f"{shown}: give the proxy's URL without a query")
    login = (url.username, url.password) if url.userinfo else None
    # The signs of an empty query or fragment stay in a URL.
    return str(url.copy_with(userinfo=b"")).rstrip("/?#").removesuffix("/v1"), login


async def _sent(client: httpx.AsyncClient, one: Feedback) -> Kept:
    body = one.model_dump(exclude={"at"}, exclude_none=True)
    address = f"{client.base_url}".rstrip("/") + PATH

    async def once() -> httpx.Response:
        try:
            answer = await client.post(address, json=body)
        except httpx.TimeoutException as error:
            raise Passing(f"{address}: no answer within {client.timeout.read:g} s") from error
        except httpx.HTTPError as error:
            words, mendable = cause_of(error, address, 0)
            kind = Passing if mendable else ModelUnavailable
            raise kind(f"{address}: the proxy does not answer: {words}") from error
        if answer.status_code in BUSY or answer.status_code >= 500:
            raise Passing(f"{address}: the proxy does not answer: HTTP {answer.status_code}")
        return answer

    answer = await again(once, Passing, TIMES, wait_s=WAIT_S)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        given = bool({"authorization", "x-mpo-key"} & client.headers.keys())
        fault = "the key is not the proxy's" if given else "wants the proxy's key"
        raise InputError(f"{address}: {fault}; put that into {KEY_ENV}")
    said: Any = None
    with suppress(ValueError):
        said = answer.json()
    became = said.get("result") if isinstance(said, dict) else None
    if became in get_args(Kept):
        return cast(Kept, became)
    told = " ".join(answer.text.split())[:200]
    raise InputError(f"{address}: HTTP {answer.status_code}: {told}; is this a proxy's URL?")
