"""The pages: read only, of the runs that were named, and of nothing else.

Invariants:
- Only GET is answered, at the addresses below. A run, file or record is looked up by its name among
  those there are; no part of an address becomes a path.
- What a model, an environment or a run's name says is text: escaped, and without its control
  characters. The pages load nothing from elsewhere and run no script but their own.
"""

import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.view.index import RunIndex
from jobs.view.records import PAGE, SORTS, Gone, Records
from jobs.view.steps import reached, steps_of
from mpo_core.errors import InputError
from mpo_core.pages import templates
from mpo_core.report import PAGE as PAGE_OF_REPORT
from mpo_core.report import SUMMARY
from mpo_core.run_folder import RunFolder
from mpo_core.textfile import read_notes
from mpo_core.types import Episode

REFRESH_SECONDS = 1.0
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
REPORT_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
"""Of a report, a page of its own with its style in it."""
FILES = {"view.css": "text/css", "view.js": "text/javascript"}
LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]


@dataclass
class Viewed:
    """A run that is shown."""

    name: str
    folder: Path
    index: RunIndex
    lock: threading.Lock = field(default_factory=threading.Lock)
    """The index is one thread's at a time."""

    @property
    def records(self) -> Records:
        return Records(self.index)

    @property
    def summary(self) -> dict[str, Any]:
        """The report's; empty before there is one, and where it is damaged."""
        try:
            summary = read_notes(RunFolder(self.folder).report / SUMMARY)
            arms = summary.get("arms", {}).values()
            whole = all({"mean_reward", "ci95"} <= of_arm.keys() for of_arm in arms)
        except (InputError, AttributeError):
            return {}
        return summary if whole else {}

    @property
    def report(self) -> Path:
        """The report's page; not there before there is one."""
        return RunFolder(self.folder).report / PAGE_OF_REPORT

    def refresh(self, stop: threading.Event) -> None:
        """Takes in what the run has got since, and lets the pages have their turns in between."""
        lines = self.index.refresh()
        while not stop.is_set():
            with self.lock:
                if next(lines, None) is None:
                    return


def viewer(folders: Sequence[Path], hosts: Sequence[str] = ()) -> Starlette:
    """The application over the folders of runs.

    Args:
        hosts: names by which it may be asked, besides this machine's own for itself.
    """
    runs: dict[str, Viewed] = {}
    for folder in folders:
        name = _unused(os.fsencode(folder.name).decode(errors="backslashreplace"), runs)
        runs[name] = Viewed(name, folder, RunIndex(folder))
    stop = threading.Event()

    def keep_up() -> None:
        while not stop.is_set():
            for run in runs.values():
                with suppress(sqlite3.Error):  # As a full disk; the next time it may be another.
                    run.refresh(stop)
            stop.wait(REFRESH_SECONDS)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        thread = threading.Thread(target=keep_up, daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join()
        for run in runs.values():
            run.index.close()

    pages = Pages(runs)
    return Starlette(
        routes=[
            Route("/", pages.home),
            Route("/episodes", pages.episodes),
            Route("/episode", pages.episode),
            Route("/compare", pages.compare),
            Route("/task", pages.task),
            Route("/plan", pages.plan),
            Route("/pairs", pages.pairs),
            Route("/pair", pages.pair),
            Route("/report", pages.report),
            Route("/state", pages.state),
            Route("/static/{name}", pages.static),
        ],
        middleware=[
            Middleware(
                TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, *hosts], www_redirect=False
            ),
            Middleware(OnlyGet),
        ],
        exception_handlers={HTTPException: pages.refused, Gone: pages.gone},
        lifespan=lifespan,
    )


