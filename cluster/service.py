"""A config's models as a Serve application of their own, for `serve deploy` and KubeRay.

    import_path: cluster.service:build
    args: {config: PATH}

The planner and the agent answer under their names in `models`, and what a run has trained under
`<model>:<version>` (`llama-8b:mpo`), from the run's folder. A version that is trained anew while
the service is up is served as it was until the service is started again.
"""

from pathlib import Path
from typing import Any

from ray.serve import Application

from cluster.serving import Engine, openai_app
from mpo_core.builtin_models import resolve_source
from mpo_core.config import Section, load_config
from mpo_core.errors import InputError
from mpo_core.run_folder import RunFolder


class ServiceArgs(Section):
    """The application's `args`."""

    config: Path
    """The config's YAML file, or that of a run, which every node must see."""
    autoscaling: dict[str, Any] | None = None
    """Serve's `autoscaling_config` of every engine; by default `models.*.replicas` each."""


def build(args: ServiceArgs) -> Application:
    """The application.

    Raises:
        InputError: the config is at fault, has no model to serve, or a model is missing.
    """
    config = load_config(args.config)
    engines = [
        Engine(
            name, model, str(resolve_source(model.source)), adapters=name == config.planner.model
        )
        for name, model in config.served_models.items()
    ]
    if not engines:
        raise InputError(f"{args.config}: neither the planner nor the agent has a source to serve")
    adapters = {config.planner.model: RunFolder(config.run_dir).planners}
    return openai_app(engines, adapters, args.autoscaling)
