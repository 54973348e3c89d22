"""Progress bars: all are made in one place, which knows a terminal from a log file."""

import io
import json
import sys
from pathlib import Path

import pytest

from cluster.training_progress import follow
from mpo_core.progress import bar

ROOT = Path(__file__).parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "interval"), [(io.StringIO(), 60), (Terminal(), 0.2)])
def test_a_bar_moves_in_a_terminal_and_is_a_line_now_and_then_in_a_log(
    monkeypatch, stream, interval
):
    monkeypatch.setattr(sys, "stderr", stream)
    with bar("games", 4, 1, "games", log_interval_s=60) as shown:
        shown.update(3)
        assert (shown.mininterval, shown.maxinterval) == (interval, 2 * interval)
    assert "games: 100%" in stream.getvalue() and "4/4" in stream.getvalue()


def test_no_other_module_makes_bars_of_its_own():
    files = [
        path for room in ("jobs", "cluster", "mpo_core") for path in (ROOT / room).rglob("*.py")
    ]
    made = [path for path in files if "tqdm(" in path.read_text(encoding="utf-8")]
    assert made == [ROOT / "mpo_core" / "progress.py"]


def test_a_trainings_rows_reach_the_bar_and_the_caller_in_order(tmp_path, capsys):
    rows = [
        {"status": "loading the model"},
        {"warning": "2 rows are cut"},
        {"status": "starting DeepSpeed", "resumed_from": 2},
        *({"step": step, "max_steps": 4, "loss": 1 / step} for step in (3, 4)),
        {"step": 4, "max_steps": 4, "eval_loss": 0.5},
    ]
    file, seen = tmp_path / "progress.jsonl", []
    file.touch()
    with follow(file, "dpo", seen.append), file.open("a") as written:
        for row in rows:
            written.write(json.dumps(row) + "\n")
    assert seen == rows
    said = capsys.readouterr().err
    assert "dpo: 2 rows are cut" in said and "4/4" in said and "loss=0.2500" in said
