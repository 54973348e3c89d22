import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table

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


@given(
    st.lists(
        st.sampled_from(["[b]", "[/b]", "[/]", "q", "[fe80::1]", "\\[", ":smile:", "[@click=x]y"]),
        min_size=1,
        max_size=6,
    ).map("".join)
)
@example("http://[::1]:8100/v1")
def test_nothing_of_users_is_markup(text):
    with rendering.console.capture() as captured:
        rendering.console.print(text, soft_wrap=True)
        rendering.console.print(text, style="yellow", soft_wrap=True)
        rendering.console.print(Table(text, title=text, min_width=300))
    assert captured.get().count(text) == 4


def test_no_command_prints_by_a_console_that_knows_markup():
    package = Path(rendering.__file__).parent
    made = [path for path in package.rglob("*.py") if re.search(r"\bConsole\(", path.read_text())]
    assert made == [Path(rendering.__file__)]
    assert not rendering.console._markup and not rendering.console._emoji


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
