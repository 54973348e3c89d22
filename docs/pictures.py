"""The docs' pictures of a run: its pages in `mpo view`, and its report; of two runs, MLflow's.

    python docs/pictures.py runs/sandbox-seed0
    python docs/pictures.py runs/sandbox-seed0 --beside runs/sandbox-seed1

Each is a page in Chromium (`make system`), made small by fewer colours.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import httpx
from mlflow import MlflowClient
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from jobs.view.index import RunIndex
from jobs.view.records import Records
from jobs.view.serve import served_here
from mpo_core.hardware import free_port
from mpo_core.tracking.sender import sync

IMAGES = Path(__file__).parent / "images"
WIDE, NARROW = (1440, 900), (390, 844)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("--beside", type=Path, help="another, for MLflow's pages of both alone")
    asked = parser.parse_args()
    run = asked.run.resolve()
    if asked.beside:
        mlflow_pictures([run, asked.beside.resolve()])
        return
    example = json.loads((run / "report" / "summary.json").read_text(encoding="utf-8"))["example"]
    with served_here([run]) as base, sync_playwright() as driver:
        browser = chromium(driver)
        lost, won = two_episodes(run, example)
        asked = f"run={run.name}"
        episodes = f"{base}/episodes?{asked}&stage=evaluation&planner={example['arm_a']}"
        compared = f"{base}/compare?{asked}&a={lost}&b={won}"
        report = (run / "report" / "index.html").as_uri()
        picture(browser, episodes, "episodes", WIDE, "light")
        picture(browser, compared, "compare", WIDE, "light")
        picture(browser, compared, "compare-dark", WIDE, "dark")
        picture(browser, f"{base}/episode?{asked}&key={won}", "episode-narrow", NARROW, "light")
        picture(browser, report, "report", WIDE, "light")
        picture(browser, report, "report-dark", WIDE, "dark")
        picture(browser, report, "report-narrow", NARROW, "dark")
        browser.close()


def two_episodes(run: Path, example: dict[str, str]) -> tuple[str, str]:
    """Of the report's two plans side by side, an episode of each."""
    index = RunIndex(run)
    for _ in index.refresh():
        pass
    found = Records(index).episodes({"task_id": example["task_id"], "stage": "evaluation"}).rows
    keys = {Records(index).episode(row).plan: row["key"] for row in found}
    index.close()
    return keys[example["plan_b"]], keys[example["plan_a"]]


def mlflow_pictures(runs: list[Path]) -> None:
    """MLflow's two views of several runs, from a server of their own."""
    with TemporaryDirectory() as folder, mlflow_served(Path(folder)) as base:
        for run in runs:
            sync(run, base)
        client = MlflowClient(base)
        experiment = client.get_experiment_by_name("mpo").experiment_id
        found = client.search_runs([experiment], "tags.mpo.kind = 'run'")
        ids, experiments = (
            quote(json.dumps(them)) for them in ([run.info.run_id for run in found], [experiment])
        )
        ours = "workflowType=machine_learning"
        charts = f"{base}/#/experiments/{experiment}/runs?{ours}&compareRunsMode=CHART"
        compared = f"{base}/#/compare-runs?runs={ids}&experiments={experiments}&{ours}"
        with sync_playwright() as driver:
            browser = chromium(driver)
            picture(browser, charts, "mlflow-charts", WIDE, "light", prepare=settled)
            picture(browser, compared, "mlflow-compare", WIDE, "light", prepare=differences)
            browser.close()


@contextmanager
def mlflow_served(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", f"--port={port}", "--workers=1"]
    command += [f"--backend-store-uri=sqlite:///{folder}/mlflow.db"]
    command += [f"--artifacts-destination={folder}/artifacts"]
    process = subprocess.Popen(command, start_new_session=True)
    base = f"http://127.0.0.1:{port}"
    while not answers(f"{base}/health"):
        time.sleep(0.2)
    yield base
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.TransportError:
        return False


def settled(page: Page) -> None:
    page.get_by_text("mean_reward/mpo").first.wait_for()
    page.wait_for_timeout(3000)


def differences(page: Page) -> None:
    """The page of a comparison, without its plots and without what is the same for all."""
    page.get_by_text("Show diff only").nth(1).wait_for()
    page.get_by_text("Visualizations").click()
    page.get_by_text("Run details").click()
    for which in range(2):  # Of parameters and metrics.
        page.get_by_text("Show diff only").nth(which).click()
    page.get_by_text("Visualizations").scroll_into_view_if_needed()
    page.wait_for_timeout(1000)


def chromium(driver: Playwright) -> Browser:
    return driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])


def picture(
    browser: Browser,
    address: str,
    name: str,
    size: tuple[int, int],
    scheme: str,
    *,
    prepare: Callable[[Page], None] = lambda page: None,
) -> None:
    width, height = size
    with browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme
    ) as context:
        # MLflow opens an assistant beside its pages.
        context.add_init_script(
            "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
        )
        page = context.new_page()
        page.goto(address)
        prepare(page)
        page.screenshot(path=IMAGES / f"{name}.png")
    path = IMAGES / f"{name}.png"
    Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(
        path, optimize=True
    )


if __name__ == "__main__":
    main()
