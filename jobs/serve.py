"""Serving by itself: the config's models, and its trained planner, for others to use."""

import signal
from collections.abc import Callable

from jobs.rounds import final_version
from jobs.run import Run
from mpo_core.errors import InputError


def serve_until_interrupted(run: Run, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        InputError: the config has no model to serve.
        KeyboardInterrupt: a scheduler's SIGUSR1 ended it.
    """
    if not run.config.cluster.enabled:
        raise InputError("cluster.enabled: false; serving needs the cluster")
    say("starting the engines; a minute or more")
    url = run.backend.url
    say(f"ready at {url}")
    for name, model in run.config.models.items():
        if model.source:
            say(f"  model {name}: {model.source}")
    if run.config.planner.serve == "adapter":
        for version in ("sft", "rft", final_version(run)):
            if run.training_summary(version):
                say(f"  model {run.model(version).name}: the planner {version}")
    say("Ctrl-C stops")
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: received.append(number))
    while not received:
        signal.pause()
    say("stopping")
    if signal.SIGUSR1 in received:
        raise KeyboardInterrupt
