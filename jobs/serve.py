"""Serving by itself: the config's models, and its trained planner, for others to use; with the
planning proxy in front where that is asked for."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

from cluster.backend import ClusterBackend
from jobs.rendering import console
from jobs.run import Round, Run
from mpo_core.config import Config
from mpo_core.errors import InputError
from mpo_core.proxy.access import keys_of
from mpo_core.proxy.looking import arms_of
from mpo_core.proxy.planners import Planners, Source, free_version, read_planners
from mpo_core.proxy.serving import serve, upstream_url
from mpo_core.proxy.workers import end_with_parent

BASE = "base"
SELF = "self"
"""In place of an upstream's URL: the models that are served here."""
STOPPING_S = 60
LOOK_S = 0.5


def serve_until_interrupted(run: Run, say: Callable[[str], None], proxied: str | None) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        proxied: the upstream of a planning proxy to serve as well, by its URL or `self`.

    Raises:
        InputError: the config has no model to serve, or the proxy cannot be.
        KeyboardInterrupt: a scheduler's SIGUSR1 ended it.
    """
    backend = run.backend
    if not isinstance(backend, ClusterBackend):
        raise InputError("cluster.enabled: false; serving needs the cluster")
    if proxied is not None:
        keys_of(run.config.proxy)
        if proxied != SELF:
            upstream_url(proxied)
    say("starting the engines; a minute or more")
    url = backend.url
    say(f"ready at {url}")
    version, model = _name_models(run, backend, say)
    received: list[int] = []
    proxy: BaseProcess | None = None
    with ExitStack() as stack:
        if proxied is not None:
            planners = served_planners(run.config, url, version, model)
            upstream = url if proxied == SELF else proxied
            proxy = stack.enter_context(proxy_process(run.config, planners, upstream))
        else:
            say("Ctrl-C stops")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda number, _: received.append(number))
        while not received and (proxy is None or proxy.is_alive()):
            time.sleep(LOOK_S)
        if not received:
            raise InputError("--proxy: the proxy has ended; its lines above say why")
        say("stopping")
    if signal.SIGUSR1 in received:
        raise KeyboardInterrupt


def _name_models(run: Run, backend: ClusterBackend, say: Callable[[str], None]) -> tuple[str, str]:
    """Say under which names the models answer; returns the planner's last version and its name."""
    config = run.config
    for name, served in config.models_with_source.items():
        say(f"  model {name}: {served.source}")
    version, model = BASE, config.planner.model
    if config.planner.serve == "adapter":
        rounds = (Round.of(config, number).version for number in range(1, config.rounds + 1))
        for trained in ("sft", "rft", "pg", *rounds):
            if run.trainee(trained).summary():
                adapter = run.planner(trained)
                backend.give_name(trained, adapter)
                version, model = trained, f"{config.planner.model}:{trained}"
                say(f"  model {model}: the planner {trained}, as {adapter.name}")
    return version, model


def served_planners(config: Config, url: str, version: str, model: str) -> Planners:
    """The planners of the proxy's folder, where those that are served here answer at this start's
    address, and a model that is new there is the current version, by a name that no other had."""
    env = {"env": next(iter(config.envs))} if len(config.envs) == 1 else {}
    here = Source(endpoint=url, model=model, **env)
    known = read_planners(config.proxy.folder)
    before = known.versions if known else {}
    taken = {*before, *arms_of(config.proxy.folder)}
    unused = free_version(taken) if version in taken else version
    name = next((name for name, source in before.items() if source.model == model), unused)
    if known is None:
        return Planners(current=name, versions={name: here})
    served = {
        name: source.model_copy(update={"endpoint": url})
        for name, source in known.versions.items()
        if (source.model or "").partition(":")[0] == config.planner.model
    }
    versions = known.versions | served | {name: here}
    if name in known.versions:
        return known.model_copy(update={"versions": versions})
    return Planners(current=name, versions=versions)


@contextmanager
def proxy_process(config: Config, planners: Planners, upstream: str) -> Iterator[BaseProcess]:
    """The proxy in a process of its own, which ends with this one."""
    process = get_context("spawn").Process(target=_serve_proxy, args=(config, planners, upstream))
    process.start()
    try:
        yield process
    finally:
        process.terminate()
        process.join(STOPPING_S)
        process.kill()


def _serve_proxy(config: Config, planners: Planners, upstream: str) -> None:
    from jobs.exits import one_line_exits

    end_with_parent()
    with one_line_exits():
        serve(
            config.proxy,
            planners,
            upstream,
            lambda line: console.print(line, soft_wrap=True),
            config.prompts_dir,
        )
