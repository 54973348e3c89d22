from pathlib import Path

import pytest

from jobs import rendering
from tests.reported import summary


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_interval_wraps_in_a_terminal_of_eighty_columns(width, capsys, monkeypatch):
    monkeypatch.setattr(rendering.console, "width", width)
    found = summary()
    rendering.print_report(Path("runs/mine/report"), found)
    shown = capsys.readouterr().out
    for row in found["table"]:
        low, high = row["ci95"]
        assert f"{row['mean_reward']:.3f} [{low:.3f}, {high:.3f}]" in shown
    for row in found["paired"]:
        low, high = row["ci95"]
        assert f"{row['diff']:+.3f} [{low:+.3f}, {high:+.3f}]" in shown
