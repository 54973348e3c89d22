"""Rewards sent to a proxy: one from an agent's own code, or many from a file.

    import mpo_core

    mpo_core.feedback("my-run-17", 1.0, url="http://127.0.0.1:8100")
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

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
AT_ONCE = 8


def feedback(
    conversation: str,
    reward: float,
    *,
    success: bool | None = None,
    final: bool = True,
    url: str | None = None,
    key: str | None = None,
    timeout_s: float = 30,
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
        `stored`; `repeated`, where it says what was said before; `late`, where the final reward was
        another; `unknown`, where there is no such conversation.

    Raises:
        InputError: a value that cannot be, or the proxy refuses it.
        ModelUnavailable: the proxy does not answer.

    Example:
        >>> mpo_core.feedback(reply.headers["x-mpo-conversation"], 1.0)
    """
    said = {"conversation": conversation, "reward": reward, "success": success, "final": final}
    one = read_feedback(said, time.time())
    return _sent(one, _address(url), key or os.environ.get(KEY_ENV), timeout_s)


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
    """Report to a proxy, a few at a time; what became of each. Raises as `feedback` does."""
    address, key = _address(url), key or os.environ.get(KEY_ENV)
    # Those of one conversation come in their order, or one of them would be late.
    of_each: dict[str, list[int]] = {}
    for number, one in enumerate(reports):
        of_each.setdefault(one.conversation, []).append(number)
    answers: dict[int, Kept] = {}

    def work(numbers: list[int]) -> None:
        for number in numbers:
            answers[number] = _sent(reports[number], address, key, 30)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(work, of_each.values()))
    return [answers[number] for number in range(len(reports))]


def keep(reports: Iterable[Feedback], folder: Path) -> list[Kept]:
    """Write reports into a proxy's folder of this machine, whether or not it runs."""
    with Store(folder, create=False) as store:
        return [store.feedback(one) for one in reports]


def _address(url: str | None) -> str:
    base = (url or os.environ.get(URL_ENV) or URL).rstrip("/")
    return base.removesuffix("/v1") + PATH


def _sent(one: Feedback, address: str, key: str | None, timeout_s: float) -> Kept:
    import httpx

    body: dict[str, Any] = one.model_dump(exclude={"at"}, exclude_none=True)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = _again(
            lambda: httpx.post(address, json=body, headers=headers, timeout=timeout_s),
            lambda got: got.status_code >= 500,
        )
    except httpx.InvalidURL as error:
        raise InputError(f"{address}: not a URL: {error}") from error
    except httpx.HTTPError as error:
        raise ModelUnavailable(f"{address}: the proxy does not answer: {error}") from error
    if answer.status_code == 401:
        raise InputError(f"{address}: the proxy wants its key; put it into {KEY_ENV}")
    try:
        said = answer.json()
    except ValueError:
        said = None
    status = said.get("status") if isinstance(said, dict) else None
    if status in get_args(Kept):
        return status
    told = " ".join(answer.text.split())[:200]
    raise InputError(f"{address}: HTTP {answer.status_code}: {told}; is this a proxy's URL?")


def _again(ask: Callable[[], Any], failed: Callable[[Any], bool]) -> Any:
    ...
