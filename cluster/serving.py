"""Chat models served in the cluster by `ray.serve.llm`: vLLM engines and their adapters.

Every served model of the config is one engine, named as in `models`. A planner version is a LoRA
adapter of its base's engine, named `<engine>:<adapter folder's fingerprint>`, and loaded by a
replica at the first request that names it: a replica that was restarted loads it again by itself.
Requests of one episode carry a session id, which a consistent hash sends to one replica.

Two ways lead in: OpenAI-compatible HTTP, and `HandleModel` inside the cluster.
"""

import asyncio
import dataclasses
import logging
import math
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from cluster.adapters import link
from cluster.calls import Answer, Calls, Request, Unanswered
from mpo_core.again import again
from mpo_core.chat import ChatRequest
from mpo_core.completions import Reply, replies_of
from mpo_core.config import ServedModelConfig
from mpo_core.endpoint import CONTINUATION, switch_of
from mpo_core.errors import InputError, ModelUnavailable
from mpo_core.files import whole_folder
from mpo_core.hardware import multiplies_bf16
from mpo_core.models import served_fingerprint, told_apart, weights_version
from mpo_core.refusals import Refused, TryAgain, failure_of, last_line

if TYPE_CHECKING:
    from ray.serve.llm import LLMConfig

logger = logging.getLogger(__name__)

APP = "mpo"
ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
FAILURES = (
    ray.exceptions.RayError,
    serve.exceptions.RayServeException,
    TimeoutError,
    Unanswered,
)
"""Of a call: what another try may mend."""


