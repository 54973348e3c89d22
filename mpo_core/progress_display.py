"""Where progress is shown: a terminal, a notebook, or a log file."""

import logging
import sys
import time
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live


class Shown(Protocol):
    """What is shown."""

    def line(self) -> str:
        """All of it in one line."""
        ...

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult: ...


class Display(Protocol):
    """Where it is shown."""

    def show(self) -> None:
        """It has changed."""
        ...

    def say(self, text: str) -> None:
        """A line of its own, that stays."""
        ...

    def close(self) -> None:
        """It will change no more."""
        ...


def display(shown: Shown, log_interval_s: float) -> Display:
    """Where something is shown while it changes: on stderr, by what that is.

    Args:
        log_interval_s: between two lines of a log file.
    """
    if "ipykernel" in sys.modules:
        return _Notebook(shown)
    console = Console(stderr=True)
    # What says that it takes colours may still be a file.
    if sys.stderr.isatty() and console.is_interactive:
        return _Terminal(shown, console)
    return _Log(shown, log_interval_s)


class _Log:
    """A line at the beginning, one now and then, and one at the end."""

    def __init__(self, shown: Shown, interval_s: float) -> None:
        self._shown, self._interval_s = shown, interval_s
        self._said = ""
        self._said_at = time.monotonic()
        self._print()

    def show(self) -> None:
        if time.monotonic() - self._said_at >= self._interval_s:
            self._said_at = time.monotonic()
            self._print()

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        self._print()

    def _print(self) -> None:
        if (line := self._shown.line()) != self._said:
            print(line, file=sys.stderr, flush=True)
            self._said = line


class _Notebook(_Log):
    """A line that the next one is written over."""

    def __init__(self, shown: Shown) -> None:
        self._longest = 0
        super().__init__(shown, 0.2)

    def say(self, text: str) -> None:
        super().say(f"\n{text}")

    def close(self) -> None:
        super().close()
        print(file=sys.stderr, flush=True)

    def _print(self) -> None:
        line = self._shown.line()
        self._longest = max(self._longest, len(line))
        print(f"\r{line:<{self._longest}}", end="", file=sys.stderr, flush=True)


class _Terminal:
    """A bar that moves; what others print, and log, appears above it."""

    def __init__(self, shown: Shown, console: Console) -> None:
        before = sys.stderr
        self._live = Live(
            get_renderable=lambda: shown, console=console, redirect_stdout=sys.stdout.isatty()
        )
        self._live.start()
        self._handlers = [
            (handler, handler.setStream(sys.stderr))
            for handler in logging.getLogger().handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream is before
        ]

    def show(self) -> None:
        pass  # The display looks for itself, some times a second.

    def say(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._live.stop()
        for handler, stream in self._handlers:
            handler.setStream(stream)
