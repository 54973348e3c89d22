"""Progress of long work: what is done, how fast, how long the rest will take, how it goes.

A terminal gets a bar that moves, a notebook a line that is written over, a log file a line now and
then. Rate and time left are of the work alone: engines and environments that start cost their time
once, and only then the first unit is begun.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mpo_core.inert import inert
from mpo_core.progress_display import display
from mpo_core.types import Episode, EpisodeFigures

WIDTH = 80
"""Columns that a bar takes at most."""
LATEST = 64
"""Units whose usual time is looked at."""
FAULTS_NAMED = 2
"""Of the reasons why replies could not be read, those that are named."""


class Bar:
    """Progress over `total` units, some of which were done before. Use as a context manager.

    Args:
        total: units in all; None where that is not known yet. Of the unit `%` it is 100.
        done: units that were done before.
        log_interval_s: between two lines of a log file.
    """

    def __init__(
        self, name: str, total: float | None, done: float, unit: str, *, log_interval_s: float = 15
    ) -> None:
        self.name = name
        self.total = total
        self.n = done
        self.unit = unit
        self.figures: Sequence[str] = ()
        """How the work goes, some words each; shown with the next units."""
        self._began = time.monotonic()
        self._first: tuple[float, float] | None = None
        """When the first unit was done, and how many were then that the rate does not count."""
        self._ended: float | None = None
        """When the last unit of all was done."""
        self._latest: deque[float] = deque(maxlen=LATEST)
        """Seconds that the last units took, where these are known."""
        self._display = display(self, log_interval_s)

    def update(self, units: float = 1, seconds: float | None = None) -> None:
        """So many more units are done.

        Args:
            seconds: that they took. The first ones do not count for the rate without it, since
                nobody knows when they began.
        """
        if self._first is None and units > 0:
            self._first = (time.monotonic(), self.n + units if seconds is None else self.n)
        if seconds is not None:
            self._latest.append(seconds)
        self.n += units
        if units > 0:
            self._ended = time.monotonic() if self.n == self.total else None
        self._display.show()

    def tell(self, *figures: str) -> None:
        """What is shown beside the units from here on."""
        self.figures = figures
        self._display.show()

    def say(self, text: str) -> None:
        """A line of its own, that stays."""
        self._display.say(inert(text))

    def close(self) -> None:
        self._display.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Since this attempt began; above 0."""
        return max(time.monotonic() - self._began, 1e-9)

    @property
    def working_seconds(self) -> float:
        """Since the first unit was begun, without what had to start first; 0 before it is done.

        Many may be under way at once, and the first of them wait for what starts: so it was begun
        as long before its end as a usual one takes.
        """
        if self._first is None:
            return 0.0
        until = time.monotonic() if self._ended is None else self._ended
        return until - self._first[0] + (median(self._latest) if self._latest else 0)

    @property
    def rate(self) -> float | None:
        """Units a second; None while nothing tells it."""
        if self._first is None or self.n <= self._first[1]:
            return None
        return (self.n - self._first[1]) / max(self.working_seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """None while nothing tells it, and where nothing is left."""
        if self.rate is None or self.total is None or self.n >= self.total:
            return None
        return (self.total - self.n) / self.rate

    def amount(self) -> str:
        """Units done, of all."""
        if self.unit == "%":
            return f"{self.n:.0f} %"
        whole = "" if self.total is None else f"/{self.total:,.0f}"
        return f"{self.n:,.0f}{whole} {self.unit}"

    def times(self) -> list[str]:
        """How fast it goes and how long it will; how long it took where nothing is left."""
        rate, left, times = self.rate, self.seconds_left, []
        if rate and self.unit != "%":
            times.append(f"{rate:,.1f}/s" if rate >= 1 else f"{1 / rate:,.1f} s each")
        if left is not None:
            times.append(f"{clock(left)} left")
        elif self.seconds >= 1:
            times.append(f"after {clock(self.seconds)}")
        return times

    def line(self) -> str:
        """All of it in one line."""
        begun = f"{self.name}: {', '.join([self.amount(), *self.times()])}"
        return inert("; ".join([begun, *self.figures]))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(WIDTH, options.max_width)
        row = Table.grid(expand=True, padding=(0, 1))
        row.width = width
        row.add_column(no_wrap=True, overflow="ellipsis", max_width=width // 2)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True, justify="right")
        shown = Text(", ".join([self.amount(), *self.times()]))
        row.add_row(Text(inert(self.name)), ProgressBar(self.total, self.n), shown)
        yield row
        for figure in self.figures:
            words = Text(f"  {inert(figure)}", style="dim", no_wrap=True, overflow="ellipsis")
            words.truncate(width, overflow="ellipsis")
            yield words


class ModelProgress(Bar):
    """A bar over work that a model does: also its tokens a second."""

    tokens = 0

    def answered(self, units: int, tokens: int) -> None:
        """So many more units, and the tokens that the model has written for them."""
        self.tokens += tokens
        self.figures = [f"{self.tokens / self.seconds:,.0f} tokens/s"]
        # The model was up before: what it answers first was begun with the bar.
        self.update(units, None if self.working_seconds else self.seconds)


class EpisodeProgress(Bar):
    """A bar over episodes: also their mean reward so far, their ends, the replies that could not be
    read, and what they take of a model's tokens and environments' steps.

    Args:
        total: episodes in all.
        before: those of them that an earlier attempt has played.
    """

    def __init__(
        self, name: str, total: int, before: Iterable[Episode | EpisodeFigures] = ()
    ) -> None:
        self.tokens = 0
        """That the model has written in this attempt."""
        self.steps = 0
        """Of the environments, in this attempt."""
        self._rewards = self._squares = 0.0
        self._turns = 0
        self._ends: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        for episode in before:
            self._count(episode)
        super().__init__(name, total, self._ends.total(), "episodes")
        if self.n:
            self.figures = self._figures()

    def episode(self, episode: Episode) -> None:
        """One more is played."""
        self._count(episode)
        self.tokens += episode.completion_tokens
        self.steps += episode.steps
        self.figures = self._figures()
        self.update(1, episode.seconds)

    def _figures(self) -> list[str]:
        return [self._earned(), ", ".join(self._went())]

    def _count(self, episode: Episode | EpisodeFigures) -> None:
        self._rewards += episode.reward
        self._squares += episode.reward**2
        self._turns += episode.steps
        self._ends[episode.end] += 1
        self._faults.update(episode.faults)

    def _earned(self) -> str:
        n = self._ends.total()
        mean = self._rewards / n
        error = standard_error(n, mean, self._squares / n)
        said = f"mean reward {mean:.3f}" + ("" if error is None else f" ± {error:.3f}")
        seconds = self.working_seconds
        if self.tokens and seconds:
            said += f", {self.tokens / seconds:,.0f} tokens/s"
        return said + (f", {self.steps / seconds:,.1f} steps/s" if self.steps and seconds else "")

    def _went(self) -> list[str]:
        went = [f"{n:,} {end.replace('_', ' ')}" for end, n in self._ends.most_common()]
        if unread := self._faults.total():
            worst = ", ".join(fault for fault, _ in self._faults.most_common(FAULTS_NAMED))
            went.append(f"{unread / self._turns:.1%} of replies unread ({worst})")
        return went


class TrainingProgress(Bar):
    """A bar over the optimizer steps of a training: also its loss, and what else it does.

    Args:
        status: what it does first.
    """

    def __init__(self, name: str, status: str = "starting") -> None:
        self._label = name
        super().__init__(f"{name}: {status}", None, 0, "steps")

    def row(self, row: Mapping[str, Any]) -> None:
        """What `mpo_core.training.run.train` reports: a status, a warning or a step."""
        if "status" in row:
            self.name = f"{self._label}: {row['status']}"
            # Steps before a resumption are done, and were not done at this attempt's rate.
            self.n = row.get("resumed_from", self.n)
            self.tell(*self.figures)
        elif "warning" in row:
            self.say(f"{self._label}: {row['warning']}")
        elif "loss" in row:
            self.name, self.total = self._label, row["max_steps"]
            self.figures = [", ".join(self._learnt(row))]
            self.update(row["step"] - self.n)

    def _learnt(self, row: Mapping[str, Any]) -> Iterator[str]:
        yield f"loss {row['loss']:.4f}"
        if "rewards/margins" in row:
            yield f"margin {row['rewards/margins']:.3f}"
        if row.get("num_tokens") and row.get("seconds"):
            yield f"{row['num_tokens'] / row['seconds']:,.0f} tokens/s"


def standard_error(n: int, mean: float, mean_square: float) -> float | None:
    """Of the mean of `n` numbers; None where a single one does not tell it."""
    return math.sqrt(max(0.0, mean_square - mean**2) / (n - 1)) if n > 1 else None


def clock(seconds: float) -> str:
    """`1:05`, `2:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
