"""Progress: what a bar, a log and a notebook show of long work, and how the rest is reckoned."""

import ast
import io
import json
import logging
import re
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cluster.training_progress import follow
from mpo_core import progress
from mpo_core.progress import (
    WIDTH,
    Bar,
    EpisodeProgress,
    ModelProgress,
    TrainingProgress,
    clock,
    standard_error,
)
from mpo_core.types import EpisodeFigures, PlanScore, Turn
from tests.fakes import episode, request

ROOT = Path(__file__).parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def passing(monkeypatch):
    moved = Time()
    monkeypatch.setattr(progress, "time", moved)
    monkeypatch.setattr("mpo_core.progress_display.time", moved)
    return moved


def on_a_terminal(monkeypatch) -> Terminal:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return screen


def played(number: int, reward: float, seconds: float = 10, end: str = "done", unread: int = 0):
    turns = [
        Turn(reply="?", action=None if k < unread else "look", observation="", score=0.0)
        for k in range(4)
    ]
    changes = {"seconds": seconds, "end": end, "turns": turns, "completion_tokens": 50}
    return episode(request(number), reward).model_copy(update=changes)


def test_the_time_left_does_not_count_what_had_to_start_first(passing, capsys):
    """Ten at a time, ten seconds each, after a minute in which the engine started."""
    shown = EpisodeProgress("scoring", 100)
    number = 0
    for finished_at in (70, 80, 90):
        passing.now = finished_at
        for _ in range(10):
            # Whoever was under way while the engine started has waited for it.
            shown.episode(played(number, 1.0, 70 if finished_at == 70 else 10))
            number += 1
    assert shown.rate == pytest.approx(1.0)
    assert shown.seconds_left == pytest.approx(70)


def test_the_first_step_of_a_training_does_not_count_for_the_rate(passing, capsys):
    shown = TrainingProgress("train dpo")
    shown.row({"status": "starting DeepSpeed", "resumed_from": 40})
    for step, passing.now in ((41, 300), (42, 302), (43, 304)):
        shown.row({"step": step, "max_steps": 53, "loss": 0.5})
        assert shown.seconds_left == (None if step == 41 else pytest.approx(2 * (53 - step)))


def test_what_comes_after_the_last_unit_does_not_count_for_the_rate(passing, capsys):
    shown = TrainingProgress("train dpo")
    for step, passing.now in ((1, 10), (2, 12), (3, 14)):
        shown.row({"step": step, "max_steps": 3, "loss": 0.5})
    passing.now = 90
    shown.row({"status": "saving the planner"})
    assert shown.line() == (
        "train dpo: saving the planner: 3/3 steps, 2.0 s each, after 1:30; loss 0.5000"
    )


@given(
    before=st.integers(0, 50),
    total=st.none() | st.integers(1, 200),
    ends=st.lists(st.tuples(st.floats(0, 1e4), st.none() | st.floats(0, 1e4)), max_size=20),
)
def test_whatever_comes_the_rest_is_reckoned_without_a_fault(before, total, ends):
    passing = Time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "time", passing)
        patch.setattr("mpo_core.progress_display.time", passing)
        patch.setattr(sys, "stderr", io.StringIO())
        shown = Bar("games", total, before, "games")
        for later, seconds in ends:
            passing.now += later
            shown.update(1, seconds)
            assert shown.rate is None or shown.rate > 0
            assert shown.seconds_left is None or (total > shown.n and shown.seconds_left > 0)
            assert shown.line().startswith(f"games: {shown.n:,.0f}")


