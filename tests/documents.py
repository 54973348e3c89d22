"""The documentation as its readers meet it: pages, their links, and the commands that they show."""

import importlib.util
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from types import ModuleType

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.commandline import ROOT

COMMAND_ENDS = (";", "|", "&", "&&", "||", ">", ">>")


def module(path: str) -> ModuleType:
    """A module of `docs/`, which is no package."""
    name = path.removesuffix(".py").replace("/", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@cache
def pages() -> list[str]:
    """Every page of the repository: its Markdown files but the cards of models."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in files.split() if not name.startswith("mpo_core/")]


def links(page: str) -> list[str]:
    """Where a page's links and pictures lead."""
    return [
        str(token.attrs.get("href") or token.attrs.get("src"))
        for token in _inline(page)
        if token.type in ("link_open", "image")
    ]


def anchors(page: str) -> set[str]:
    """The headings of a page as links name them (`page.md#heading`), by GitHub's rule."""
    tokens = _parsed(page)
    seen: Counter[str] = Counter()
    found = set()
    for opening, heading in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        words = "".join(one.content for one in heading.children or ())
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    fenced = (token for token in _parsed(page) if token.type == "fence")
    return [token.content for token in fenced if token.info.strip() == language]


def commands(page: str) -> list[list[str]]:
    """The `mpo` commands of a page's blocks, each by its words."""
    lines = [line for token in _parsed(page) if token.type == "fence" for line in _lines(token)]
    return [words for line in lines for words in in_line(line)]


def mentioned(page: str) -> list[list[str]]:
    """The `mpo` commands within a page's sentences, which may leave out what is clear."""
    text = (ROOT / page).read_text("utf-8")
    return [words for code in quoted(text) for words in in_line(code)]


def quoted(text: str) -> list[str]:
    """What stands between backticks in Markdown and begins as a command of `mpo`."""
    tokens = (inner for token in MarkdownIt().parse(text) for inner in token.children or ())
    return [t.content for t in tokens if t.type == "code_inline" and t.content.startswith("mpo ")]


def in_line(line: str) -> Iterator[list[str]]:
    """The `mpo` commands of a line of shell, each by its words."""
    if "mpo " not in line:
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in COMMAND_ENDS:
            words.append(word)
        else:
            if words[:1] == ["mpo"]:
                yield words
            words = []


def _lines(fence: Token) -> Iterator[str]:
    for line in fence.content.replace("\\\n", " ").splitlines():
        yield line.removeprefix("$ ")


def _inline(page: str) -> Iterator[Token]:
    for token in _parsed(page):
        yield from token.children or ()


@cache
def _parsed(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text("utf-8"))
