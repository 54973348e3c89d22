"""What interrupts a command: Ctrl-C, SIGTERM, and SIGUSR1, by which a scheduler warns.

One interrupts the work, none the tidying up after that, and none is lost.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

WARNINGS = (signal.SIGUSR1, signal.SIGTERM)
AGAIN_S = 0.05


@contextmanager
def interruptions() -> Iterator[None]:
    """Warnings interrupt as Ctrl-C does.

    Python ignores whatever is raised in a destructor or in the callback of a weak reference, an
    interruption as well; its signal is sent again, until it is raised where it counts.
    """
    for number in WARNINGS:
        signal.signal(number, interrupt_once)
    before = sys.unraisablehook
    sys.unraisablehook = partial(_sent_again, before)
    try:
        yield
    finally:
        sys.unraisablehook = before


def interrupt_once(number: int, _: object) -> None:
    """Interrupt the work, but not the tidying up after that: a scheduler may repeat its warning."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return
        error = error.__context__
    atexit.register(_heed_no_more)
    raise KeyboardInterrupt(number)


def _sent_again(before: Callable[[Any], object], ignored: Any) -> None:
    """The hook of what Python ignores (`sys.unraisablehook`)."""
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        before(ignored)
        return
    told = getattr(ignored.exc_value, "args", ())
    number = told[0] if told and isinstance(told[0], int) else signal.SIGINT
    # Sent from here, it would be raised within this hook, and be ignored once more.
    sending = threading.Timer(AGAIN_S, os.kill, [os.getpid(), number])
    sending.daemon = True
    sending.start()


def _heed_no_more() -> None:
    """What libraries do at the very end must not be interrupted either."""
    for number in WARNINGS:
        signal.signal(number, signal.SIG_IGN)
