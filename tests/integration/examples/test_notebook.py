"""`examples/notebook.ipynb`, cell by cell, inside a running event loop as in a notebook's kernel;
without Ray."""

import ast
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mpo_core.ledger import read_records
from mpo_core.types import Episode, Plan

NOTEBOOK = Path(__file__).parents[3] / "examples" / "notebook.ipynb"


async def executed(notebook: Path) -> tuple[dict[str, Any], list[Any]]:
    """The names that its cells leave, and what each cell shows: its last line's value."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]), cell["id"])
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        await _run(compile(tree, cell["id"], "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if last is not None:
            value = ast.Expression(last.value)
            code = compile(value, cell["id"], "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            shown.append(await _run(code, names))
    shown = [value for value in shown if value is not None]
    return names, shown


async def _run(code: Any, names: dict[str, Any]) -> Any:
    value = eval(code, names)
    return await value if asyncio.iscoroutine(value) else value


def test_the_notebook_runs_from_tasks_to_results_without_ray(tmp_path, monkeypatch, capsys):
    for engine in ("ray", "vllm"):
        monkeypatch.setitem(sys.modules, engine, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names, shown = asyncio.run(executed(NOTEBOOK))
    assert "Your task is to" in capsys.readouterr().out
    assert names["trained"].summary.engine == "DeepSpeedEngine"
    rewards = names["results"].table.set_index("arm")["mean_reward"]
    assert list(rewards.index) == ["none", "base", "mpo", "expert"] and rewards["expert"] == 1.0
    assert rewards["none"] < 1.0
    assert all(repr(value) for value in shown) and len(shown) == 5
    assert shown[-1] == len(names["rows"]) > 0
    assert read_records(tmp_path / "mine" / "plans.jsonl", Plan) == names["plans"]
    kept = {episode.key for episode in read_records(tmp_path / "mine" / "episodes.jsonl", Episode)}
    assert kept == {episode.key for episode in names["episodes"]}
    assert (tmp_path / "loop" / "planner" / "adapter_config.json").is_file()


def test_the_notebook_is_kept_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.parametrize("name", ["docs/notebook.md", "mpo_core/__init__.py"])
def test_the_lines_that_are_shown_are_python_of_names_that_there_are(name):
    import mpo_core

    text = (NOTEBOOK.parents[1] / name).read_text(encoding="utf-8")
    begin = text.index("import mpo_core as mpo")
    lines = [line.removeprefix("    ") for line in text[begin:].splitlines()]
    end = next(k for k, line in enumerate(lines) if line.startswith(("```", "Every function")))
    used = [
        node.attr
        for node in ast.walk(ast.parse("\n".join(lines[:end])))
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "mpo"
    ]
    assert {"environments", "sample_plans", "evaluate"} <= set(used) <= set(mpo_core.__all__)
