"""Chat models behind one async interface: an OpenAI-compatible server, or a scripted stand-in.

The cluster adds a third, a Ray Serve handle (`cluster.serving`). A conversation that ends with an
assistant message is continued: the reply is what follows that message.
"""

import asyncio
import hashlib
import importlib
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mpo_core.config import ModelConfig
from mpo_core.errors import ContextFull, InputError, ModelUnavailable
from mpo_core.types import Message, content_hash


@dataclass(frozen=True)
class Reply:
    """One sample of a model. Tokens of a shared prompt are counted once, with the first sample."""

    text: str
    """The answer alone, without what the model thought."""
    truncated: bool = False
    """The answer was cut at `max_tokens`."""
    reasoning: str = ""
    """What the model thought before it answered, where it says so."""
    fault: str = ""
    """Why there is no answer: `empty`, `only reasoning`, `refusal`, `content filter`, `tool call`."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ChatModel(Protocol):
    fingerprint: str
    """Names the weights, not the server: equal on every machine that serves the same model."""

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 512,
        seed: int | None = None,
        stop: Sequence[str] = (),
        session: str = "",
    ) -> list[Reply]:
        """`n` samples. Requests of one `session` go to one replica, whose prefix cache they share.

        Raises:
            ContextFull: the conversation does not fit the model's context.
            ModelUnavailable: no answer within the retries.
        """
        ...

    async def close(self) -> None: ...


class EndpointModel:
    """A model behind an OpenAI-compatible HTTP endpoint (vLLM, Ray Serve, hosted models)."""

    def __init__(self, name: str, config: ModelConfig, fingerprint: str | None = None) -> None:
        import openai  # A second of imports that a scripted run does not need.

        self.name = config.name or name
        self.fingerprint = fingerprint or self.name
        self._slots = asyncio.Semaphore(config.concurrency)
        self._openai = openai
        # vLLM asks for no key, but the client insists on one.
        self._client = openai.AsyncOpenAI(
            base_url=config.endpoint,
            api_key=os.environ.get(config.api_key_env) or "none",
            timeout=config.timeout_s,
            max_retries=config.retries,
        )

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 512,
        seed: int | None = None,
        stop: Sequence[str] = (),
        session: str = "",
    ) -> list[Reply]:
        optional = {"seed": seed, "stop": list(stop) or None}
        async with self._slots:
            try:
                answer = await self._client.chat.completions.create(
                    model=self.name,
                    messages=list(messages),
                    n=n,
                    temperature=temperature,
                    max_completion_tokens=max_tokens,
                    extra_body=continuation(messages),
                    extra_headers={"x-session-id": session} if session else None,
                    **{key: value for key, value in optional.items() if value is not None},
                )
            except self._openai.BadRequestError as error:
                if says_context_full(str(error)):
                    raise ContextFull(str(error)) from error
                raise InputError(f"model {self.name}: refused a request: {error}") from error
            except (
                self._openai.AuthenticationError,
                self._openai.PermissionDeniedError,
                self._openai.NotFoundError,
            ) as error:
                raise InputError(
                    f"model {self.name} at {self._client.base_url}: {error.message}"
                ) from error
            except self._openai.APIError as error:
                raise ModelUnavailable(
                    f"model {self.name} at {self._client.base_url}: {last_line(error)}"
                ) from error
        return replies_of(answer)

    async def close(self) -> None:
        await self._client.close()


class ScriptedModel:
    """A deterministic function in a model's place: `function(messages, seed) -> text`."""

    def __init__(self, config: ModelConfig) -> None:
        self.fingerprint = config.scripted
        self._function = _load_function(config.scripted)

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 512,
        seed: int | None = None,
        stop: Sequence[str] = (),
        session: str = "",
    ) -> list[Reply]:
        texts = []
        for sample in range(n):
            text = self._function(list(messages), (seed or 0) + sample if temperature else 0)
            texts.append(await text if inspect.isawaitable(text) else text)
        return [Reply(text, completion_tokens=len(text.split())) for text in texts]

    async def close(self) -> None:
        pass


def continuation(messages: Sequence[Message]) -> dict[str, bool] | None:
    """vLLM's request fields that make it continue a final assistant message."""
    if messages[-1]["role"] != "assistant":
        return None
    return {"continue_final_message": True, "add_generation_prompt": False}


def says_context_full(error: str) -> bool:
    """Whether a server's refusal means that the prompt is too long for the model."""
    error = error.lower()
    return any(
        sign in error
        for sign in (
            "context length",
            "context_length",
            "context window",
            "maximum model length",
            "max_model_len",
            "prompt is too long",
        )
    )


def last_line(error: BaseException | str, most: int = 200) -> str:
    """The last line of an error that may hold a whole remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][-most:] if lines else type(error).__name__


def replies_of(answer) -> list[Reply]:
    """The samples of an OpenAI-shaped chat completion."""
    usage = answer.usage
    # Servers give the tokens of all samples as one sum: the first reply carries it.
    counts = [(0, 0)] * len(answer.choices)
    if usage is not None:
        counts[0] = (usage.prompt_tokens, usage.completion_tokens or 0)
    return [
        Reply(choice.message.content or "", choice.finish_reason == "length", prompt, completion)
        for choice, (prompt, completion) in zip(answer.choices, counts, strict=True)
    ]


def client_fingerprint(name: str, config: ModelConfig) -> str:
    """Identity of a model that is not served here; needs no connection."""
    return config.scripted or config.name or name


def connect(name: str, config: ModelConfig) -> ChatModel:
    """A client for a model that this process can reach without the cluster."""
    if config.scripted:
        return ScriptedModel(config)
    if config.endpoint:
        return EndpointModel(name, config)
    raise InputError(f"models.{name}: served by the cluster; give it an endpoint to run without")


def weights_fingerprint(folder: Path) -> str:
    """Identity of a model folder: its config, and a sample of every weights file.

    Reads at most 1 MB a file, so that a 70B model takes no longer than a small one: the header
    (names, shapes, types) and sixteen blocks spread over the weights.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*config.json")):
        digest.update(path.name.encode() + path.read_bytes())
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{folder}: no .safetensors files; is this a model folder?")
    for path in weights:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for block in range(16):
                file.seek(size * block // 16)
                digest.update(file.read(64 * 1024))
    return f"{folder.name}-{digest.hexdigest()[:12]}"


def request_seed(*parts: object) -> int:
    """A sampling seed from whatever a request is identified by."""
    return int(content_hash(*parts), 16) % 2**31


def _load_function(spec: str) -> Callable:
    module_name, _, function_name = spec.partition(":")
    try:
        return getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"scripted model {spec!r}: expected module:function ({error})") from error
