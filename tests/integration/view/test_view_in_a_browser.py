"""The viewer's pages in Chromium, by keyboard and by eye, as far as a program has one: axe."""

import shutil

import pytest

from jobs.view.serve import served_here
from tests.viewed_run import TASKS, append, episode, viewed_run

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (make system)")
WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")
HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m\u202e"


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        # Root may not have Chromium's own sandbox; the pages are the test's.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """A page that fails the test for what its console has to complain of."""
    complaints: list[str] = []
    tab = chromium.new_page()
    tab.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else 0)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: (complaints.append("a dialog"), dialog.dismiss()))
    yield tab
    tab.close()
    assert complaints == []


@pytest.fixture
def run(tmp_path):
    return viewed_run(tmp_path / "run")


def all_read(tab, base: str, episodes: int) -> None:
    tab.goto(f"{base}/episodes?run=run")
    tab.get_by_text(f"{episodes} episodes").wait_for()


def test_every_page_is_accessible_in_light_and_dark_wide_and_narrow(chromium, run):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    key, other = f"{0:020x}", f"{4:020x}"
    addresses = [
        "/",
        "/episodes?run=run",
        f"/episode?run=run&key={key}",
        f"/compare?run=run&a={key}&b={other}",
        f"/task?run=run&id={TASKS[0].id}",
        "/pairs?run=run",
        "/pair?run=run&file=pairs&number=1",
        "/nowhere",
    ]
    with served_here([run]) as base:
        for scheme in SCHEMES:
            with chromium.new_context(color_scheme=scheme) as context:
                tab = context.new_page()
                all_read(tab, base, 8)
                for address in addresses:
                    tab.goto(base + address)
                    found = axe.run(tab).response["violations"]
                    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], address
                    for width in WIDTHS:
                        tab.set_viewport_size({"width": width, "height": 800})
                        wide = tab.evaluate("document.documentElement.scrollWidth")
                        assert wide <= width, (address, width)


def test_two_episodes_are_marked_and_compared_by_keyboard(tab, run):
    with served_here([run]) as base:
        all_read(tab, base, 8)
        tab.goto(f"{base}/episodes?run=run&task_id={TASKS[0].id}&sort=oldest")
        for key in ("j", "x", "j", "x", "c"):
            tab.keyboard.press(key)
        tab.wait_for_url("**/compare?*")
        assert tab.locator("polyline").count() == 2
        assert tab.get_by_text("take thing 2 from shelf 1", exact=True).count() == 1
        assert tab.get_by_text("no action: no action line").count() == 1


def test_an_episode_is_opened_left_and_searched_for_by_keyboard(tab, run):
    with served_here([run]) as base:
        all_read(tab, base, 8)
        tab.goto(f"{base}/episodes?run=run&sort=oldest")
        tab.keyboard.press("j")
        tab.keyboard.press("Enter")
        tab.wait_for_url(f"**/episode?*{0:020x}")
        tab.keyboard.press("n")
        tab.wait_for_url(f"**/episode?*{1:020x}")
        tab.keyboard.press("p")
        tab.wait_for_url(f"**/episode?*{0:020x}")
        tab.goto(f"{base}/episodes?run=run")
        tab.keyboard.press("/")
        tab.keyboard.type("thing 3.")
        tab.keyboard.press("Enter")
        tab.get_by_text("found in the texts").wait_for()
        assert tab.locator("tbody tr").count() == 2


def test_the_table_follows_a_run_that_goes_on(tab, run):
    with served_here([run]) as base:
        all_read(tab, base, 8)
        append(run, [episode(number) for number in range(8, 11)])
        tab.get_by_text("11 episodes").wait_for()
        assert tab.locator("tbody tr").count() == 11


def test_hostile_text_runs_nothing(tab, run):
    hostile = episode(9, HOSTILE, observation=HOSTILE + "y" * 1_000_000)
    append(run, [hostile])
    with served_here([run]) as base:
        all_read(tab, base, 9)
        for address in (
            f"/episode?run=run&key={hostile.key}",
            f"/plan?run=run&id={hostile.plan_id}",
            f"/task?run=run&id={hostile.task_id}",
            f"/compare?run=run&a={hostile.key}&b={1:020x}",
        ):
            tab.goto(base + address)
            assert tab.locator("img, script:not([src])").count() == 0
