"""Playing many episodes: the one loop that feeds players, survives their failures, and writes.

`play_owed` is the same for one process and for a cluster; only `play` differs: a `Player` of this
process here, a pool of Ray actors in `cluster.rollout`.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from mpo_core.again import again
from mpo_core.aio import together
from mpo_core.chat import ChatModel
from mpo_core.completions import UNUSABLE
from mpo_core.envs.base import Host, Suite
from mpo_core.episode import EpisodeRequest, run_episode
from mpo_core.errors import EnvironmentLost, InputError, ModelUnavailable
from mpo_core.expert import EXPERT, Recital
from mpo_core.ledger import Ledger
from mpo_core.prompts import Prompts
from mpo_core.types import Episode

logger = logging.getLogger(__name__)

Play = Callable[[EpisodeRequest], Awaitable[Episode]]
"""Plays a requested episode, as `Player.play` does."""


class Player:
    """Plays episodes in this process, with one host an environment."""

    def __init__(
        self, suites: Mapping[str, Suite], prompts: Mapping[str, Prompts], model: ChatModel
    ) -> None:
        self._suites = suites
        self._prompts = prompts
        self._model = model
        self._hosts: dict[str, Host] = {}

    async def play(self, request: EpisodeRequest) -> Episode:
        """Raises EnvironmentLost or ModelUnavailable when the episode must be run again."""
        environment = await self.host(request.task.env).environment()
        try:
            model = self._model
            if request.model == EXPERT:
                model = Recital(await environment.expert_actions(request.task))
            prompts = self._prompts[request.task.env]
            return await run_episode(request, environment, model, prompts)
        finally:
            await environment.close()

    def host(self, env: str) -> Host:
        """The host of an environment's sessions; one for all episodes."""
        if env not in self._hosts:
            self._hosts[env] = self._suites[env].host()
        return self._hosts[env]

    async def close(self) -> None:
        """End the environments' processes and let go of the model."""
        for host in self._hosts.values():
            await host.close()
        self._hosts.clear()
        await self._model.close()


async def play_owed(
    requests: Sequence[EpisodeRequest],
    play: Play,
    ledger: Ledger[Episode, Any],
    *,
    concurrency: int,
    attempts: int,
    unusable_limit: int | None = None,
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> None:
    """Play the requests whose episodes the ledger lacks, and append each as it ends.

    An episode whose player, environment or model fails under it is started again, up to
    `attempts` times; then its error ends the run. What is in the ledger by then stays.

    Args:
        unusable_limit: episodes whose replies are mostly unusable (`completions.UNUSABLE`) that are
            taken for data. They are appended at the end, if they are no more than that and not all.

    Raises:
        InputError: more episodes are unusable, or all; none of them is in the ledger.
    """
    wanted = {request.key: request for request in requests}
    owed = iter([request for key, request in wanted.items() if key not in ledger])
    unusable: list[Episode] = []

    async def worker() -> None:
        for request in owed:
            episode = await _play_surely(request, play, attempts)
            if unusable_limit is not None and mostly_unusable(episode):
                unusable.append(episode)
                if len(unusable) > unusable_limit:
                    raise InputError(_unusable(unusable))
            else:
                ledger.append(episode)
            on_episode(episode)

    await together(worker() for _ in range(concurrency))
    if unusable and len(unusable) == len(wanted):
        raise InputError(_unusable(unusable))
    ledger.append(*unusable)


def mostly_unusable(episode: Episode) -> bool:
    """Whether at least half of an episode's replies hold no answer at all."""
    unusable = sum(episode.faults[fault] for fault in UNUSABLE)
    return bool(episode.turns) and 2 * unusable >= len(episode.turns)


REMEDIES = {
    "empty": "look at the server's chat template, or set models.*.prefill=ask",
    "empty action": "look at the server's chat template, or set models.*.prefill=ask",
    "only reasoning": "its thought took all tokens, or no answer followed it: raise "
    "agent.max_tokens, or set models.*.reasoning=off",
    "refusal": "choose another model, or prompts of your own (prompts_dir)",
    "content filter": "choose another model, or prompts of your own (prompts_dir)",
    "cut": "raise agent.max_tokens",
    "tool call": "set models.*.extra_body={tool_choice: none}, or switch the server's tools off",
}
"""Fault of an agent's replies -> what to do about it."""


def _unusable(episodes: Sequence[Episode]) -> str:
    faults = sum((episode.faults for episode in episodes), Counter())
    counts = ", ".join(f"{count} {fault}" for fault, count in faults.most_common())
    [(worst, _)] = Counter({f: faults[f] for f in UNUSABLE}).most_common(1)
    first = episodes[0]
    shown = next((t.reasoning or t.reply for t in first.turns if t.fault == worst), "")
    return (
        f"agent {first.model}: most of its replies hold no answer in {len(episodes)} episodes, the "
        f"first of {first.task_id} ({counts}; it began {shown[:80]!r}), so their rewards say "
        f"nothing about plans; {REMEDIES[worst]}; agent.unusable_limit lets such episodes count"
    )


async def _play_surely(request: EpisodeRequest, play: Play, attempts: int) -> Episode:
    def warn(attempt: int, failure: Exception) -> None:
        episode = f"episode {request.key} of {request.task.id}"
        logger.warning("%s, attempt %d of %d: %s", episode, attempt, attempts, failure)

    lost = (EnvironmentLost, ModelUnavailable)
    return await again(lambda: play(request), lost, attempts, wait_s=2, on_failure=warn)
