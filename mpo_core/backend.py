"""Where a run's models answer, its episodes are played and its planners are trained."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from mpo_core.chat import ChatModel
from mpo_core.envs.base import Suite
from mpo_core.prompts import Prompts
from mpo_core.rollout import Play
from mpo_core.training.settings import TrainingJob


class Backend(Protocol):
    """What this process (`mpo_core.local`) and a Ray cluster (`cluster.backend`) both offer.

    Nothing is started before it is needed; `close` stops what was. A call that a backend cannot
    serve is an InputError that says so.
    """

    def connect(self) -> None:
        """Be ready to serve. Raises InputError where what the config asks for is not there."""
        ...

    def fingerprint(self, name: str) -> str:
        """Identity of a model of the config; needs no connection."""
        ...

    def source(self, name: str) -> str:
        """Folder or hub id of a model of the config that is served here.

        Raises:
            InputError: it cannot be served here.
        """
        ...

    def model(self, name: str) -> ChatModel:
        """A client for a model of the config; starts the engines where one is served here."""
        ...

    def trained_fingerprint(self, base: str, folder: Path) -> str:
        """Identity of a model of the config as `folder` holds it trained; needs no connection."""
        ...

    def trained_model(self, base: str, folder: Path, *, own_engine: bool) -> ChatModel:
        """A client for a trained model.

        Args:
            base: the model of the config that it was trained from.
            folder: a LoRA adapter of it, or whole weights.
            own_engine: serve it by an engine of its own; else as an adapter of its base's.

        Raises:
            InputError: it cannot be served here.
        """
        ...

    def train(self, job: TrainingJob, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Do a training; one that was interrupted goes on from its last checkpoint.

        Args:
            on_row: called with every row of progress (`mpo_core.training.run.train`).

        Returns:
            The fields of `mpo_core.training.run.TrainingSummary`, as in `training.json`.

        Raises:
            InputError: rows, a model, settings or a place that nothing can be trained with.
            KeyboardInterrupt: it was asked to stop, and has left its planner or a checkpoint.
            RuntimeError: it failed.
        """
        ...

    def players(
        self, suites: Mapping[str, Suite], prompts: Mapping[str, Prompts], model: ChatModel
    ) -> AbstractAsyncContextManager[tuple[Play, int]]:
        """How to play an episode, and how many at a time."""
        ...

    def close(self) -> None:
        """Stop what was started."""
        ...
