"""Runs logged to a real MLflow server: one that is lost in mid-run, and what its pages show."""

import json
import shutil
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from jobs.pipeline import run_pipeline
from jobs.run import Run
from jobs.tracked import description
from mpo_core.config import TrackingConfig
from mpo_core.hardware import free_port
from mpo_core.tracking import MlflowTracker
from mpo_core.tracking.sender import sync
from mpo_core.tracking.traces import trace_of
from mpo_core.tracking.tracker import DESCRIPTION
from tests.doors import config, open_doors
from tests.reported import results, summary
from tests.tracking_server import TrackingServer
from tests.viewed_run import TASKS, episode

CHROMIUM = shutil.which("chromium")
HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m\u202e"
TIMED = ("mpo.seconds", "mpo.tokens_per_s", "mpo.env_steps_per_s")
OWN = ("mpo.preset", "mpo.key", "mpo.identity", "mlflow.runName", "mlflow.parentRunId")
"""Tags in which runs of one config differ."""
RATES = ("tokens_per_s", "env_steps_per_s")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = TrackingServer(tmp_path_factory.mktemp("server"), free_port())
    found.start()
    yield found
    found.stop()


def finished(folder: Path, name: str, url: str) -> tuple[Path, dict, float]:
    """A run of the doors with tracking: its folder, its summary, and its seconds until its end."""
    tracking = {"uri": url, "wait_s": 60, "traces": 3, "system_metrics": False}
    asked = config(folder, name=name, tracking=tracking)
    started = time.monotonic()
    with Run(asked) as run:
        found = run_pipeline(run)
        seconds = time.monotonic() - started
    return asked.run_dir, found, seconds


