"""Curves of episodes while they are played: how many are done, what they earn, how fast it goes,
and how much of the prompts the engine had in its cache, where it says so."""

import time
from collections.abc import Iterable

from mpo_core.tracking.tracker import Tracker
from mpo_core.types import Episode

EVERY_S = 5.0
"""Between two points of a curve."""


class Pace:
    """Logs a point now and then, and a last one at the end. Use as a context manager."""

    def __init__(self, tracker: Tracker, earned: Iterable[float]) -> None:
        """
        Args:
            earned: the rewards of the stage's episodes that were played before.
        """
        self._tracker = tracker
        rewards = list(earned)
        self._episodes, self._reward = len(rewards), sum(rewards)
        self._begin_point()

    def _begin_point(self) -> None:
        self._tokens = self._steps = self._prompted = self._cached = 0
        self._since = time.monotonic()

    def episode(self, episode: Episode) -> None:
        """One more is played."""
        self._episodes += 1
        self._reward += episode.reward
        self._tokens += episode.completion_tokens
        self._steps += episode.steps
        if episode.cached_tokens is not None:
            self._prompted += episode.prompt_tokens
            self._cached += episode.cached_tokens
        if time.monotonic() - self._since >= EVERY_S:
            self._point()

    def _point(self) -> None:
        """Rates are those since the last point."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        values = {
            "episodes": self._episodes,
            "mean_reward_so_far": self._reward / max(1, self._episodes),
            "tokens_per_s": self._tokens / seconds,
            "env_steps_per_s": self._steps / seconds,
        }
        if self._prompted:
            values["cache_hit_rate"] = self._cached / self._prompted
        self._tracker.log_metrics(values, step=self._episodes)
        self._begin_point()

    def __enter__(self) -> "Pace":
        return self

    def __exit__(self, *_: object) -> None:
        if self._steps or self._tokens:
            self._point()
