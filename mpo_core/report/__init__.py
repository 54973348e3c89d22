"""What a run found: a summary for machines, pages for people, a picture, and each task's result,
from which reports of several runs are made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpo_core.files import write_records, write_text
from mpo_core.report.page import markdown
from mpo_core.report.plot import plot
from mpo_core.report.web import web_page
from mpo_core.types import TaskResult

RESULTS = "results.jsonl"
SUMMARY = "summary.json"
DETAILS = "details.json"
PAGE = "index.html"


def write_report(
    folder: Path,
    summary: Mapping[str, Any],
    results: Sequence[TaskResult],
    details: Mapping[str, Any] | None = None,
) -> None:
    """`results.jsonl`, `details.json` where there are any, `arms.png`, `report.md`, `index.html`,
    `summary.json`; the summary last, as the sign of a whole report.

    Args:
        details: what only the web page shows, of a single run: `mpo_core.report.details`.

    Raises:
        InputError: the folder cannot be written.
    """
    write_records(folder / RESULTS, results)
    if details is not None:
        write_text(folder / DETAILS, json.dumps(details, indent=1) + "\n")
    plot(summary, folder / "arms.png")
    write_text(folder / "report.md", markdown(summary))
    write_text(folder / PAGE, web_page(summary, details))
    write_text(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