class OnlyGet:
    """Refuses whatever else is asked, and sends the headers that keep a page to itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                added = [header for header in own if header[0] not in given]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        if scope["type"] == "http" and scope["method"] != "GET":
            refusal = PlainTextResponse("only GET is answered\n", 405, {"allow": "GET"})
            await refusal(scope, receive, with_headers)
        elif scope["type"] != "websocket":
            await self._app(scope, receive, with_headers)


class Pages:
    """One method a page; Starlette runs each in a thread of its own."""

    def __init__(self, runs: Mapping[str, Viewed]) -> None:
        self._runs = runs
        self._templates = templates("jobs.view")
        self._templates.globals |= {"link": _link, "runs": runs}

    def home(self, request: Request) -> Response:
        shown = []
        for run in self._runs.values():
            with run.lock:
                shown.append((run, run.records.count(), run.index.behind(), run.summary))
        arms = list(dict.fromkeys(arm for *_, summary in shown for arm in summary.get("arms", {})))
        arms.sort(key=lambda arm: arm != "mpo")  # What a small screen shows first.
        return self._page("home.html", shown=shown, arms=arms)

    def episodes(self, request: Request) -> Response:
        run, page = self._run(request), _page(request)
        asked = {key: value for key, value in request.query_params.items() if value}
        if "searched" in asked:
            _number(asked["searched"])
        with run.lock:
            try:
                found = run.records.episodes(asked, page)
            except ValueError as error:
                raise HTTPException(400, f"a filter's number is none: {error}") from error
            choices = run.records.choices()
        _require_page(page, found.rows)
        return self._page(
            "episodes.html", run=run, found=found, choices=choices, asked=asked, page=page,
            per_page=PAGE, sorts=SORTS,
        )  # fmt: skip

    def episode(self, request: Request) -> Response:
        run = self._run(request)
        told = self._told(run, request.query_params.get("key", ""))
        with run.lock:
            before, after = run.records.neighbours(told["row"])
        return self._page("episode.html", run=run, **told, before=before, after=after)

    def compare(self, request: Request) -> Response:
        sides = []
        for side in ("a", "b"):
            run = self._run(request, f"run_{side}", request.query_params.get("run", ""))
            sides.append((run, self._told(run, request.query_params.get(side, ""))))
        turns = max(len(told["episode"].turns) for _, told in sides)
        return self._page("compare.html", sides=sides, turns=turns)

    def task(self, request: Request) -> Response:
        run, task_id = self._run(request), request.query_params.get("id", "")
        with run.lock:
            task, plans = run.records.task(task_id), run.records.plans(task_id)
            found = run.records.episodes({"task_id": task_id, "sort": "reward"})
        if task is None and not plans and not found.rows:
            raise HTTPException(404, "no such task in this run")
        return self._page("task.html", run=run, id=task_id, task=task, plans=plans, found=found)

    def plan(self, request: Request) -> Response:
        run, plan_id = self._run(request), request.query_params.get("id", "")
        with run.lock:
            plan = run.records.plan(plan_id)
            found = run.records.episodes({"plan_id": plan_id, "sort": "oldest"})
            task = run.records.task(plan["task_id"]) if plan else None
        if plan is None:
            raise HTTPException(404, "no such plan in this run")
        return self._page("plan.html", run=run, plan=plan, task=task, found=found)

    def pairs(self, request: Request) -> Response:
        run, page = self._run(request), _page(request)
        with run.lock:
            names = run.records.pair_files()
            name = request.query_params.get("file", names[0] if names else "")
            rows, total = run.records.pairs(name, page)
        _require_page(page, rows)
        return self._page(
            "pairs.html", run=run, names=names, name=name, rows=rows, total=total, page=page,
            per_page=PAGE,
        )  # fmt: skip

    def pair(self, request: Request) -> Response:
        run, name = self._run(request), request.query_params.get("file", "")
        number = _number(request.query_params.get("number", ""))
        with run.lock:
            found = run.records.pair(name, number)
            if found is None:
                raise HTTPException(404, "no such pair in this run")
            row, pair = found
            sides = [
                (word, pair_score, answer[-1]["content"], self._of_plan(run, pair_score.plan_id))
                for word, pair_score, answer in (
                    ("chosen", pair.chosen_score, pair.chosen),
                    ("rejected", pair.rejected_score, pair.rejected),
                )
            ]
            task, total = run.records.task(pair.task_id), run.records.pairs(name)[1]
        return self._page(
            "pair.html", run=run, row=row, pair=pair, sides=sides, task=task, total=total
        )

    def report(self, request: Request) -> Response:
        """The report's own page, as its file is: it has no scripts, and none would run."""
        try:
            text = self._run(request).report.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise HTTPException(404, "this run has no report yet") from error
        return HTMLResponse(text, headers=REPORT_HEADERS)

    def state(self, request: Request) -> Response:
        """For a page that follows a run: changes when there is something new to show."""
        run = self._run(request)
        with run.lock:
            return JSONResponse({"episodes": run.records.count(), "behind": run.index.behind()})

    def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            raise HTTPException(404)
        text = files("jobs.view").joinpath("static", name).read_text(encoding="utf-8")
        return Response(text, media_type=FILES[name])

    def refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        html = self._templates.get_template("refused.html").render(why=error.detail)
        return HTMLResponse(html, error.status_code)

    def gone(self, request: Request, error: Exception) -> Response:
        return self.refused(request, HTTPException(404, f"{error} was changed or removed"))

    def _page(self, template: str, **values: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(**values))

    def _run(self, request: Request, key: str = "run", default: str = "") -> Viewed:
        name = request.query_params.get(key, default)
        if name not in self._runs:
            raise HTTPException(404, "no such run is shown here")
        return self._runs[name]

    def _told(self, run: Viewed, key: str) -> dict[str, Any]:
        """An episode, turn by turn, and the steps of its plan as its actions reach them."""
        with run.lock:
            row = run.records.episode_row(key)
            if row is None:
                raise HTTPException(404, "no such episode in this run")
            episode, task = run.records.episode(row), run.records.task(row["task_id"])
        steps = steps_of(episode.plan or "")
        at = reached(steps, [turn.action for turn in episode.turns])
        return {
            "row": row,
            "episode": episode,
            "task": task,
            "steps": list(zip(steps, at, strict=True)),
            "reached": {turn: number for number, turn in enumerate(at, 1) if turn is not None},
            "curve": _curve(episode),
        }

    @staticmethod
    def _of_plan(run: Viewed, plan_id: str) -> list[Any]:
        return run.records.episodes({"plan_id": plan_id, "sort": "oldest"}).rows


def _curve(episode: Episode) -> str:
    """The points of the best score after each turn, in an SVG of 100 x 40."""
    scores = [0.0, *(turn.score for turn in episode.turns)]
    step = 100 / max(1, len(scores) - 1)
    return " ".join(f"{i * step:.2f},{38 - 36 * score:.2f}" for i, score in enumerate(scores))


def _unused(name: str, taken: Mapping[str, Viewed]) -> str:
    """The name, with a number where it is taken."""
    names = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    return next(one for one in names if one not in taken)


def _link(path: str, **values: Any) -> str:
    """An address of these pages."""
    given = {key: value for key, value in values.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def _page(request: Request) -> int:
    return max(1, _number(request.query_params.get("page", "1")))


def _require_page(page: int, rows: Sequence[Any]) -> None:
    """That a page after the first has something to show."""
    if page > 1 and not rows:
        raise HTTPException(404, f"there is no page {page}; the first is there")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise HTTPException(404, "a number is expected there")
    return int(text)
