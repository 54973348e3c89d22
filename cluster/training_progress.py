"""A training's progress in the driver: what its first worker writes to a file, shown as a bar."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mpo_core.progress import TrainingProgress

OnRow = Callable[[dict[str, Any]], None]


@contextlib.contextmanager
def follow(path: Path, label: str, on_row: OnRow | None) -> Iterator[None]:
    """Show the rows of a progress file as they come, in a thread of its own.

    Args:
        on_row: called in that thread with every row, as `mpo_core.training.run.train` gives them.
    """
    done = threading.Event()
    thread = threading.Thread(target=_show, args=(path, label, on_row, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _show(path: Path, label: str, on_row: OnRow | None, done: threading.Event) -> None:
    rest = ""
    with path.open(encoding="utf-8") as file, TrainingProgress(label, "starting workers") as shown:
        while True:
            last_look = done.wait(0.5)
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                row = json.loads(line)
                shown.row(row)
                if on_row:
                    on_row(row)
            if last_look:
                break
