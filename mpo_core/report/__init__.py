"""What a run found: a summary for machines, a page for people, a picture, and each task's result,
from which reports of several runs are made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpo_core.files import write_records, write_text
from mpo_core.report.page import markdown
from mpo_core.report.plot import plot
from mpo_core.types import TaskResult

RESULTS = "results.jsonl"
SUMMARY = "summary.json"


def write_report(folder: Path, summary: Mapping[str, Any], results: Sequence[TaskResult]) -> None:
    """`results.jsonl`, `arms.png`, `report.md`, `summary.json`; the summary last, as the sign of a
    whole report. Raises InputError where the folder cannot be written."""
    write_records(folder / RESULTS, results)
    plot(summary, folder / "arms.png")
    write_text(folder / "report.md", markdown(summary))
    write_text(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
