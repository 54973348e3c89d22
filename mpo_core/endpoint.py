"""A model behind an OpenAI-compatible HTTP endpoint, whatever its server lacks.

What a server does not take is learnt from its refusals, once, and done without: several samples
are asked for one by one, an answer's beginning that cannot be prescribed is asked for in words.
`mpo_core.probe` has a server refuse at the start of a run, before anything is paid for.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import Any

from mpo_core.again import again
from mpo_core.chat import ChatRequest
from mpo_core.completions import Reply, read_completion
from mpo_core.config import AskedModelConfig, EndpointModelConfig
from mpo_core.connection import Address, address_of, cause_of, http_client
from mpo_core.errors import InputError, ModelUnavailable
from mpo_core.refusals import (
    LONGEST_WAIT_S,
    Refused,
    TryAgain,
    clean,
    failure_of,
    filtered,
    refused_fields,
)
from mpo_core.types import Message

logger = logging.getLogger(__name__)

BEGIN_WITH = "Begin your answer with exactly these words, and go on from there:"
SAID = {
    "n": "takes no `n`: several samples are asked for one by one",
    "prefill": "does not go on from a given beginning: it is asked to begin so",
    "stop": "takes no `stop`: answers are cut here",
    "seed": "takes no `seed`: its samples cannot be repeated",
    "max_completion_tokens": "takes `max_tokens` in place of `max_completion_tokens`",
    "reasoning": "takes no `chat_template_kwargs`: `reasoning` is not switched",
}
"""What a server may lack -> what is then done."""
# A refusal of what decides the answers is the user's to see.
_DECIDES = re.compile(r"temperature|top_p|max_tokens|api.?key", re.IGNORECASE)


class EndpointModel:
    """A model behind an endpoint (vLLM, llama.cpp, Ollama, hosted ones). Can be sent to actors."""

    def __init__(
        self,
        name: str,
        config: EndpointModelConfig,
        fingerprint: str,
        address: Address | None = None,
        *,
        lacks: frozenset[str] = frozenset(),
        proven: frozenset[str] = frozenset(),
    ) -> None:
        """
        Args:
            name: key in `models`.
            address: with the key, where this process's environment does not have it.
            lacks, proven: of `SAID`, what the server is known not to take, and to take.

        Raises:
            InputError: the key cannot be sent.
        """
        self.key = name
        self.name = config.name or name
        self.config = config
        self.fingerprint = fingerprint
        self.address = address or address_of(name, config)
        self.lacks, self.proven = lacks, proven
        if config.prefill != "auto":
            self.know(
                {"prefill"} if config.prefill == "ask" else set(),
                {"prefill"} if config.prefill == "continue" else set(),
            )
        self._client: Any = None
        self._slots: asyncio.Semaphore | None = None

    def __reduce__(self):
        made = partial(EndpointModel, lacks=self.lacks, proven=self.proven)
        return (made, (self.key, self.config, self.fingerprint, self.address))

    def know(self, lacks: Set[str], proven: Set[str]) -> None:
        """Take over what is known of the server."""
        self.lacks, self.proven = self.lacks | lacks, self.proven | proven

    @property
    def where(self) -> str:
        """Key, name and address, as messages tell them."""
        return f"models.{self.key}: {self.name} at {self.address.shown}"

    async def chat(self, request: ChatRequest) -> list[Reply]:
        """As `ChatModel.chat`: exactly the samples asked for, one by one where the server gives
        fewer."""
        replies: list[Reply] = []
        if request.n == 1 or "n" not in self.lacks:
            replies = await self._surely(request)
            if len(replies) < request.n:
                self._lack({"n"})
        seed = request.seed
        singles = [
            replace(request, n=1, seed=None if seed is None else seed + k)
            for k in range(len(replies), request.n)
        ]
        for single in await asyncio.gather(*map(self._surely, singles)):
            replies += single[:1]
        return replies[: request.n]

    async def close(self) -> None:
        """Close the connections; a later request opens them again."""
        if self._client is not None:
            await self._client.close()
            self._client = self._slots = None

    async def get(self, path: str) -> Any:
        """The JSON under a path of the endpoint, such as `/models`.

        Raises:
            Refused, ModelUnavailable: as `chat`.
        """
        return await self._with_retries(lambda: self._get(path))

    # ------------------------------------------------------------------------------ one request

    async def _surely(self, request: ChatRequest) -> list[Reply]:
        """The answer to a request, without what the server refuses to take."""
        if self._slots is None:
            self._slots = asyncio.Semaphore(self.config.concurrency)
        dropped: set[str] = set()
        first: Refused | None = None
        while True:
            lacks = frozenset(self.lacks | dropped)
            sent = self._sent(request, lacks)
            try:
                async with self._slots:
                    replies = await self._with_retries(partial(self._post, request, lacks))
            except Refused as refusal:
                if filtered(refusal.body):
                    return [Reply("", fault="content filter")] * request.n
                first = first or refusal
                more = self._to_drop(refusal, sent)
                if not more:
                    raise InputError(f"{self.where}: {first}{self._advice(first)}") from refusal
                dropped |= more
                continue
            began_anew = "prefill" in sent - self.proven and any(r.whole for r in replies)
            if began_anew and self.config.prefill == "auto":
                dropped |= {"prefill"}
                continue
            self._lack(dropped)
            self.know(set(), sent)
            return replies

    def _sent(self, request: ChatRequest, lacks: frozenset[str]) -> set[str]:
        """What of `SAID` a request holds."""
        holds = {
            "prefill": request.beginning is not None,
            "n": request.n > 1,
            "stop": bool(request.stop),
            "seed": request.seed is not None,
            "max_completion_tokens": True,
            "reasoning": self.config.reasoning != "auto",
        }
        return {field for field, held in holds.items() if held} - lacks - set(self.config.omit)

    def _to_drop(self, refusal: Refused, sent: set[str]) -> set[str]:
        """What to leave out of a refused request: what the refusal names, else what the server
        has never taken, one after the other."""
        if named := refused_fields(refusal.body, sorted(sent)):
            return set(named)
        if refusal.status not in (400, 422, 501) or _DECIDES.search(refusal.body):
            return set()
        untried = [f for f in ("n", "prefill", "stop", "seed") if f in sent - self.proven]
        return set(untried[:1])

    def _advice(self, refusal: Refused) -> str:
        fields = [field for field in ("temperature", "top_p") if field in refusal.body]
        if fields:
            return f"; leave it out by models.{self.key}.omit=[{', '.join(fields)}]"
        if refusal.status in (401, 403):
            key = self.address.key
            found = "is set" if key else "is not set"
            if key[:1] in ("'", '"') or key.lower().startswith("bearer "):
                found = "holds more than the key: quotes, or the word Bearer"
            return f"; the key is taken from {self.config.api_key_env}, which {found}"
        if refusal.status == 404:
            return f"; see models.{self.key}.name and the path of models.{self.key}.endpoint"
        return ""

    def _lack(self, fields: set[str]) -> None:
        for field in sorted(fields - self.lacks):
            logger.warning("%s %s", self.where, SAID[field])
        self.know(fields, set())

    async def _with_retries(self, once: Callable[[], Awaitable[Any]]) -> Any:
        """What a request gives, tried again with backoff while that may help."""
        try:
            return await again(
                once,
                TryAgain,
                self.config.retries + 1,
                wait_s=0.5,
                asked_wait_s=lambda failure: min(failure.wait_s or 0, LONGEST_WAIT_S),
            )
        except TryAgain as failure:
            raise ModelUnavailable(f"{self.where}: {failure}") from failure

    async def _post(self, request: ChatRequest, lacks: frozenset[str]) -> list[Reply]:
        messages, prefix = request.messages, request.beginning or ""
        stop = [] if prefix and "prefill" in lacks else list(request.stop)
        body: dict[str, Any] = {
            "messages": [
                {"role": m["role"], "content": clean(m["content"])}
                for m in (asked_to_begin(messages) if "prefill" in lacks else messages)
            ],
            "temperature": request.temperature,
            "max_completion_tokens": request.max_tokens,
        }
        if request.n > 1 and "n" not in lacks:
            body["n"] = request.n
        if request.seed is not None and "seed" not in lacks:
            body["seed"] = request.seed % 2**31
        if stop and "stop" not in lacks:
            body["stop"] = stop
        if prefix and "prefill" not in lacks:
            body |= CONTINUATION
        if "max_completion_tokens" in lacks:
            body["max_tokens"] = body.pop("max_completion_tokens")
        if "reasoning" not in lacks:
            body |= switch_of(self.config)
        body |= self.config.extra_body
        for field in self.config.omit:
            body.pop(field, None)
        headers = {"x-session-id": request.session} if request.session else {}
        response = await self._response(
            "POST", "/chat/completions", {"model": self.name} | body, headers
        )
        # A server that has gone on from a beginning once does so always, whatever its words.
        unsure = "prefill" not in self.proven or "prefill" in lacks
        kind = response.headers.get("content-type", "application/json")
        replies = read_completion(response.text, kind, prefix if unsure else "")
        if "prefill" in lacks and prefix and not prefix.rstrip().endswith(":"):
            replies = [replace(reply, whole=True) for reply in replies]
        spent = replies[0].completion_tokens
        if "max_completion_tokens" in body and spent > 2 * len(replies) * request.max_tokens:
            self._lack({"max_completion_tokens"})
        return [
            replace(r, text=_spaced(prefix, _cut(r, request.stop)) if not r.whole else r.text)
            for r in replies
        ]

    async def _get(self, path: str) -> Any:
        response = await self._response("GET", path)
        try:
            return response.json()
        except ValueError:
            raise Refused(f"{path} is not JSON", response.text) from None

    async def _response(
        self, method: str, path: str, body: Any = None, headers: dict | None = None
    ) -> Any:
        """The response to a request. Raises what `failure_of` and `cause_of` make of a failure."""
        import httpx
        import openai

        if self._client is None:
            http = http_client(self.address, self.config.timeout_s)
            # The retries are this class's: what they can mend, the body decides too. vLLM asks
            # for no key, but the client insists on one.
            self._client = openai.AsyncOpenAI(
                base_url=self.address.url,
                api_key=self.address.key or "none",
                default_query=self.address.query,
                default_headers=self.address.headers,
                timeout=self.config.timeout_s,
                max_retries=0,
                http_client=http,
            )
        options = {"options": {"headers": headers}} if headers else {}
        try:
            if method == "GET":
                return await self._client.get(path, cast_to=httpx.Response, **options)
            response = await self._client.post(path, cast_to=httpx.Response, body=body, **options)
        except UnicodeEncodeError as error:
            raise InputError(
                f"{self.where}: a header that the environment sets holds a character beyond ASCII "
                "(OPENAI_CUSTOM_HEADERS, OPENAI_ORG_ID, OPENAI_PROJECT_ID)"
            ) from error
        except openai.APIStatusError as error:
            response = error.response
            self._require_not_moved(response)
            raise failure_of(error.status_code, response.text, response.headers) from error
        except openai.APIConnectionError as error:
            words, mendable = cause_of(error, self.address.url, self.config.timeout_s)
            raise (TryAgain(words) if mendable else InputError(f"{self.where}: {words}")) from error
        self._require_not_moved(response)
        return response

    def _require_not_moved(self, response: Any) -> None:
        """A redirection by 301 to 303 loses the request's body."""
        moved = next((r for r in response.history if r.status_code in (301, 302, 303)), None)
        if moved is not None and moved.request.method == "POST":
            raise InputError(
                f"{self.where}: HTTP {moved.status_code}: redirects to "
                f"{moved.headers.get('location', 'nowhere')}; set models.{self.key}.endpoint to "
                "the address that answers itself"
            )


