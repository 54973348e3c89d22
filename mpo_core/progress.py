"""Progress bars: what is done, how fast, and how long the rest will take."""

import sys
import time

from tqdm import tqdm

from mpo_core.types import Episode


def bar(name: str, total: int | None, done: int, unit: str) -> tqdm:
    """A bar that moves in a terminal and in a notebook; a log file gets a line now and then."""
    interval = 0.2 if sys.stderr.isatty() or "ipykernel" in sys.modules else 15
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit=f" {unit}",
        mininterval=interval,
        maxinterval=2 * interval,
        dynamic_ncols=True,
    )


class Progress:
    """A bar over `total` units, some of which were done by an earlier attempt."""

    def __init__(self, name: str, total: int, done: int, unit: str) -> None:
        self.tokens = 0
        self.steps = 0
        self._start = time.monotonic()
        self._bar = bar(name, total, done, unit)

    def episode(self, episode: Episode) -> None:
        self.advance(1, episode.completion_tokens, episode.steps)

    def advance(self, units: int, tokens: int, steps: int = 0) -> None:
        self.tokens += tokens
        self.steps += steps
        rates = f"{self.tokens / self.seconds:.0f} tokens/s"
        if steps:
            rates += f", {self.steps / self.seconds:.1f} steps/s"
        self._bar.set_postfix_str(rates, refresh=False)
        self._bar.update(units)

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self._start, 1e-9)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
