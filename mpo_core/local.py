"""The loop in this one process, without Ray: endpoints and scripted models; trainings in processes
of their own, of planners that nothing has to serve."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mpo_core.builtin_models import resolve_source
from mpo_core.chat import ChatModel
from mpo_core.config import Config
from mpo_core.envs.base import Suite
from mpo_core.errors import InputError
from mpo_core.models import (
    client_fingerprint,
    connect,
    served_fingerprint,
    told_apart,
    weights_version,
)
from mpo_core.prompts import Prompts
from mpo_core.rollout import Play, Player
from mpo_core.training.settings import TrainingJob


class LocalBackend:
    """A `mpo_core.backend.Backend` that serves no weights: models answer elsewhere."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def connect(self) -> None:
        """Nothing to start."""

    def fingerprint(self, name: str) -> str:
        model = self._config.models[name]
        if model.source:
            return served_fingerprint(self.source(name)) + told_apart(model)
        return client_fingerprint(name, model)

    def source(self, name: str) -> str:
        source = self._config.models[name].source
        if source is None:
            raise _needs_cluster(f"models.{name} is not served")
        return str(resolve_source(source))

    def model(self, name: str) -> ChatModel:
        return connect(name, self._config.models[name])

    def trained_fingerprint(self, base: str, folder: Path) -> str:
        return f"{self.fingerprint(base)}+{weights_version(folder)}"

    def trained_model(self, base: str, folder: Path, *, own_engine: bool) -> ChatModel:
        raise _needs_cluster(f"models.{base} is not served, trained as in {folder},")

    def train(self, job: TrainingJob, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        if self._config.source != "feedback":
            raise _needs_cluster(f"{job.out} is not trained")
        from mpo_core.training.local import run_job

        return run_job(job, on_row)

    @asynccontextmanager
    async def players(
        self, suites: Mapping[str, Suite], prompts: Mapping[str, Prompts], model: ChatModel
    ) -> AsyncIterator[tuple[Play, int]]:
        player = Player(suites, prompts, model)
        try:
            yield player.play, self._config.cluster.episodes_in_flight
        finally:
            await player.close()

    def close(self) -> None:
        """Nothing was started."""


def _needs_cluster(what: str) -> InputError:
    return InputError(f"{what} with cluster.enabled: false; set it to true")
