"""A run's hold on a Ray cluster: connects, serves models, plays episodes, trains, lets go."""

import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.address import cluster_address
from cluster.private import start_private_cluster
from cluster.reach import check_node, one_line, reach_cluster
from cluster.resources import (
    Need,
    adapted_models,
    check_fits,
    local_cpus,
    resource_plan,
)
from mpo_core.builtin_models import resolve_source
from mpo_core.chat import ChatModel
from mpo_core.config import Config
from mpo_core.envs.base import Suite
from mpo_core.errors import InputError
from mpo_core.hardware import free_port
from mpo_core.models import (
    client_fingerprint,
    connect,
    served_fingerprint,
    told_apart,
    weights_version,
)
from mpo_core.progress import Bar
from mpo_core.prompts import Prompts
from mpo_core.rollout import Play
from mpo_core.run_folder import RunFolder
from mpo_core.training.settings import TrainingJob

if TYPE_CHECKING:
    from cluster.serving import Engines


class ClusterBackend:
    """A `mpo_core.backend.Backend` of Ray, which also serves by HTTP (`url`, `give_name`)."""

    def __init__(self, config: Config) -> None:
        """Resolves the models to serve. Raises InputError for a missing one."""
        self._config = config
        self._served = config.served_models
        self._sources = {
            name: str(resolve_source(model.source)) for name, model in self._served.items()
        }
        self._plan = resource_plan(config)
        self._engines: Engines | None = None
        self._own_engines: dict[str, str] = {}
        self._free_engines = False
        self._connected = False
        self._undo: Callable[[], None] = lambda: None
        self._port = 0

    def connect(self) -> None:
        """Join the configured cluster, or start a private one on this machine.

        Raises:
            InputError: no cluster at the address, the config does not fit it, or the HTTP port
                is taken.
        """
        if self._connected:
            return
        with _same_end():
            self._connect()
        self._connected = True

    def _connect(self) -> None:
        cluster = self._config.cluster
        self._port = free_port(cluster.http_port)
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = cluster_address(cluster.address)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address:
            gcs = reach_cluster(address)
            check_node(address)
            try:
                ray.init(address=gcs, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise InputError(f"{address}: no Ray cluster: {one_line(error)}") from error
            total = ray.cluster_resources()
            have = Need(total.get("CPU", 0), int(total.get("GPU", 0)))
            try:
                self._free_engines = check_fits(self._plan, have, cluster.free_engines_for_training)
            except InputError:
                ray.shutdown()
                raise
        else:
            cpus = local_cpus(self._plan, cluster.logical_cpus)
            have = Need(cpus, local_gpus())
            self._free_engines = check_fits(self._plan, have, cluster.free_engines_for_training)
            self._undo = start_private_cluster(cpus, **quiet)

    def fingerprint(self, name: str) -> str:
        if name in self._served:
            return served_fingerprint(self._sources[name]) + told_apart(self._served[name])
        return client_fingerprint(name, self._config.models[name])

    def source(self, name: str) -> str:
        return self._sources[name]

    def model(self, name: str) -> ChatModel:
        if name not in self._served:
            return connect(name, self._config.models[name])
        return self._running_engines().model(name)

    def trained_fingerprint(self, base: str, folder: Path) -> str:
        return f"{self.fingerprint(base)}+{weights_version(folder)}"

    def trained_model(self, base: str, folder: Path, *, own_engine: bool) -> ChatModel:
        """As `Backend.trained_model`. Of engines of their own there is one for each base: it takes
        the place of an earlier one."""
        engines = self._running_engines()
        if not own_engine:
            return engines.model(engines.publish(base, folder))
        from cluster.serving import Engine
        from mpo_core.training.export import merged

        name = f"{base}-{weights_version(folder)}"
        if name != self._own_engines.get(base):
            if base in self._own_engines:
                engines.stop(self._own_engines.pop(base))
            source = str(merged(self._sources[base], folder))
            engine = Engine(name, self._served[base], source, adapters=False)
            engines.start([engine], route=name)
            self._own_engines[base] = name
        return engines.model(name)

    def give_name(self, name: str, model: ChatModel) -> None:
        """Let the HTTP server know a trained model, an adapter, as `<base>:<name>` too."""
        self._running_engines().give_name(name, model.name)

    def train(self, job: TrainingJob, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        from cluster.training import train

        self.connect()
        if self._free_engines:
            self._stop_engines()
        return train(job, on_row)

    @property
    def url(self) -> str:
        """Base URL of the OpenAI-compatible HTTP server."""
        return self._running_engines().url()

    @asynccontextmanager
    async def players(
        self, suites: Mapping[str, Suite], prompts: Mapping[str, Prompts], model: ChatModel
    ) -> AsyncIterator[tuple[Play, int]]:
        from cluster.rollout import RolloutPool

        self.connect()
        pool = RolloutPool(self._config.cluster, suites, prompts, model)
        try:
            yield pool.play, pool.places
        finally:
            await pool.close()

    def close(self) -> None:
        """Stop the engines; a private cluster ends with them."""
        if self._connected:
            import ray

            self._stop_engines()
            ray.shutdown()
            self._undo()
            self._connected = False

    def _running_engines(self) -> "Engines":
        if self._engines is None:
            from cluster.serving import Engine, Engines

            self.connect()
            cluster = self._config.cluster
            engines = Engines(
                RunFolder(self._config.run_dir).served,
                cluster.http_host,
                self._port,
                cluster.engine_start_timeout_s,
            )
            adapted = adapted_models(self._config)
            asked = [
                Engine(name, model, self._sources[name], adapters=name in adapted)
                for name, model in self._served.items()
            ]
            with Bar("starting engines", len(asked), 0, "engines") as shown:
                engines.start(asked)
                shown.update(len(asked))
            self._engines = engines
        return self._engines

    def _stop_engines(self) -> None:
        if self._engines is not None:
            self._engines.stop()
            self._engines = None
            self._own_engines.clear()


def local_gpus() -> int:
    from cluster.ray_node import gpus_here

    return gpus_here()


@contextmanager
def _same_end() -> Iterator[None]:
    """SIGTERM does afterwards what it did before. Ray's own handler, which it sets in a driver,
    ends the process without its tidying up."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