@pytest.fixture(scope="module")
def two(server, tmp_path_factory):
    """A run whose server stays, and one whose server is lost before its evaluation and comes back
    after its end; with the seconds that each took."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        open_doors(patch)
        # On a slow machine, a curve would have points in between.
        patch.setattr("mpo_core.tracking.pace.EVERY_S", 1000)
        # Whatever is imported first is not to count.
        finished(folder, "first", server.url)
        kept, told, seconds = finished(folder, "kept", server.url)
        evaluate = run_pipeline.__globals__["evaluate"]

        def lose_it(run, tasks):
            while not run.tracker.run_id:
                time.sleep(0.05)
            server.stop()
            return evaluate(run, tasks)

        patch.setattr("jobs.pipeline.evaluate", lose_it)
        lost, told_too, seconds_too = finished(folder, "lost", server.url)
    server.start()
    assert told["table"] == told_too["table"]
    return (kept, seconds), (lost, seconds_too), told


def all_of(client: MlflowClient, run: Path) -> dict:
    """What MLflow has of a run, without what differs between two runs of one config."""
    top = client.get_run((run / "mlflow_run_id").read_text())
    found = client.search_runs([top.info.experiment_id])
    below = {top.info.run_id: "the run"}
    for _ in range(3):
        for one in found:
            above = below.get(one.data.tags.get("mlflow.parentRunId"))
            if above:
                below[one.info.run_id] = f"{one.info.run_name} of {above}"
    runs = {}
    for one in (r for r in found if r.info.run_id in below):
        runs[below[one.info.run_id]] = {
            "status": one.info.status,
            "params": {k: v for k, v in one.data.params.items() if k != "name"},
            "tags": {k: v for k, v in one.data.tags.items() if k not in TIMED + OWN},
            "metrics": {
                metric: [
                    (p.step, p.value)
                    for p in client.get_metric_history(one.info.run_id, metric)
                    if metric not in RATES
                ]
                for metric in one.data.metrics
                if not metric.startswith("system/")
            },
            "inputs": sorted((d.dataset.name, d.dataset.digest) for d in one.inputs.dataset_inputs),
            "artifacts": sorted(a.path for a in client.list_artifacts(one.info.run_id)),
            "report": sorted(a.path for a in client.list_artifacts(one.info.run_id, "report")),
        }
    assert len(runs) == len(below), "no name twice"
    traces = client.search_traces(
        locations=[top.info.experiment_id], run_id=top.info.run_id, max_results=100
    )
    told = sorted(
        (
            trace.info.tags["mpo.episode"],
            [span.name for span in trace.data.spans],
            sorted((a.name, a.feedback.value) for a in trace.info.assessments),
        )
        for trace in traces
    )
    return {"runs": runs, "traces": told}


def test_a_run_whose_server_is_lost_and_comes_back_has_all_of_it_once(server, two):
    (kept, _), (lost, _), _ = two
    client = MlflowClient(server.url)
    sent, refused = sync(lost, None)
    assert sent > 10 and refused == 0
    whole = all_of(client, lost)
    assert whole == all_of(client, kept)
    assert whole["runs"]["the run"]["status"] == "FINISHED"
    of = "of the run"
    stages = {f"round 1 {of}", f"scoring of round 1 {of}", f"plans {of}", f"evaluation {of}"}
    assert stages < whole["runs"].keys()
    assert len(whole["traces"]) == 6
    assert sync(lost, None) == (0, 0)
    # As where it was killed before it had noted that anything was sent.
    (lost / "tracking" / "sent.json").unlink()
    assert sync(lost, None)[0] > sent
    assert all_of(client, lost) == whole


def test_a_lost_server_makes_a_run_no_slower(two):
    (_, seconds), (_, without), _ = two
    assert without < 2 * seconds + 3


def test_of_an_episodes_trace_the_planners_call_is_the_parent_and_turns_are_below(server, two):
    (kept, _), _, _ = two
    client = MlflowClient(server.url)
    top = client.get_run((kept / "mlflow_run_id").read_text())
    [*traces] = client.search_traces(
        locations=[top.info.experiment_id],
        filter_string="tags.mpo.stage = 'scoring'",
        run_id=top.info.run_id,
    )
    for trace in traces:
        planner, played, *turns = trace.data.spans
        assert (planner.name, planner.parent_id, played.parent_id) == (
            "planner",
            None,
            planner.span_id,
        )
        assert planner.inputs["messages"] and planner.outputs["plan"]
        assert turns and {turn.parent_id for turn in turns} == {played.span_id}
        for turn in turns:
            assert turn.inputs["messages"] and turn.outputs["choices"]
            assert {"action", "observation", "reward"} <= turn.attributes.keys()


def test_planners_are_versions_with_their_run_and_the_best_has_an_alias(server, tmp_path):
    from mpo_core.tracking import PlannerVersion

    client = MlflowClient(server.url)
    tracking = TrackingConfig(uri=server.url, system_metrics=False)
    for name, earned in (("a", 0.5), ("b", 0.75), ("c", 0.75), ("d", 0.25)):
        run = tmp_path / name
        weights = run / "planner" / "mpo"
        weights.mkdir(parents=True)
        (weights / "adapter.bin").write_bytes(b"0" * 10)
        tracker = MlflowTracker(tracking, tmp_path, run, {})
        upload, tags = name == "b", {"mpo.learnt_from": "pairs/pairs abc (3 rows)"}
        made = PlannerVersion("mpo-planner", "mpo", weights, upload, tags, "tasks", earned)
        tracker.log_planner(made)
        tracker.end("FINISHED")
        files = {f.path for f in client.list_artifacts(tracker.run_id, "planner/mpo")}
        assert files == {f"planner/mpo/{'adapter.bin' if upload else 'where.json'}"}
    best = client.get_model_version_by_alias("mpo-planner", "best")
    assert best.tags["mpo.mean_reward"] == "0.75"
    assert best.run_id == (tmp_path / "b" / "mlflow_run_id").read_text()
    assert best.tags["mpo.learnt_from"] == "pairs/pairs abc (3 rows)"
    assert len(client.search_model_versions("name = 'mpo-planner'")) == 4


@pytest.fixture(scope="module")
def hostile(server, tmp_path_factory) -> str:
    """Id of a run whose name, arms, environment, table and episodes are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    run = folder / HOSTILE.replace("/", "")
    run.mkdir()
    config = TrackingConfig(uri=server.url, system_metrics=False)
    tracker = MlflowTracker(config, folder, run, {"key": HOSTILE}, tags={"mpo.preset": HOSTILE})
    arms = [*results(HOSTILE, "none", {"t": 0.25}), *results(HOSTILE, HOSTILE, {"t": 0.8125})]
    told = summary(arms)
    tracker.log_tags({DESCRIPTION: description(told)})
    tracker.log_metrics({"mean_reward/mpo": 0.8125})
    tracker.log_table("plans", [{"text": HOSTILE, "task": HOSTILE}])
    line = "x" * 1_000_000
    for number, text in enumerate((HOSTILE, line)):
        played = episode(number, HOSTILE, observation=text)
        asked = [{"role": "user", "content": text}]
        task = TASKS[number].model_copy(update={"description": HOSTILE, "type": HOSTILE})
        trace = trace_of(tracker.key, "evaluation", played, task, asked=asked, origin=HOSTILE)
        tracker.log_trace(trace)
    tracker.end("FINISHED")
    assert tracker.run_id
    return tracker.run_id


