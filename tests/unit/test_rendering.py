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


def test_a_table_that_is_too_wide_is_parted_by_what_its_first_columns_repeat(capsys, monkeypatch):
    monkeypatch.setattr(rendering.console, "width", 80)
    types, runs = ["pick_and_place_with_movable_recep", "look_at_obj_in_light"], ["one", "two"]
    cells = [["environment", "task type", "plans", *(f"{run}-{'x' * 20}" for run in runs)]]
    cells += [["alfworld seen", kind, arm, "0.5", "0.5"] for kind in types for arm in ("mpo", "no")]
    rendering.print_cells("By task type", cells)
    shown = capsys.readouterr().out
    for kind in types:
        assert shown.count(kind) == 1
        assert f"By task type: alfworld seen: {kind}" in shown
    monkeypatch.setattr(rendering.console, "width", 200)
    rendering.print_cells("By task type", cells)
    assert capsys.readouterr().out.count(types[0]) == 2
