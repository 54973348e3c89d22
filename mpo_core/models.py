"""Chat models (`mpo_core.chat`) that need no cluster, and the identity of every model's weights.

A model is an OpenAI-compatible server's, or a scripted stand-in; the cluster adds a third, a Ray
Serve handle (`cluster.serving`).
"""

import hashlib
import importlib
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path

from mpo_core.chat import ChatModel, ChatRequest
from mpo_core.completions import Reply, reply_of
from mpo_core.config import (
    AskedModelConfig,
    EndpointModelConfig,
    ModelConfig,
    ScriptedModelConfig,
)
from mpo_core.endpoint import EndpointModel
from mpo_core.errors import InputError
from mpo_core.types import Message, content_hash

Answer = Callable[[list[Message], int], str | Awaitable[str]]
"""What a scripted model is: the conversation and a seed (0 at temperature 0) -> its reply."""


class ScriptedModel:
    """A deterministic function in a model's place: `function(messages, seed) -> text`."""

    def __init__(self, fingerprint: str, function: Answer) -> None:
        self.name = self.fingerprint = fingerprint
        self._function = function

    async def chat(self, request: ChatRequest) -> list[Reply]:
        """What the function says, each sample with a seed of its own at a temperature."""
        texts = []
        for sample in range(request.n):
            seed = (request.seed or 0) + sample if request.temperature else 0
            text = self._function(list(request.messages), seed)
            texts.append(await text if inspect.isawaitable(text) else text)
        return [reply_of(text, completion_tokens=len(text.split())) for text in texts]

    async def close(self) -> None:
        """Nothing was opened."""


def client_fingerprint(name: str, config: ModelConfig) -> str:
    """Identity of a model that is not served here; needs no connection."""
    if isinstance(config, ScriptedModelConfig):
        return config.scripted
    if isinstance(config, EndpointModelConfig):
        return (config.name or name) + told_apart(config)
    return name + told_apart(config)


def told_apart(config: AskedModelConfig) -> str:
    """The settings that change a model's answers, for its identity; empty where none does."""
    omit = config.omit if isinstance(config, EndpointModelConfig) else []
    settings = (config.extra_body, sorted(omit), config.reasoning)
    return "" if settings == ({}, [], "auto") else f"~{content_hash(*settings, length=8)}"


def connect(name: str, config: ModelConfig) -> ChatModel:
    """A client for a model that this process can reach without the cluster."""
    if isinstance(config, ScriptedModelConfig):
        return ScriptedModel(config.scripted, load_function(config.scripted))
    if isinstance(config, EndpointModelConfig):
        return EndpointModel(name, config, client_fingerprint(name, config))
    raise InputError(f"models.{name}: served by the cluster; give it an endpoint to run without")


def served_fingerprint(source: str) -> str:
    """Identity of a model to load: its weights' where they are here, else the hub id itself."""
    folder = Path(source)
    return weights_fingerprint(folder) if folder.is_dir() else source


def weights_version(folder: Path) -> str:
    """Identity of trained weights: an adapter's, or a whole model's."""
    return weights_fingerprint(folder).rpartition("-")[2]


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


def load_function(spec: str) -> Answer:
    """The function that `module:function` names. Raises InputError where there is none."""
    module_name, _, function_name = spec.partition(":")
    try:
        return getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"scripted model {spec!r}: expected module:function ({error})") from error
