"""Progress bars: what is done, how fast, and how long the rest will take."""

import sys
import time

from tqdm import tqdm

from mpo_core.types import Episode


def bar(
    name: str,
    total: int | None,
    done: int,
    unit: str,
    *,
    bar_format: str | None = None,
    log_interval_s: float = 15,
) -> tqdm:
    """A bar that moves in a terminal and in a notebook; a log file gets a line now and then.

    Args:
        total: units in all; None where that is not known yet.
        done: units that were done before.
        bar_format: tqdm's; by default tqdm's own.
        log_interval_s: between two lines of a log file.
    """
    moves = sys.stderr.isatty() or "ipykernel" in sys.modules
    interval = 0.2 if moves else log_interval_s
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit=f" {unit}",
        mininterval=interval,
        maxinterval=2 * interval,
        dynamic_ncols=True,
        bar_format=bar_format,
    )


class Progress:
    """A bar over `total` units, some of which were done by an earlier attempt."""

    def __init__(self, name: str, total: int, done: int, unit: str) -> None:
        self.tokens = 0
        self.steps = 0
        self._start = time.monotonic()
        self._bar = bar(name, total, done, unit)

    def episode(self, episode: Episode) -> None:
        """One more is played."""
        self.advance(1, episode.completion_tokens, episode.steps)

    def advance(self, units: int, tokens: int, steps: int = 0) -> None:
        """So many more units, and what they took of a model's tokens and environments' steps."""
        self.tokens += tokens
        self.steps += steps
        rates = f"{self.tokens / self.seconds:.0f} tokens/s"
        if steps:
            rates += f", {self.steps / self.seconds:.1f} steps/s"
        self._bar.set_postfix_str(rates, refresh=False)
        self._bar.update(units)

    @property
    def seconds(self) -> float:
        """Since this attempt began; above 0."""
        return max(time.monotonic() - self._start, 1e-9)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