class Engines:
    """The engines of one run. Those of the config start together, at the HTTP root."""

    def __init__(self, adapters: Path, host: str, port: int, timeout_s: float) -> None:
        """
        Args:
            adapters: folder where adapters are published, each engine's in one of its own; every
                node must see it.
            host, port: where the HTTP server listens, the port being free at this time.
            timeout_s: within which engines must answer.
        """
        self._adapters = adapters.resolve()
        self._host, self._port = host, port
        self._timeout_s = timeout_s
        self._engines: dict[str, Engine] = {}

    def start(self, engines: Sequence["Engine"], route: str = "") -> None:
        """Deploy engines as one application and return when each has generated a token.

        Args:
            route: path of the HTTP server below which these engines answer.

        Raises:
            InputError: an engine failed to start, or did not within the time limit.
        """
        # What an engine's start says at length is in the replicas' logs.
        for noisy in ("vllm", "ray.serve"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self._adapters.mkdir(parents=True, exist_ok=True)
        serve.start(
            proxy_location="HeadOnly", http_options={"host": self._host, "port": self._port}
        )
        names = ", ".join(engine.name for engine in engines)
        folders = {engine.name: self._folder(engine.name) for engine in engines}
        with _own_logging():
            application = openai_app(engines, folders)
        app = _app(route)
        target = serve.RunTarget(application, name=app, route_prefix=f"/{route}")
        serve.run_many([target], wait_for_applications_running=False)
        _wait_until_running(app, names, self._timeout_s)
        for engine in engines:
            self._engines[engine.name] = dataclasses.replace(engine, app=app)
        asyncio.run(self._generate_once(engines))

    def stop(self, name: str | None = None) -> None:
        """Free the memory and processes of all engines, or of one with an application to itself."""
        stopped = [name] if name else list(self._engines)
        for app in {self._engines[engine].app for engine in stopped}:
            serve.delete(app)
        for engine in stopped:
            del self._engines[engine]

    def url(self, route: str = "") -> str:
        """Base URL of the OpenAI-compatible HTTP server."""
        host = socket.getfqdn() if self._host == "0.0.0.0" else self._host
        return "/".join(filter(None, (f"http://{host}:{self._port}", route, "v1")))

    def publish(self, engine: str, adapter: Path) -> str:
        """Make a LoRA adapter folder available to an engine; returns the name to ask for.

        The name holds the weights' fingerprint: an engine never serves one version from the
        prefix cache of another.
        """
        version = weights_version(adapter)
        target = self._folder(engine) / version
        if not target.exists():
            with whole_folder(target) as partial:
                shutil.copytree(adapter, partial, dirs_exist_ok=True)
        return f"{engine}:{version}"

    def give_name(self, name: str, published: str) -> None:
        """Let the HTTP server know a published adapter by a second name, such as `mpo`, too."""
        engine, _, version = published.partition(":")
        link(self._folder(engine), name, version)

    def model(self, name: str) -> "HandleModel":
        """A client for an engine, or for one of its adapters (`engine:version`)."""
        engine_name, _, version = name.partition(":")
        engine = self._engines[engine_name]
        fingerprint = served_fingerprint(engine.source) + told_apart(engine.config)
        fingerprint += f"+{version}" if version else ""
        return HandleModel(name, fingerprint, engine)

    def _folder(self, engine: str) -> Path:
        """Where an engine's adapters are published."""
        return self._adapters / engine.replace("/", "--")

    async def _generate_once(self, engines: Sequence["Engine"]) -> None:
        hello = [{"role": "user", "content": "Hello"}]
        for engine in engines:
            model = self.model(engine.name)
            await asyncio.wait_for(model.chat(ChatRequest(hello, max_tokens=1)), self._timeout_s)


@dataclass(frozen=True)
class Engine:
    """A model to serve, under a name."""

    name: str
    config: ServedModelConfig
    source: str
    """Resolved model folder, or hub id."""
    adapters: bool = True
    """Whether versions of it are served. An engine that can have adapters takes longer for every
    step, whether it has one or not."""
    app: str = APP


class HandleModel:
    """A served model, called through its Ray Serve handle. Can be sent to actors."""

    def __init__(self, name: str, fingerprint: str, engine: Engine) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self._engine = engine
        self._config = engine.config
        # Serve's handle, whose methods are the deployment's.
        self._handle: Any = None
        self._calls: Calls | None = None
        self._slots: asyncio.Semaphore | None = None

    def __reduce__(self):
        return (HandleModel, (self.name, self.fingerprint, self._engine))

    async def chat(self, request: ChatRequest) -> list[Reply]:
        fields = {
            "model": self.name,
            "messages": list(request.messages),
            "n": request.n,
            "temperature": request.temperature,
            "max_completion_tokens": request.max_tokens,
            "seed": request.seed,
            "stop": list(request.stop),
        }
        if request.beginning is not None:
            fields |= CONTINUATION
        fields |= switch_of(self._config) | self._config.extra_body
        if self._slots is None:
            self._slots = asyncio.Semaphore(self._config.concurrency)
        async with self._slots:
            answer = await self._answer(fields, request.session)
        error = answer.get("error")
        try:
            if error is not None:
                raise failure_of(int(error["code"] or 0), error["message"])
            return replies_of(answer)
        except Refused as refusal:
            raise InputError(f"model {self.name}: refused a request: {refusal}") from refusal
        except TryAgain as failure:
            raise ModelUnavailable(f"model {self.name}: {failure}") from failure

    async def _answer(self, request: Request, session: str) -> Answer:
        """The engine's answer, tried again with backoff: a dead replica is replaced by Serve, one
        whose engine died is found out by its health checks within half a minute."""

        async def once() -> Answer:
            asked = self._calls_of(session).ask(request)
            answer = await asyncio.wait_for(asked, self._config.timeout_s)
            if "failed" in answer:
                raise Unanswered(answer["failed"])
            return answer

        def warn(attempt: int, failure: Exception) -> None:
            logger.warning("model %s, attempt %d: %s", self.name, attempt, last_line(failure))

        tries = self._config.retries + 1
        try:
            return await again(once, FAILURES, tries, wait_s=0.5, on_failure=warn)
        except FAILURES as error:
            raise ModelUnavailable(f"model {self.name}: {last_line(error)}") from error

    def _calls_of(self, session: str) -> Calls:
        """The way to the replica that has a session's earlier requests in its prefix cache."""
        if self._handle is None or self._calls is None:
            handle = serve.get_deployment_handle(_deployment(self._engine.name), self._engine.app)
            options: dict[str, Any] = {"stream": True}
            if ":" in self.name:
                options["multiplexed_model_id"] = self.name
            self._handle = handle.options(**options)
            self._calls = Calls(self._handle.chats.remote)
        if self._config.replicas == 1:
            return self._calls
        handle = self._handle.options(session_id=session) if session else self._handle
        return Calls(handle.chats.remote)

    async def close(self) -> None:
        self._handle = None


def openai_app(
    engines: Sequence[Engine],
    adapters: Mapping[str, Path],
    autoscaling: dict[str, Any] | None = None,
) -> serve.Application:
    """Engines behind one OpenAI-compatible ingress, not yet deployed.

    Args:
        adapters: engine -> the folder where `<engine>:<version>` finds the adapter `version`.
        autoscaling: Serve's `autoscaling_config` of every engine; by default each has the
            config's number of replicas.
    """
    from ray.serve.llm import build_llm_deployment

    from cluster.ingress import ingress_app

    deployments = {
        engine.name: build_llm_deployment(
            _llm_config(engine, adapters.get(engine.name), autoscaling)
        )
        for engine in engines
    }
    lengths = {engine.name: engine.config.max_model_len for engine in engines}
    return ingress_app(deployments, lengths, adapters)


def _wait_until_running(app: str, names: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        application = serve.status().applications.get(app)
        status = application.status if application else "NOT_STARTED"
        if status == "RUNNING":
            return
        if application and status == "DEPLOY_FAILED":
            reasons = [d.message for d in application.deployments.values() if d.message]
            reason = last_line("\n".join(reasons) or application.message)
            raise InputError(f"engine {names} did not start: {reason}")
        time.sleep(0.5)
    raise InputError(
        f"engine {names} was not ready within {timeout_s:g} s; raise "
        "cluster.engine_start_timeout_s, or see the replica's log under /tmp/ray/session_latest"
    )


@contextmanager
def _own_logging() -> Iterator[None]:
    """Keep this process's log as it is: at its import `ray.serve.llm` makes the root logger write
    JSON."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _app(route: str) -> str:
    return f"{APP}-{route}" if route else APP


def _llm_config(
    engine: Engine, adapters: Path | None, autoscaling: dict[str, Any] | None = None
) -> "LLMConfig":
    from ray.serve.config import RequestRouterConfig
    from ray.serve.llm import LLMConfig

    from cluster.engine import AdapterServer, LocalWeights
    from cluster.ingress import STOP_LOOK_S

    model = engine.config
    on_gpu = model.gpus_per_replica > 0
    bundle = {"CPU": model.cpus_per_replica} | ({"GPU": 1} if on_gpu else {})
    engine_kwargs: dict[str, Any] = {
        "max_model_len": model.max_model_len,
        "enable_prefix_caching": True,
        # Answers say how much of their prompt was in the cache.
        "enable_prompt_tokens_details": True,
        "enable_lora": engine.adapters,
        # Nobody reads them, and every step of the engine counts for them.
        "disable_log_stats": True,
        "tensor_parallel_size": max(model.gpus_per_replica, 1),
    }
    if engine.adapters:
        engine_kwargs["max_lora_rank"] = model.max_lora_rank
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # An engine without a folder of its own has no versions.
        "MPO_ADAPTERS": str(adapters or os.devnull),
    }
    if not on_gpu:
        # Compilation takes minutes on a CPU and saves seconds.
        engine_kwargs["enforce_eager"] = True
        if model.engine_kwargs.get("enforce_eager", True):
            # Nor that of the functions that vLLM compiles all the same, at the first request for
            # probabilities and at the first without a seed.
            environment["TORCHDYNAMO_DISABLE"] = "1"
        engine_kwargs["dtype"] = "bfloat16" if multiplies_bf16() else "float32"
        # The prefix cache keeps whole blocks: of a dialogue's last one, up to this many tokens are
        # prefilled again at every turn. vLLM's own choice for a CPU is 128.
        engine_kwargs["block_size"] = 32
        # A prompt prefilled in parts makes vLLM rewind the request's random generator, which
        # CPU generators cannot do: the engine dies of the first seeded request that it splits.
        engine_kwargs |= {
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(model.max_model_len, 2048),
        }
        environment |= {
            # GiB; a number of float32 takes twice the room.
            "VLLM_CPU_KVCACHE_SPACE": "1" if multiplies_bf16() else "2",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(math.ceil(model.cpus_per_replica)),
            "VLLM_HOST_IP": "127.0.0.1",
        }
    for variable in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HOME"):
        if variable in os.environ:
            environment[variable] = os.environ[variable]
    return LLMConfig(
        model_loading_config={"model_id": engine.name, "model_source": engine.source},
        llm_engine="vLLM",
        server_cls=AdapterServer,
        lora_config={"max_num_adapters_per_replica": 8} if engine.adapters else None,
        callback_config={"callback_class": LocalWeights} if Path(engine.source).is_dir() else {},
        accelerator_config={"kind": "gpu" if on_gpu else "cpu"},
        placement_group_config={"bundles": [bundle] * max(model.gpus_per_replica, 1)},
        deployment_config={
            "num_replicas": "auto" if autoscaling else model.replicas,
            "autoscaling_config": autoscaling,
            "max_ongoing_requests": 4096,
            "graceful_shutdown_wait_loop_s": STOP_LOOK_S,
            # Ray says of all its arguments that they are dictionaries.
            "request_router_config": RequestRouterConfig(
                request_router_class=ROUTER  # type: ignore[arg-type]
            ),
        },
        runtime_env={"env_vars": environment},
        engine_kwargs=engine_kwargs | model.engine_kwargs,
        log_engine_metrics=False,
    )


def _deployment(engine: str) -> str:
    return f"AdapterServer:{engine.replace('/', '--').replace('.', '_')}"
