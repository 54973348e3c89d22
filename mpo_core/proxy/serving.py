"""The proxy as a server: its settings checked, its workers started, until it is interrupted.

One worker runs in this process. Several are processes of uvicorn's, which starts one anew that dies
and reads what to do from the environment; they end with this one, even where it is killed.
"""

import ctypes
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx
import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from mpo_core import aio
from mpo_core.config import EndpointModelConfig, ProxyConfig, is_loopback, validated
from mpo_core.connection import address_of, cause_of, trusted
from mpo_core.errors import InputError
from mpo_core.proxy.metrics import SHARED
from mpo_core.proxy.planners import Planners, read_planners, write_planners
from mpo_core.proxy.prompt import planner_prompts
from mpo_core.proxy.store import Store
from mpo_core.proxy.writers import writer_of

SETTINGS = "MPO_PROXY_SETTINGS"
"""Environment variable by which the workers know what to serve; it holds no keys."""
PR_SET_PDEATHSIG = 1
GRACE_S = 30
"""For the answers under way when the server is to stop."""
KEEP_S = 75
READY_S = 0.1
REACH_S = 5.0


def serve(
    config: ProxyConfig,
    planners: Planners,
    upstream: str,
    say: Callable[[str], None],
    prompts_dir: Path | None = None,
) -> None:
    """Serve until interrupted. Nothing is written before all is known to be in order.

    Args:
        planners: for a folder that does not name its planners yet.
        upstream: base URL of the server that answers.
        say: is told, line by line, where callers find the proxy.

    Raises:
        InputError: a setting is at fault, the address cannot be listened on, the folder cannot be
            used, or a planner cannot.
    """
    url = upstream_url(upstream)
    keys_of(config)
    trusted()
    check_planners(read_planners(config.folder) or planners, config, prompts_dir)
    listener = _listening(config)
    host, port = listener.getsockname()[:2]
    _refuse_itself(url, port)
    Store(config.folder).close()
    if read_planners(config.folder) is None:
        write_planners(config.folder, planners)
    shown = f"[{host}]" if ":" in host else host
    told = {
        "config": config.model_dump(mode="json"),
        "upstream": url,
        "prompts_dir": str(prompts_dir) if prompts_dir else None,
    }
    os.environ[SETTINGS] = json.dumps(told)
    threading.Thread(
        target=_say_when_ready,
        args=(f"http://{shown}:{port}", config, url, say),
        daemon=True,
    ).start()
    with listener, TemporaryDirectory(prefix="mpo-proxy-") as shared:
        if config.workers > 1:
            os.environ[SHARED] = shared
        server = uvicorn.Config(
            f"{__name__}:application",
            factory=True,
            workers=config.workers,
            log_level="warning",
            access_log=False,
            # What is said of an answer is the upstream's.
            server_header=False,
            date_header=False,
            ws="none",
            timeout_keep_alive=KEEP_S,
            timeout_graceful_shutdown=GRACE_S,
        )
        with suppress(KeyboardInterrupt):
            if config.workers > 1:
                Multiprocess(server, sockets=[listener]).run()
            else:
                uvicorn.Server(server).run(sockets=[listener])


def application() -> ASGIApp:
    """The application of a worker, from its environment."""
    # Imported by the workers alone: Prometheus's client settles then whether counts are shared.
    from mpo_core.proxy.app import proxy_app

    told = json.loads(os.environ[SETTINGS])
    config = validated(ProxyConfig, told["config"], "proxy")
    if config.workers > 1:
        end_with_parent()
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    key, upstream_key = keys_of(config)
    prompts_dir = Path(told["prompts_dir"]) if told["prompts_dir"] else None
    return proxy_app(
        config, told["upstream"], key=key, upstream_key=upstream_key, prompts_dir=prompts_dir
    )


def end_with_parent() -> None:
    """Have this process stopped when the one that started it ends, however that does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def keys_of(config: ProxyConfig) -> tuple[str, str]:
    """The key that callers send and that of the upstream, from the environment; empty for none.

    Raises:
        InputError: a key that is needed is missing, or cannot be sent.
    """
    key = os.environ.get(config.key_env, "").strip()
    if not key and not is_loopback(config.host):
        raise InputError(
            f"proxy.host {config.host}: whoever reaches it could use the upstream; put a key into "
            f"the environment variable {config.key_env}, which callers then send as "
            "Authorization: Bearer KEY"
        )
    upstream_key = ""
    if config.upstream_key_env:
        upstream_key = os.environ.get(config.upstream_key_env, "").strip()
        if not upstream_key:
            raise InputError(
                f"proxy.upstream_key_env: {config.upstream_key_env} is not set in the environment"
            )
    for name, value in ((config.key_env, key), (config.upstream_key_env, upstream_key)):
        if not value.isascii() or not value.isprintable():
            raise InputError(f"{name}: its value cannot be sent in a header; set it anew")
    return key, upstream_key


def upstream_url(url: str) -> str:
    """The base URL of a server, without the path of a call. Raises InputError."""
    config = validated(EndpointModelConfig, {"endpoint": url}, "--upstream")
    address = address_of("upstream", config, {})
    if address.query:
        raise InputError(f"--upstream {address.shown}: give it without a query")
    return address.url


def without_login(url: str) -> str:
    """A URL as it may be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def check_planners(planners: Planners, config: ProxyConfig, prompts_dir: Path | None) -> None:
    """Raises InputError where a planner that is to be used cannot be; loads no weights."""
    for version in {planners.current, *([planners.canary.version] if planners.canary else [])}:
        source = planners.versions[version]
        prompts = planner_prompts(source.env, prompts_dir)
        writer = writer_of(source, config.folder, prompts, config)
        aio.run(writer.close())


def upstream_fault(url: str) -> str:
    """Why a server cannot be reached, in words; empty for one that answers, whatever it says."""
    try:
        httpx.get(f"{url}/models", timeout=REACH_S, verify=trusted())
    except httpx.TimeoutException:
        return f"nothing within {REACH_S:g} s"
    except httpx.HTTPError as error:
        return cause_of(error, without_login(url), REACH_S)[0]
    return ""


def _listening(config: ProxyConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(
            f"{config.host}:{config.port}: cannot listen there: {error.strerror or error}; set "
            "another proxy.port (0 for a free one) or proxy.host"
        ) from error


def _refuse_itself(url: str, port: int) -> None:
    parts = urlsplit(url)
    if parts.port == port and is_loopback(parts.hostname or ""):
        raise InputError(
            f"--upstream {without_login(url)}: is the proxy itself; set another proxy.port"
        )


def _say_when_ready(address: str, config: ProxyConfig, upstream: str, say: Callable) -> None:
    """Ask the workers until one answers; warn of an upstream that does not."""
    while True:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{address}/health", timeout=5, trust_env=False).is_success:
                break
        time.sleep(READY_S)
    planners = read_planners(config.folder)
    say(f"ready at {address}/v1, for {without_login(upstream)}")
    if planners is not None:
        say(f"  planner {planners.current}, kept in {config.folder}")
        if planners.canary:
            say(f"  canary {planners.canary.version}: {planners.canary.share:.0%} of conversations")
    if fault := upstream_fault(upstream):
        say(f"  warning: the upstream does not answer ({fault}); requests fail until it does")
    say("Ctrl-C stops")
