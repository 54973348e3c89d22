"""Text is UTF-8 on disk and in pipes, whatever the locale."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("mpo_core", "cluster", "jobs", "benchmarks")
ENCODING_AT = {"read_text": 0, "write_text": 1}
MODE_AT = {"open": 1, "fdopen": 1, "makefile": 0}
"""Where a call has its mode; a method `open` has it first."""


def test_every_text_file_and_pipe_names_its_encoding():
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        for line in nameless(file.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "path.read_text()",
        "(a / b).write_text(text)",
        "open(path)",
        "open(path, 'w')",
        "path.open()",
        "self.path.open('a')",
        "os.fdopen(number, 'w')",
        "parent.makefile('r')",
        "subprocess.run(command, text=True)",
        "Popen(command, universal_newlines=True)",
    ],
)
def test_a_call_without_an_encoding_is_found(code):
    assert nameless(code) == [1]


@pytest.mark.parametrize(
    "code",
    [
        "path.read_text(encoding='utf-8')",
        "path.read_text('utf-8')",
        "path.write_text(text, 'utf-8')",
        "open(path, 'rb')",
        "path.open('a+b', buffering=0)",
        "os.fdopen(number, 'wb')",
        "subprocess.run(command, text=True, encoding='utf-8')",
        "subprocess.run(command, capture_output=True)",
    ],
)
def test_a_call_with_an_encoding_or_of_bytes_is_not(code):
    assert nameless(code) == []


def nameless(code: str) -> list[int]:
    """Lines of calls that read or write text in the locale's encoding."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if _in_the_locales(call)]


def _in_the_locales(call: ast.Call) -> bool:
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if method else getattr(call.func, "id", "")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords:
        return False
    if name in ENCODING_AT:
        return len(call.args) <= ENCODING_AT[name]
    if name in MODE_AT:
        at = 0 if method and name == "open" else MODE_AT[name]
        given = keywords.get("mode") or (call.args[at] if at < len(call.args) else None)
        return "b" not in str(getattr(given, "value", ""))
    text = keywords.get("text") or keywords.get("universal_newlines")
    return getattr(text, "value", False) is True
