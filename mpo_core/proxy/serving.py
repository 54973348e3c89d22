"""The proxy as a server: its settings checked, its workers started, until it is interrupted.

One worker runs in this process. Several are processes of their own (`workers.py`), which read what
to do from the environment; they end with this one, even where it is killed.
"""

import json
import os
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

from mpo_core import aio
from mpo_core.config import EndpointModelConfig, ProxyConfig, validated
from mpo_core.connection import address_of, cause_of, trusted, without_login
from mpo_core.errors import InputError
from mpo_core.proxy import workers
from mpo_core.proxy.access import keys_of
from mpo_core.proxy.metrics import SHARED
from mpo_core.proxy.planners import Planners, read_planners, write_planners
from mpo_core.proxy.prompt import planner_prompts
from mpo_core.proxy.store import Store
from mpo_core.proxy.workers import SETTINGS, log_lines
from mpo_core.proxy.writers import let_go, writer_of

GRACE_S = 30
"""For the answers under way when the server is to stop."""
KEEP_S = 75
HUNG_S = 20
"""After which a worker that says nothing is replaced; one that loads weights may take some."""
NOT_FOUND = 404
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
        planners: what the proxy's folder is to name.
        upstream: base URL of the server that answers.
        say: is told, line by line, where callers find the proxy.

    Raises:
        InputError: a setting is at fault, the address cannot be listened on, the folder cannot be
            used, or a planner cannot.
    """
    url = upstream_url(upstream)
    keys_of(config)
    trusted()
    known = read_planners(config.folder)
    with _listening(config) as listener, TemporaryDirectory(prefix="mpo-proxy-") as shared:
        host, port = listener.getsockname()[:2]
        _refuse_itself(url, host, port)
        paces = check_planners(planners, config, prompts_dir)
        Store(config.folder).close()
        # Whoever has named others meanwhile has the last word.
        if known != planners and read_planners(config.folder) == known:
            write_planners(config.folder, planners)
        log_lines(1)
        told = {
            "config": config.model_dump(mode="json"),
            "upstream": url,
            "prompts_dir": str(prompts_dir) if prompts_dir else None,
        }
        os.environ[SETTINGS] = json.dumps(told)
        if config.workers > 1:
            os.environ[SHARED] = shared
        server = uvicorn.Config(
            f"{workers.__name__}:application",
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
            timeout_worker_healthcheck=HUNG_S,
        )
        shown = f"[{host}]" if ":" in host else host
        threading.Thread(
            target=_say_when_ready,
            args=(f"http://{shown}:{port}", config, url, paces, say),
            daemon=True,
        ).start()
        with suppress(KeyboardInterrupt):
            if config.workers > 1:
                workers.Workers(server, sockets=[listener]).run()
            else:
                uvicorn.Server(server).run(sockets=[listener])


def upstream_url(url: str) -> str:
    """The base URL of a server, without the path of a call. Raises InputError."""
    config = validated(EndpointModelConfig, {"endpoint": url}, "--upstream")
    address = address_of("upstream", config, {})
    if address.query:
        raise InputError(f"--upstream {address.shown}: give it without a query")
    return address.url


def check_planners(
    planners: Planners, config: ProxyConfig, prompts_dir: Path | None
) -> dict[str, str]:
    """Load the planners that are to be used; of those that write in a process of the proxy's, also
    how long a plan takes them, in words.

    Raises:
        InputError: one cannot be used.
    """

    async def pace(version: str) -> str:
        source = planners.versions[version]
        writer = writer_of(source, config.folder, planner_prompts(source.env, prompts_dir), config)
        try:
            await writer.ready()
            return await writer.pace()
        finally:
            await writer.close()

    paces = {version: aio.run(pace(version)) for version in planners.used}
    if config.workers > 1:
        # Each worker loads its own.
        let_go()
    return {version: said for version, said in paces.items() if said}


def upstream_fault(url: str) -> str:
    """What is wrong with a server, in words; empty for one that answers and has `/models`, or says
    of it anything else than that it does not know it."""
    try:
        if _models_status(url) != NOT_FOUND:
            return ""
        under = f"{url}/v1"
        if not url.endswith("/v1") and _models_status(under) < NOT_FOUND:
            return f"it has no /models, and {without_login(under)} does; give --upstream that"
    except httpx.TimeoutException:
        return f"it does not answer: nothing within {REACH_S:g} s"
    except httpx.HTTPError as error:
        return f"it does not answer ({cause_of(error, without_login(url), REACH_S)[0]})"
    return "it has no /models; see whether --upstream is its base URL, which mostly ends in /v1"


def _models_status(url: str) -> int:
    return httpx.get(f"{url}/models", timeout=REACH_S, verify=trusted()).status_code


def _listening(config: ProxyConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(
            f"{config.host}:{config.port}: cannot listen there: {error.strerror or error}; set "
            "another proxy.port (0 for a free one) or proxy.host"
        ) from error


def _refuse_itself(url: str, host: str, port: int) -> None:
    """Raises InputError for an upstream that is the proxy, by whatever name of this machine."""
    parts = urlsplit(url)
    if (parts.port or {"http": 80, "https": 443}.get(parts.scheme)) != port:
        return
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        return
    everywhere = host in ("0.0.0.0", "::")
    for family, _, _, _, address in found:
        if address[0] == host or (everywhere and _is_own(family, str(address[0]))):
            raise InputError(
                f"--upstream {without_login(url)}: is the proxy itself; set another proxy.port"
            )


def _is_own(family: int, address: str) -> bool:
    """Whether an address is this machine's: only such can be listened on."""
    with socket.socket(family) as tried, suppress(OSError):
        tried.bind((address, 0))
        return True
    return False


def _say_when_ready(
    address: str, config: ProxyConfig, upstream: str, paces: dict[str, str], say: Callable
) -> None:
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
    for version, pace in paces.items():
        say(f"  planner {version} {pace}")
    if fault := upstream_fault(upstream):
        say(f"  warning: the upstream {without_login(upstream)}: {fault}; requests fail until then")
    say("Ctrl-C stops")
