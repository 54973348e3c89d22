"""The rollout pool: Ray actors, each an asyncio loop over many episodes with its own hosts.

The driver holds the queue (`mpo_core.rollout.play_owed`), gives every free place in the pool the
next owed episode, and is the one writer of results. Ray restarts an actor that died; the
episodes it was playing come back as `EnvironmentLost` and are played again, wherever there is
room.
"""

import contextlib
from collections.abc import Mapping

import ray

from mpo_core.chat import ChatModel
from mpo_core.config import ClusterConfig
from mpo_core.envs.base import Suite
from mpo_core.episode import EpisodeRequest
from mpo_core.errors import EnvironmentLost, InputError, ModelUnavailable
from mpo_core.prompts import Prompts
from mpo_core.rollout import Player
from mpo_core.types import Episode


@ray.remote(max_restarts=-1, max_task_retries=0)
class RolloutActor:
    """Plays the episodes that it is given, all at once."""

    def __init__(
        self, suites: Mapping[str, Suite], prompts: Mapping[str, Prompts], model: ChatModel
    ) -> None:
        self._player = Player(suites, prompts, model)

    async def play(self, request: EpisodeRequest) -> Episode:
        return await self._player.play(request)

    async def close(self) -> None:
        await self._player.close()


class RolloutPool:
    """The actors of one rollout. `play` is what `play_owed` asks for."""

    def __init__(
        self,
        cluster: ClusterConfig,
        suites: Mapping[str, Suite],
        prompts: Mapping[str, Prompts],
        model: ChatModel,
    ) -> None:
        # Ray's annotation has the decorator return the class as it was.
        actor = RolloutActor.options(  # type: ignore[attr-defined]
            num_cpus=cluster.cpus_per_rollout_actor,
            max_concurrency=cluster.episodes_in_flight + 1,
            scheduling_strategy="SPREAD",
        )
        self._actors = [actor.remote(suites, prompts, model) for _ in range(cluster.rollout_actors)]
        self._in_flight = [0] * len(self._actors)
        self.places = cluster.rollout_actors * cluster.episodes_in_flight

    async def play(self, request: EpisodeRequest) -> Episode:
        """Play an episode on the actor with the fewest.

        Raises EnvironmentLost, ModelUnavailable and InputError as `Player.play` does, and
        EnvironmentLost when the actor itself died.
        """
        index = min(range(len(self._actors)), key=self._in_flight.__getitem__)
        self._in_flight[index] += 1
        try:
            return await self._actors[index].play.remote(request)
        except ray.exceptions.RayActorError as error:
            raise EnvironmentLost(f"rollout actor {index} died") from error
        except ray.exceptions.RayTaskError as error:
            # What is known to happen, such as a game that cannot be played, without the actor's
            # trace.
            if isinstance(error.cause, InputError | EnvironmentLost | ModelUnavailable):
                raise error.cause from None
            raise
        finally:
            self._in_flight[index] -= 1

    async def close(self) -> None:
        """Stop the actors and the processes behind them."""
        for actor in self._actors:
            # One that died has taken its hosts with it.
            with contextlib.suppress(ray.exceptions.RayActorError):
                await actor.close.remote()
            ray.kill(actor)
