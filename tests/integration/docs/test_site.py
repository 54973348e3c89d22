"""`make docs`: the site, built strictly, whose pages ask nothing of elsewhere."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.commandline import ROOT
from tests.documents import module

FETCHED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"([^\"]+)\"")
STYLES = re.compile(r"<link\b(?=[^>]*\brel=\"(?:stylesheet|icon)\")[^>]*?\bhref=\"([^\"]+)\"")
LINKS = re.compile(r"<a\b[^>]*?\bhref=\"([^\"]+)\"")
FROM_ELSEWHERE = re.compile(r"@import|url\(\s*['\"]?(?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet"]
    command += ["--conf-dir", str(ROOT / "docs"), str(ROOT), str(out)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_of_the_navigation_is_built(site):
    conf = module("docs/conf.py")
    listed = {page for pages in conf.PAGES.values() for page in pages}
    assert [page for page in listed if not (site / f"{page}.html").is_file()] == []
    front = (site / "README.html").read_text("utf-8")
    assert all(f'href="{page}.html"' in front for page in listed)
    assert "url=README.html" in (site / "index.html").read_text("utf-8")


def test_a_page_fetches_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        fetched = [*FETCHED.findall(text), *STYLES.findall(text)]
        assert [one for one in fetched if urlsplit(one).netloc] == [], page.name
    for style in site.rglob("*.css"):
        assert not FROM_ELSEWHERE.search(style.read_text("utf-8")), style.name


def test_links_within_the_site_lead_somewhere(site):
    for page in site.rglob("*.html"):
        for link in LINKS.findall(page.read_text("utf-8")):
            address = urlsplit(link)
            if not address.scheme and address.path:
                assert (page.parent / unquote(address.path)).is_file(), f"{page.name}: {link}"


def test_the_reference_is_filled_in(site):
    reference = {page.stem: page.read_text("utf-8") for page in site.glob("docs/reference/*.html")}
    assert "planner.rft.training" in reference["configuration"]
    assert "Plans sampled for each training task" in reference["configuration"]
    assert "mpo sweep" in reference["commands"] and "--dry-run" in reference["commands"]
    assert 'id="mpo_core.play"' in reference["api"]
    assert 'id="mpo_core.envs.base.Suite.tasks"' in reference["api"]