def test_of_episodes_reward_error_ends_and_unread_replies_are_told(passing, capsys):
    before = [EpisodeFigures.of(played(0, 0.0, end="step_limit"))]
    shown = EpisodeProgress("scoring", 6, before)
    assert "1/6 episodes" in shown.line() and "mean reward 0.000;" in shown.line()
    rewards = [1.0, 0.5, 1.0]
    for number, reward in enumerate(rewards, 1):
        passing.now += 10
        shown.episode(played(number, reward, unread=2 if number == 3 else 0))
    score = PlanScore.of("t", "p", [0.0, *rewards])
    assert shown.line() == (
        "scoring: 4/6 episodes, 10.0 s each, 0:20 left; "
        f"mean reward {score.mean:.3f} ± {score.stderr:.3f}, 5 tokens/s, 0.4 steps/s; "
        "3 done, 1 step limit, 12.5% of replies unread (no action line)"
    )
    assert (shown.tokens, shown.steps) == (150, 12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_error_is_that_of_plan_scores(rewards):
    n, score = len(rewards), PlanScore.of("t", "p", rewards)
    error = standard_error(n, sum(rewards) / n, sum(r * r for r in rewards) / n)
    assert (error is None) == (n == 1)
    assert (error or 0.0) == pytest.approx(score.stderr, abs=1e-6)


def test_of_a_models_answers_the_tokens_a_second_are_told(passing, capsys):
    with ModelProgress("plans", 10, 2, "plans") as shown:
        passing.now = 2
        shown.answered(4, 100)
        assert shown.line() == "plans: 6/10 plans, 2.0/s, 0:02 left; 50 tokens/s"
    assert "6/10 plans" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0:00"), (65, "1:05"), (3599.6, "1:00:00"), (7325, "2:02:05")]
)
def test_times_read_as_on_a_clock(seconds, said):
    assert clock(seconds) == said


def test_a_log_gets_a_line_at_the_beginning_now_and_then_and_at_the_end(passing, capsys):
    with Bar("games", 100, 0, "games", log_interval_s=60) as shown:
        for _ in range(100):
            passing.now += 2
            shown.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "games: 0/100 games"
    assert [line.split(",")[0] for line in lines[1:]] == [
        f"games: {n}/100 games" for n in (30, 60, 90, 100)
    ]
    assert lines[-1] == "games: 100/100 games, 2.0 s each, after 3:20"


def test_a_log_gets_no_line_twice(passing, capsys):
    with Bar("index", None, 0, "records"):
        pass
    assert capsys.readouterr().err == "index: 0 records\n"


@pytest.mark.parametrize("columns", [80, 60, 40, 132])
@pytest.mark.parametrize("name", ["scoring", "sampled plans mpo-2 validation", "x" * 200])
def test_a_bar_fits_its_terminal_and_80_columns(passing, capsys, name, columns):
    shown = EpisodeProgress(name, 250_000)
    for k in range(3):
        passing.now += 400
        shown.episode(played(k, 0.3, 400, "invalid_limit", unread=4))
    console = Console(width=columns, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(shown)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= min(columns, WIDTH)
    if columns >= 60:
        assert "3/250,000 episodes" in lines[0] and "mean reward 0.300" in lines[1]


def test_a_terminal_shows_a_bar_that_moves_with_what_is_said_above_it(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    log = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(log)
    try:
        with Bar("games", 4, 1, "games") as shown:
            shown.update(3)
            shown.tell("loss 0.1")
            shown.say("a line [bold]with\x1b[2J brackets")
            logging.getLogger("mpo").warning("lost an episode")
            print("said by others", file=sys.stderr)
        assert log.stream is terminal and sys.stderr is terminal
    finally:
        logging.getLogger().removeHandler(log)
    out = terminal.getvalue()
    assert "4/4 games" in out and "loss 0.1" in out and "\x1b[2J" not in out
    for said in ("a line [bold]with", "lost an episode\n", "said by others"):
        # At the beginning of a line, but for what moves and hides the cursor.
        before = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out[: out.index(said)])
        assert before[-1:] in ("", "\n", "\r"), repr(before[-20:])


def test_what_only_says_that_it_is_a_terminal_is_a_log(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Bar("games", 2, 0, "games") as shown:
        shown.update(2)
    assert capsys.readouterr().err.startswith("games: 0/2 games\ngames: 2/2 games")


def test_a_notebook_gets_a_line_that_is_written_over(monkeypatch, passing, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    with Bar("games", 2, 0, "games") as shown:
        for passing.now in (1, 2):
            shown.update()
        shown.say("a word")
    first, *_, last = capsys.readouterr().err.split("\r")
    assert first == "" and last.rstrip(" \n") == "games: 2/2 games, 1.0/s, after 0:02"


@pytest.mark.slow
def test_no_other_module_makes_bars_of_its_own():
    makers = {"tqdm", "rich.progress", "rich.progress_bar", "rich.live"}
    for room in ("jobs", "cluster", "mpo_core", "docs"):
        for path in (ROOT / room).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            named = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
            if makers & named:
                assert path.name in ("progress.py", "progress_display.py"), path


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
    assert "dpo: 2 rows are cut" in said and "4/4" in said and "loss 0.2500" in said
