"""Serving by itself: the config's models, and its trained planner, for others to use."""

import signal
from collections.abc import Callable

from jobs.run import Run
from mpo_core.errors import InputError


def serve_until_interrupted(run: Run, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        InputError: the config has no model to serve.
    """
    if not run.config.cluster.enabled:
        raise InputError("cluster.enabled: false; serving needs the cluster")
    say("starting the engines; a minute or more")
    url = run.backend.url
    say(f"ready at {url}")
    for name, model in run.config.models.items():
        if model.source:
            say(f"  model {name}: {model.source}")
    if run.training_summary() and run.config.planner.serve == "adapter":
        say(f"  model {run.backend.trained_model(run.planner_dir).name}: the trained planner")
    say("Ctrl-C stops")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        say("stopping")
