"""The documentation's site: `make docs` builds it, and fails for a broken link or a page left out.

Its pages are the Markdown files that are read in the repository too, where they lie. Those of
`reference/` are filled in as they are read, each by the module of its name beside it, from the
config's classes, the command line and the docstrings.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
ROOT = HERE.parent

PAGES = {
    "Begin": ["docs/tutorial", "docs/concepts", "docs/demo"],
    "Of your own": [
        *("docs/models", "docs/endpoints", "docs/own-environment", "docs/environments"),
        *("docs/paper", "docs/notebook"),
    ],
    "On a cluster": ["docs/cluster", "slurm/README", "k8s/README"],
    "Look at it": ["docs/looking", "docs/tracking", "docs/export"],
    "Your own agent": ["docs/proxy", "docs/feedback"],
    "The method": [
        *("docs/training", "docs/scoring", "docs/evaluation"),
        *("docs/sandbox/README", "docs/sandbox/studies", "docs/sandbox/scienceworld"),
        "docs/sandbox/results/report",
    ],
    "Speed": ["docs/speed", "docs/serving-speed", "docs/training-speed"],
    "Reference": [
        *("docs/reference/configuration", "docs/reference/commands", "docs/reference/api"),
        *("docs/guarantees", "docs/layout", "CONTRIBUTING", "CHANGELOG"),
    ],
}
"""Title -> pages, in the order of the navigation: files of the repository, without `.md`."""

TITLES = {"docs/sandbox/results/report": "Five seeds of the sandbox"}
"""What the navigation calls a page whose own title says too little there."""


def navigation() -> str:
    """The front page's hidden tables of contents, one a title."""
    return "\n".join(
        f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{_lines(pages)}\n```\n"
        for title, pages in PAGES.items()
    )


def _lines(pages: list[str]) -> str:
    return "\n".join(f"{TITLES[p]} </{p}>" if p in TITLES else f"/{p}" for p in pages)


def filler(page: str) -> ModuleType | None:
    """The module that fills a page of `reference/` in, if it has one."""
    path = ROOT / f"{page}.py"
    if path.parent != HERE / "reference" or not path.exists():
        return None
    spec = importlib.util.spec_from_file_location(f"reference_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What Sphinx reads.
project = "mpo-suite"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["README.md", *(f"{page}.md" for pages in PAGES.values() for page in pages)]
# Walked otherwise, with all that lies in them.
exclude_patterns = [".*", "runs", "site", "build", "dist", "tests"]
suppress_warnings = ["myst.header"]  # A page of the reference goes on in headings of its own.
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "model_config"}
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
html_theme = "furo"
html_title = "mpo-suite"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
templates_path = ["theme"]
html_additional_pages = {"index": "index.html"}
# No highlighting where a block does not say what it is: shell lines, trees, output.
highlight_language = "none"


def _filled_in(app, page: str, source: list[str]) -> None:
    if page == root_doc:
        source[0] += "\n" + navigation()
    module = filler(page)
    if module:
        source[0] += "\n" + module.markdown()


def _in_markdown(*event) -> None:
    """Docstrings quote code by one backtick, as Markdown does; Sphinx reads two."""
    lines: list[str] = event[-1]
    lines[:] = [line if "``" in line else line.replace("`", "``") for line in lines]


def setup(app) -> None:
    app.connect("source-read", _filled_in)
    app.connect("autodoc-process-docstring", _in_markdown, priority=100)
