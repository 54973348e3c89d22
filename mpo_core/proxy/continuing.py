"""Whether the upstream goes on from the beginning of a reply, as the mode `thought` needs it."""

import asyncio

from mpo_core.chat import ChatRequest
from mpo_core.config import EndpointModelConfig
from mpo_core.connection import Address
from mpo_core.endpoint import EndpointModel
from mpo_core.errors import InputError, ModelUnavailable
from mpo_core.probe import probe
from mpo_core.prompts import Prompts
from mpo_core.proxy.upstream import UpstreamFailed

TIMEOUT_S = 60.0
MOST = 256
"""Models of which it is remembered; callers name them."""
ASKED = [
    {"role": "user", "content": "Make tea."},
    {"role": "assistant", "content": Prompts.reply_prefix("Step 1: Boil water.", "thought")},
]


class Continuing:
    """What is known of the upstream's models, each asked once."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._found: dict[str, asyncio.Task[str]] = {}

    async def fault(self, model: str, callers_key: str) -> str:
        """Why a model cannot be given the beginning of its reply; empty where it can.

        Raises:
            UpstreamFailed: the upstream does not answer.
        """
        if model not in self._found:
            if len(self._found) >= MOST:
                self._found.clear()
            self._found[model] = asyncio.create_task(self._ask(model, callers_key))
        try:
            return await asyncio.shield(self._found[model])
        except InputError as error:
            # Of the upstream's state at this moment.
            self._found.pop(model, None)
            if isinstance(error.__cause__, ModelUnavailable):
                words = f"upstream: {error}"
                raise UpstreamFailed(words, 502, "upstream_unreachable") from error
            return str(error)

    async def _ask(self, model: str, callers_key: str) -> str:
        config = EndpointModelConfig(endpoint=self._url, name=model, retries=0, timeout_s=TIMEOUT_S)
        address = Address(self._url, {}, self._key or callers_key, {})
        asked = EndpointModel("upstream", config, model, address)
        try:
            await probe(asked, [ChatRequest(ASKED, max_tokens=16)])
        finally:
            await asked.close()
        if "prefill" in asked.proven - asked.lacks:
            return ""
        return f"the upstream's {model} does not go on from the beginning of a reply"
