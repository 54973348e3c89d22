"""A training's progress in the driver: what its first worker writes to a file, shown as a bar."""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mpo_core.progress import bar

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
    shown = bar(f"{label}: starting workers", None, 0, "steps")
    rest = ""
    with path.open(encoding="utf-8") as file:
        while True:
            last_look = done.wait(0.5)
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                row = json.loads(line)
                _advance(shown, label, row)
                if on_row:
                    on_row(row)
            if last_look:
                break
    shown.close()


def _advance(shown: tqdm, label: str, row: dict[str, Any]) -> None:
    if "status" in row:
        shown.set_description(f"{label}: {row['status']}")
        # The time left is of the steps from here on: those before a resumption cost nothing now.
        shown.initial = shown.n = row.get("resumed_from", shown.n)
        return
    if "warning" in row:
        shown.write(f"{label}: {row['warning']}", file=sys.stderr)
        return
    shown.total = row["max_steps"]
    shown.set_description(label, refresh=False)
    if "loss" not in row:
        return
    figures = {"loss": f"{row['loss']:.4f}"}
    if "rewards/margins" in row:
        figures |= {"margin": f"{row['rewards/margins']:.3f}"}
    shown.set_postfix(figures, refresh=False)
    shown.update(row["step"] - shown.n)