CONTINUATION = {"continue_final_message": True, "add_generation_prompt": False}
"""Request fields that make vLLM and SGLang go on from a final assistant message."""


def asked_to_begin(messages: Sequence[Message]) -> list[Message]:
    """A conversation that ends with the answer's beginning, which is asked for in words instead."""
    *before, last = messages
    if last["role"] != "assistant":
        return list(messages)
    asked = f"{before[-1]['content']}\n\n{BEGIN_WITH}\n{last['content']}"
    return [*before[:-1], {"role": before[-1]["role"], "content": asked}]


def switch_of(config: AskedModelConfig) -> dict[str, Any]:
    """Request fields that switch a model's reasoning on or off: the names of Qwen, GLM, DeepSeek,
    Granite and others for their chat templates' switch."""
    if config.reasoning == "auto":
        return {}
    on = config.reasoning == "on"
    return {"chat_template_kwargs": {"enable_thinking": on, "thinking": on}}


def _cut(reply: Reply, stop: Sequence[str]) -> str:
    """An answer up to the first of the stop words, which not every server heeds."""
    begin = len(reply.text) - len(reply.text.lstrip())
    ends = [end for word in stop if (end := reply.text.find(word, begin)) >= 0]
    return reply.text[: min(ends)] if ends else reply.text


def _spaced(prefix: str, text: str) -> str:
    """What follows a beginning, with the space between them that some servers leave out."""
    glued = prefix and text and not prefix[-1].isspace() and not text[0].isspace()
    return f" {text}" if glued else text
