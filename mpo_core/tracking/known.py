"""What a queue holds, in short: by it, nothing is logged twice, also by a run that is started again
and comes by the same numbers anew."""

from collections import defaultdict
from typing import Any

from mpo_core.tracking.queue import Entry
from mpo_core.types import content_hash

IDENTITY = "mpo.identity"
"""The tag of an MLflow run that says which config's it is."""


class Known:
    """What is logged of the pipeline run that a queue was last begun for."""

    def __init__(self, top: str = "", identity: str = "") -> None:
        """
        Args:
            top: its key; empty before any is begun.
            identity: of all that decides its results.
        """
        self.top = top
        self.identity = identity
        self.runs: set[str] = set()
        self.tables: list[str] = []
        """Of the pipeline run itself."""
        self._steps: dict[tuple[str, str], set[int]] = defaultdict(set)
        self._last: dict[tuple[str, ...], Any] = {}

    def new(self, entry: Entry) -> Entry | None:
        """What of an entry is not logged yet; None where all is. It counts as logged from here on.

        A point of a curve is what was first logged of its step; of what has no steps, the last
        value counts.
        """
        op, run = entry["op"], entry.get("run", "")
        if op == "begin":
            if entry["kind"] in ("run", "sweep"):
                vars(self).update(vars(Known(run, entry["tags"].get(IDENTITY, ""))))
            self.runs.add(run)
        elif op == "metrics" and entry["step"] is not None:
            return self._points(entry)
        elif op in ("metrics", "tags"):
            values = {k: v for k, v in entry["values"].items() if self._differs(v, run, op, k)}
            return entry | {"values": values} if values else None
        elif op in ("table", "folder", "model"):
            if op == "table" and entry["name"] not in self.tables:
                self.tables.append(entry["name"])
            name = entry["planner"]["version"] if op == "model" else entry["name"]
            return entry if self._differs(entry["digest"], run, op, name) else None
        elif op == "inputs":
            found = entry["datasets"]
            some = [d for d in found if self._differs(True, run, op, d["name"], d["digest"])]
            return entry | {"datasets": some} if some else None
        elif op == "trace":
            return entry if self._differs(True, run, op, entry["id"]) else None
        return entry

    def _points(self, entry: Entry) -> Entry | None:
        step = entry["step"]
        values = {}
        for name, value in entry["values"].items():
            steps = self._steps[entry["run"], name]
            if step not in steps:
                steps.add(step)
                values[name] = value
        return entry | {"values": values} if values else None

    def _differs(self, value: Any, *key: str) -> bool:
        # NaN is the same NaN.
        short = value if isinstance(value, bool) else content_hash(repr(value), length=12)
        if self._last.get(key) == short:
            return False
        self._last[key] = short
        return True
