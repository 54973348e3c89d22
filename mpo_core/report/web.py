"""The report as a web page: one file, without scripts, that opens from the disk."""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup, escape

from mpo_core.inert import inert, shortened
from mpo_core.pages import templates
from mpo_core.report.arms import arm_name
from mpo_core.report.conduct import conduct_rows, conduct_warnings
from mpo_core.report.feedback import (
    DIFFERENCES,
    difference_rows,
    feedback_counts,
    version_rows,
)
from mpo_core.report.gain import gains, imitation
from mpo_core.report.page import (
    PAIRED,
    PREFERRED,
    SEEDS,
    amounts,
    headline,
    interval_words,
    paired_rows,
    round_rows,
    sampled_words,
    shuffled_words,
    stage_rows,
    table_rows,
    title,
    training_rows,
    type_rows,
)
from mpo_core.report.spending import spending_rows, spending_words

VIEWER = "http://127.0.0.1:8270"
"""Where `mpo view` shows the run's episodes, unless told otherwise."""
COMPARED = (re.compile(r"\s+|\S+"), re.compile(r"[^\n]*\n|[^\n]+"), re.compile(r".+", re.DOTALL))
"""What two texts are compared by: words, lines, or whole."""
MOST_COMPARED = 2000
"""Of a text's words or lines, a fifth of a second where all are alike: it grows as their square."""
Summary = Mapping[str, Any]


def web_page(summary: Summary, details: Mapping[str, Any] | None = None) -> str:
    """The page of a report.

    Args:
        details: what `mpo_core.report.details` says of a single run.
    """
    pages = templates("mpo_core.report")
    pages.globals |= {"marked": _marked, "seen": _seen, "coded": _coded}
    drawn = summary.get("sampled", {"table": [], "paired": []})
    found = summary.get("feedback", {"differences": [], "versions": []})
    return pages.get_template("report.html").render(
        summary=summary,
        details=details or {},
        title=title(summary),
        amounts=amounts(summary),
        openings=[*gains(summary), *imitation(summary)],
        warnings=[
            *conduct_warnings(summary.get("conduct", [])),
            *(
                f"{version}: {warning}"
                for version, training in summary.get("trainings", {}).items()
                for warning in training["warnings"]
            ),
        ],
        table=table_rows(headline(summary)),
        interval=interval_words(summary),
        shuffled=shuffled_words(summary),
        seeds=SEEDS if summary.get("runs") else "",
        dots=_dots(headline(summary), headline(drawn) if drawn["table"] else []),
        drawn=table_rows(headline(drawn)) if drawn["table"] else None,
        drawn_words=sampled_words(summary),
        paired=paired_rows(summary["paired"], drawn["paired"]) if summary["paired"] else None,
        paired_words=PAIRED,
        differences=difference_rows(found["differences"]) if found["differences"] else None,
        differences_words=DIFFERENCES,
        versions=version_rows(found["versions"]) if found["versions"] else None,
        feedback=feedback_counts(summary) if "feedback" in summary else "",
        types=type_rows(summary["types"]),
        conduct=conduct_rows(summary["conduct"]) if summary.get("conduct") else None,
        trainings=training_rows(summary["trainings"]) if summary.get("trainings") else None,
        trainings_words=PREFERRED,
        rounds=round_rows(summary.get("rounds", [])),
        stages=stage_rows(summary),
        spending=spending_rows(summary["spending"]) if summary.get("spending") else None,
        spending_words=spending_words(summary["spending"]) if summary.get("spending") else "",
        curves=[_lines(*curve) for curve in _curves(details or {})],
    )


def _dots(rows: Sequence[Summary], drawn: Sequence[Summary]) -> list[dict[str, Any]]:
    """A picture for each environment and split: each arm's mean and interval, in per cent."""
    pictures: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        place = row["env"], row["split"]
        picture = pictures.setdefault(place, {"place": " ".join(place), "arms": []})
        also = [o for o in drawn if (o["env"], o["split"], o["arm"]) == (*place, row["arm"])]
        picture["arms"].append(
            {
                "name": arm_name(row["arm"]),
                "of": [
                    {"mean": one["mean_reward"], "low": one["ci95"][0], "high": one["ci95"][1]}
                    for one in (row, *also)
                ],
            }
        )
    return list(pictures.values())


def _curves(details: Summary) -> list[tuple[str, str, list[list[float]]]]:
    return [
        (version, name, points)
        for version, of_version in details.get("curves", {}).items()
        for name, points in of_version.items()
    ]


def _lines(version: str, name: str, points: list[list[float]]) -> dict[str, Any]:
    """A curve in a picture of 300 x 100."""
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    width, height = max(steps) - min(steps) or 1, high - low or 1
    return {
        "title": f"{version}: {name}",
        "from": values[0],
        "to": values[-1],
        "steps": int(max(steps)),
        "points": " ".join(
            f"{300 * (step - min(steps)) / width:.1f},{96 - 92 * (value - low) / height:.1f}"
            for step, value in points
        ),
    }


def _marked(before: str, after: str) -> tuple[Markup, Markup]:
    """Two texts with the words marked in which they differ; of long ones, the lines."""
    texts = [inert(shortened(text)) for text in (before, after)]
    for parts in COMPARED:
        one, other = (parts.findall(text) for text in texts)
        if max(len(one), len(other)) <= MOST_COMPARED:
            break
    left, right = [], []
    for kind, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        gone, come = escape("".join(one[a:b])), escape("".join(other[c:d]))
        left.append(gone if kind == "equal" or not gone else Markup("<del>{}</del>").format(gone))
        right.append(come if kind == "equal" or not come else Markup("<ins>{}</ins>").format(come))
    return Markup("").join(left), Markup("").join(right)


def _coded(text: str) -> Markup:
    """A sentence whose words in backticks are code."""
    parts = re.split(r"`([^`]+)`", inert(text))
    shown = (
        Markup("<code>{}</code>").format(p) if n % 2 else escape(p) for n, p in enumerate(parts)
    )
    return Markup("").join(shown)


def _seen(summary: Summary, task_id: str) -> str:
    """Where the viewer shows a task's plans and episodes."""
    return f"{VIEWER}/task?{urlencode({'run': summary['name'], 'id': task_id})}"
