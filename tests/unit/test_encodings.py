"""Text is UTF-8 on disk and in pipes, whatever the locale."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.configs import named_config
from mpo_core.config import save_config
from mpo_core.errors import InputError
from mpo_core.ledger import read_records
from mpo_core.prompts import load_prompts
from mpo_core.types import Plan

LETTERS = "Größe „Łódź“ 步骤 🙂"
ROOT = Path(__file__).parents[2]
PACKAGES = ("mpo_core", "cluster", "jobs", "benchmarks")
ENCODING_AT = {"read_text": 0, "write_text": 1}
MODE_AT = {"open": 1, "fdopen": 1, "makefile": 0}
"""Where a call has its mode; a method `open` has it first."""


@pytest.mark.slow
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
        "os.open(path, os.O_RDONLY)",
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
    if "encoding" in keywords or ast.unparse(call.func) == "os.open":
        return False
    if name in ENCODING_AT:
        return len(call.args) <= ENCODING_AT[name]
    if name in MODE_AT:
        at = 0 if method and name == "open" else MODE_AT[name]
        given = keywords.get("mode") or (call.args[at] if at < len(call.args) else None)
        return "b" not in str(getattr(given, "value", ""))
    text = keywords.get("text") or keywords.get("universal_newlines")
    return getattr(text, "value", False) is True


def test_prompts_may_be_of_any_letters_and_an_editor_may_mark_them(tmp_path):
    (tmp_path / "alfworld").mkdir()
    file = tmp_path / "alfworld" / "planner.txt"
    told = []
    for encoding in ("utf-8", "utf-8-sig"):
        file.write_text(f"{LETTERS}: {{task}}", encoding=encoding)
        told.append(load_prompts("alfworld", tmp_path))
    assert told[0] == told[1]
    assert told[0].planner == f"{LETTERS}: {{task}}"


@pytest.mark.parametrize("name", ["planner.txt", "example.json"])
def test_prompts_in_another_encoding_are_named(tmp_path, name):
    (tmp_path / "alfworld").mkdir()
    file = tmp_path / "alfworld" / name
    file.write_bytes("Für {task}".encode("latin-1"))
    says = rf"{file}: not readable as UTF-8 text .*; save it as UTF-8"
    with pytest.raises(InputError, match=says):
        load_prompts("alfworld", tmp_path)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
"""An environment in which Python takes every text for ASCII."""
READ_AND_WRITE = """
import sys
from pathlib import Path
from mpo_core.files import write_records, write_text
from mpo_core.ledger import Ledger, read_records
from mpo_core.prompts import load_prompts
from mpo_core.types import Plan

assert sys.getfilesystemencoding() == "ascii"
folder = Path(sys.argv[1])
letters = load_prompts("alfworld", folder).planner
write_text(folder / "written.txt", letters)
with Ledger(folder / "ledger.jsonl", Plan, key=lambda plan: plan.task_id) as ledger:
    ledger.append(Plan.of("t", letters, "o"))
write_records(folder / "records.jsonl", read_records(folder / "ledger.jsonl", Plan))
"""


@pytest.mark.slow
def test_text_is_the_same_whatever_the_locale(tmp_path):
    (tmp_path / "alfworld").mkdir()
    text = f"{LETTERS}: {{task}}"
    (tmp_path / "alfworld" / "planner.txt").write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", READ_AND_WRITE, str(tmp_path)]
    subprocess.run(command, check=True, env=os.environ | ASCII)
    assert (tmp_path / "written.txt").read_text(encoding="utf-8") == text
    for name in ("ledger.jsonl", "records.jsonl"):
        assert [plan.text for plan in read_records(tmp_path / name, Plan)] == [text]


@pytest.mark.slow
def test_the_command_names_files_alike_whatever_the_locale(tmp_path):
    save_config(named_config("demo-llm", [f"runs_dir={tmp_path}/{LETTERS}"]), tmp_path / "ü.yaml")
    command = [sys.executable, "-m", "jobs.cli", "config", str(tmp_path / "ü.yaml")]
    said = [
        subprocess.run(command, check=True, env=os.environ | locale, capture_output=True).stdout
        for locale in ({"LC_ALL": "C.UTF-8"}, ASCII)
    ]
    assert said[0] == said[1]
    line = f"runs_dir = {tmp_path}/{LETTERS}  # Folder of the runs' folders. (operational)\n"
    assert line.encode() in said[1]


@pytest.mark.slow
def test_what_cannot_be_shown_is_shown_as_a_code(tmp_path):
    command = [sys.executable, "-m", "jobs.cli", "config", b"/no/such/\xff.yaml"]
    ended = subprocess.run(
        command, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert ended.returncode == 2
    assert ended.stderr == b"mpo: error: /no/such/\\udcff.yaml: no such config file\n"
