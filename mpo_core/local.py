"""The loop up to the pairs in this one process: endpoints and scripted models, no Ray."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from mpo_core.config import Config
from mpo_core.envs.base import Suite
from mpo_core.models import ChatModel, client_fingerprint, connect
from mpo_core.prompts import Prompts
from mpo_core.rollout import Play, Player


class LocalBackend:
    """Models and players of this process."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def connect(self) -> None:
        """Nothing to start."""

    def fingerprint(self, name: str) -> str:
        """Identity of a model of the config; needs no connection."""
        return client_fingerprint(name, self._config.models[name])

    def model(self, name: str) -> ChatModel:
        return connect(name, self._config.models[name])

    @asynccontextmanager
    async def players(
        self, suites: Mapping[str, Suite], prompts: Mapping[str, Prompts], model: ChatModel
    ) -> AsyncIterator[tuple[Play, int]]:
        """How to play an episode, and how many at a time."""
        player = Player(suites, prompts, model)
        try:
            yield player.play, self._config.cluster.episodes_in_flight
        finally:
            await player.close()

    def close(self) -> None:
        pass
