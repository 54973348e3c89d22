"""The OpenAI-compatible HTTP server: `ray.serve.llm`'s ingress behind a reader of its own.

What arrives may come from anyone, so a request reaches an engine only when it is known to be one:

- its body is a JSON object of well-formed text, and its messages have known roles and hold text;
- its model is an engine, or a version that the engine's folder of adapters holds (see `adapters`);
- its fields are those that `openai_requests` lists; of its headers only the session's goes along.

Whatever else is answered in OpenAI's form of an error: `{"error": {message, type, param, code}}`.
"""

import asyncio
import logging
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import pydantic
from fastapi import FastAPI, HTTPException, Request
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException
from ray.serve.llm.ingress import OpenAiIngress, make_fastapi_ingress
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse, Response
from transformers import PreTrainedTokenizerBase
from vllm.exceptions import GenerationError, VLLMClientError

from cluster.adapters import published, version_folder
from cluster.openai_requests import Refused, read_body, served_fields
from cluster.ray_llm import OpenAIHTTPException, read_through, session_id_from_headers

logger = logging.getLogger("ray.serve")

ROUTES = {
    "models": lambda app: app.get("/v1/models"),
    "model_data": lambda app: app.get("/v1/models/{model:path}"),
    "chat": lambda app: app.post("/v1/chat/completions"),
    "completions": lambda app: app.post("/v1/completions"),
}
STOP_LOOK_S = 0.25
"""How often a replica that is to stop looks whether requests are under way; at Serve's 2 s, every
stop takes that long."""
NO_SWITCHES = {"messages", *signature(PreTrainedTokenizerBase.apply_chat_template).parameters}
"""Of a chat template's variables, those that say what is rendered, or by which template."""


class Ingress(OpenAiIngress):
    """Reads requests, answers for models and versions, and hands on to the engines."""

    def __init__(
        self,
        llm_deployments: Mapping[str, Any],
        context_lengths: Mapping[str, int],
        adapters: Mapping[str, Path],
    ) -> None:
        """
        Args:
            llm_deployments: engine -> its handle.
            context_lengths: engine -> tokens that a prompt and its answer may have together.
            adapters: engine -> folder of its published adapters.
        """
        super().__init__(llm_deployments, dict.fromkeys(llm_deployments))
        self._context_lengths = dict(context_lengths)
        self._adapters = dict(adapters)

    async def models(self) -> Response:
        cards = await asyncio.to_thread(self._cards)
        return JSONResponse({"object": "list", "data": list(cards.values())})

    async def model_data(self, model: str) -> Response:
        cards = await asyncio.to_thread(self._cards)
        if model not in cards:
            raise _not_found(model)
        return JSONResponse(cards[model])

    async def chat(self, request: Request) -> Response:
        return await self._answered(request, ChatCompletionRequest, "chat")

    async def completions(self, request: Request) -> Response:
        return await self._answered(request, CompletionRequest, "completions")

    async def _answered(self, request: Request, kind: type, method: str) -> Response:
        body = read_body(request.headers.get("content-type", ""), await request.body())
        model = await asyncio.to_thread(self._served_name, body.get("model"))
        asked = _request_of(kind, body | {"model": model})
        try:
            return await self._process_llm_request(asked, method, _session_only(request))
        except Exception as error:
            raise _refusal(error, body) from error

    def _served_name(self, name: Any) -> str:
        """The engine's own name of a model: of a version, that of the folder with its weights.

        Raises:
            Refused: 404 where there is no such model, 400 where none is named and several are.
        """
        engines = list(self._default_serve_handles)
        if name is None and len(engines) == 1:
            return engines[0]
        if not isinstance(name, str):
            raise Refused(f"name one of the models: {', '.join(engines)}", param="model")
        if name in engines:
            return name
        engine, _, version = name.partition(":")
        root = self._adapters.get(engine)
        folder = version_folder(root, version) if root else None
        if engine not in engines or folder is None:
            raise _not_found(name)
        return f"{engine}:{folder.name}"

    def _cards(self) -> dict[str, dict[str, Any]]:
        """What is served, by name: every engine and every version of it."""
        cards = {}
        for engine, length in self._context_lengths.items():
            card = {"object": "model", "owned_by": "mpo-suite", "max_model_len": length}
            cards[engine] = {"id": engine, "created": 0, "parent": None} | card
            for version, folder in published(self._adapters.get(engine)).items():
                name, created = f"{engine}:{version}", int(folder.stat().st_mtime)
                cards[name] = {"id": name, "created": created, "parent": engine} | card
        return cards