@pytest.fixture(scope="module")
def tab():
    """A page that fails the tests for a script of ours that ran in it."""
    if CHROMIUM is None:
        pytest.skip("no chromium here (make system)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        tab.set_default_timeout(60_000)
        tab.dialogs = []
        tab.on("dialog", lambda dialog: (tab.dialogs.append(dialog.message), dialog.dismiss()))
        yield tab
        browser.close()


def assert_inert(tab) -> None:
    assert tab.dialogs == []
    assert tab.locator("img[src='x']").count() == 0
    shown = tab.inner_text("body")
    assert not set(shown) & set("\x1b\u202e")


def test_mlflows_page_of_a_run_shows_its_headline_figures(server, two, tab):
    (kept, _), _, told = two
    experiment = MlflowClient(server.url).get_experiment_by_name("mpo").experiment_id
    run_id = (kept / "mlflow_run_id").read_text()
    tab.goto(f"{server.url}/#/experiments/{experiment}/runs/{run_id}")
    tab.get_by_text("mean_reward/base").first.wait_for()
    shown = " ".join(tab.inner_text("body").split())
    for arm, figures in told["arms"].items():
        assert f"mean_reward/{arm} {figures['mean_reward']:g}" in shown
    [row] = [row for row in told["table"] if row["arm"] == "base"]
    low, high = row["ci95"]
    assert f"{row['mean_reward']:.3f} [{low:.3f}, {high:.3f}]" in shown, "the description's table"


def test_hostile_texts_have_no_effect_in_mlflows_pages(server, hostile, tab):
    client = MlflowClient(server.url)
    experiment = client.get_experiment_by_name("mpo").experiment_id
    page = f"{server.url}/#/experiments/{experiment}/runs/{hostile}"
    tab.goto(page)
    tab.get_by_text("mean_reward/mpo").first.wait_for()
    assert "0.812 [0.812, 0.812]" in " ".join(tab.inner_text("body").split())
    assert "<script>alert(1)</script>" in tab.inner_text("body"), "shown as it is"
    assert_inert(tab)
    tab.goto(f"{page}/artifacts/plans.json")
    tab.get_by_text("<img src=x").first.wait_for()
    assert_inert(tab)
    [trace, *_] = client.search_traces(locations=[experiment], run_id=hostile)
    tab.goto(f"{page}/traces?selectedEvaluationId={quote(trace.info.trace_id)}")
    tab.get_by_text("turn 1").first.wait_for()
    assert_inert(tab)
    stored = json.dumps([span.to_dict() for span in trace.data.spans])
    assert len(stored) < 300_000
