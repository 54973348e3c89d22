"""Serving by itself: the config's models, and its trained planner, for others to use."""

import signal
from collections.abc import Callable

from cluster.backend import ClusterBackend
from jobs.run import Round, Run
from mpo_core.errors import InputError


def serve_until_interrupted(run: Run, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        InputError: the config has no model to serve.
        KeyboardInterrupt: a scheduler's SIGUSR1 ended it.
    """
    backend = run.backend
    if not isinstance(backend, ClusterBackend):
        raise InputError("cluster.enabled: false; serving needs the cluster")
    say("starting the engines; a minute or more")
    url = backend.url
    say(f"ready at {url}")
    for name, served in run.config.models_with_source.items():
        say(f"  model {name}: {served.source}")
    if run.config.planner.serve == "adapter":
        config = run.config
        rounds = (Round.of(config, number).version for number in range(1, config.rounds + 1))
        for version in ("sft", "rft", "pg", *rounds):
            if run.trainee(version).summary():
                model = run.planner(version)
                backend.give_name(version, model)
                readable = f"{config.planner.model}:{version}"
                say(f"  model {readable}: the planner {version}, as {model.name}")
    say("Ctrl-C stops")
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: received.append(number))
    while not received:
        signal.pause()
    say("stopping")
    if signal.SIGUSR1 in received:
        raise KeyboardInterrupt
