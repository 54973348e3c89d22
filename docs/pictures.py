"""The docs' pictures of a run: its pages in `mpo view`, and its report.

    python docs/pictures.py runs/sandbox-seed0

Each is a page in Chromium (`make system`), made small by fewer colours.
"""

import argparse
import json
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from jobs.view.index import RunIndex
from jobs.view.records import Records
from jobs.view.serve import served_here

IMAGES = Path(__file__).parent / "images"
WIDE, NARROW = (1440, 900), (390, 844)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path, help="a finished run")
    run = parser.parse_args().run.resolve()
    example = json.loads((run / "report" / "summary.json").read_text(encoding="utf-8"))["example"]
    with served_here([run]) as base, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
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


def picture(browser: Browser, address: str, name: str, size: tuple[int, int], scheme: str) -> None:
    width, height = size
    with browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme
    ) as context:
        page = context.new_page()
        page.goto(address)
        page.screenshot(path=IMAGES / f"{name}.png")
    path = IMAGES / f"{name}.png"
    Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(
        path, optimize=True
    )


if __name__ == "__main__":
    main()