def ingress_app(
    deployments: Mapping[str, serve.Application],
    context_lengths: Mapping[str, int],
    adapters: Mapping[str, Path],
) -> serve.Application:
    """Engines behind the HTTP server, not yet deployed; for the arguments see `Ingress`."""
    app = FastAPI(title="mpo-suite", docs_url=None, redoc_url=None, openapi_url=None)
    app.exception_handler(Refused)(_say_refused)
    app.exception_handler(StarletteHTTPException)(_say_http_error)
    deployment = serve.deployment(
        num_replicas=1,
        max_ongoing_requests=4096,
        ray_actor_options={"num_cpus": 0.1},
        graceful_shutdown_wait_loop_s=STOP_LOOK_S,
    )
    deployed = deployment(make_fastapi_ingress(Ingress, endpoint_map=ROUTES, app=app))
    return deployed.bind(dict(deployments), dict(context_lengths), dict(adapters))


async def _say_refused(request: Request, refused: Refused) -> JSONResponse:
    return JSONResponse({"error": refused.as_openai()}, refused.status)


async def _say_http_error(request: Request, error: StarletteHTTPException) -> JSONResponse:
    """What the web framework refuses: an unknown path, another method."""
    said = f"{request.method} {request.url.path}: {error.detail}"
    return await _say_refused(request, Refused(said, status=error.status_code))


def _request_of(kind: type[pydantic.BaseModel], body: Mapping[str, Any]) -> pydantic.BaseModel:
    """A request of a kind; raises `Refused` for what is none."""
    fields = served_fields(body, kind.model_fields)
    switches = fields.get("chat_template_kwargs") or {}
    if not isinstance(switches, dict) or switches.keys() & NO_SWITCHES:
        said = "chat_template_kwargs: switches of the model's own template only"
        raise Refused(said, param="chat_template_kwargs")
    try:
        request = kind.model_validate(fields)
        # The parts of messages are checked when they are read, which is here.
        return read_through(request) if "messages" in fields else request
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        raise Refused(f"{param or 'body'}: {first['msg']}", param=param) from error
    except (ValueError, TypeError, VLLMClientError) as error:
        param = getattr(error, "parameter", None)
        raise Refused(str(error).splitlines()[0], param=param) from error


def _not_found(model: str) -> Refused:
    said = f"there is no model {model!r} here; GET /v1/models lists those that there are"
    return Refused(said, param="model", code="model_not_found", status=404)


def _session_only(request: Request) -> Request:
    """The request with the header that keeps a session at one replica, and no other: vLLM takes
    priorities and places from some."""
    headers = [
        (name, value)
        for name, value in request.scope["headers"]
        if session_id_from_headers({name.decode("latin-1"): value.decode("latin-1")})
    ]
    return Request({**request.scope, "headers": headers})


def _refusal(error: Exception, body: Mapping[str, Any]) -> Refused:
    """What went wrong behind the reader, as an answer."""
    if isinstance(error, OpenAIHTTPException):
        return Refused(error.message, status=int(error.status_code))
    if isinstance(error, HTTPException):
        return Refused(str(error.detail), status=error.status_code)
    if isinstance(error, (pydantic.ValidationError, VLLMClientError)):
        return Refused(str(error).splitlines()[0])
    if isinstance(error, GenerationError) and body.get("response_format"):
        said = "response_format: the engine cannot make answers of this form"
        return Refused(said, param="response_format")
    if isinstance(error, (RayActorError, RayServeException)):
        return Refused("the engine does not answer and is started anew; ask again", status=503)
    logger.error("a request failed", exc_info=error)
    return Refused("the server failed; the log of its ingress says why", status=500)
