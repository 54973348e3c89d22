import json
import re
import time
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import main
from mpo_core.evaluation import Attempt
from mpo_core.inert import inert
from mpo_core.report import write_report
from mpo_core.report.details import details
from mpo_core.report.page import paired_rows, stage_rows, table_rows
from mpo_core.report.web import _coded, _marked, web_page
from mpo_core.types import EpisodeFigures
from tests.reported import RESULTS, summary
from tests.viewed_run import GOOD, POOR, TASKS, episode, pair, score

HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m\u202e{{ 7*7 }}"


def attempt(arm: str, number: int, text: str) -> Attempt:
    task = TASKS[number % len(TASKS)]
    return Attempt(arm, task, EpisodeFigures.of(episode(number, text)), plan=text)


def told(**changes) -> dict:
    given = {
        "curves": {"mpo": [{"step": s, "loss": 1 / s, "rewards/accuracies": 0.5} for s in (1, 2)]},
        "scores": {1: [score(TASKS[0], GOOD, 1.0), score(TASKS[0], POOR, 0.0)]},
        "pairs": [pair(task) for task in TASKS],
        "tasks": {task.id: task for task in TASKS},
        "attempts": [attempt("sft", 0, POOR), attempt("mpo", 0, GOOD), attempt("sft", 1, GOOD)],
        "compared": ("mpo", "sft"),
    }
    # As it is when it has been in its file.
    return json.loads(json.dumps(details(**given | changes)))


def cells(html: str) -> list[str]:
    return [unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", html)]


def test_every_figure_of_the_tables_stands_on_the_page():
    found = summary()
    shown = cells(web_page(found, told()))
    for table in (table_rows(found["table"]), paired_rows(found["paired"])):
        for row in table[1:]:
            assert all(cell in shown for cell in row)


def test_what_a_stage_took_stands_with_its_rates_and_a_stage_without_amounts_by_its_seconds():
    stages = {"scoring": {"seconds": 20.0, "completion_tokens": 5000, "env_steps": 1000}}
    took = {"wall_seconds": {"scoring": 20.0, "train mpo": 60.0}, "stages": stages}
    [_, scoring, training, whole] = stage_rows(summary(**took))
    assert scoring == ["scoring", "20.0", "25 %", "", "5,000", "250.0", "1,000", "50.0"]
    assert training == ["train mpo", "60.0", "75 %", *[""] * 5] and whole[:2] == ["all", "80.0"]
    assert set(scoring) <= set(cells(web_page(summary(**took), told())))
    assert stage_rows({}) == [] and "Cost by stage" not in web_page(summary(wall_seconds={}))


def test_a_plan_that_the_training_changed_stands_beside_what_it_was():
    [one] = told()["changed"]
    assert (one["before"], one["after"]) == (POOR, GOOD)
    assert (one["before_reward"], one["after_reward"]) == (0.0, 1.0)
    assert (one["changed"], one["tasks"]) == (1, 1)
    html = web_page(summary(), told())
    assert "<del>Wait.</del>" in html and "<ins>" in html


def test_scores_and_spread_are_those_of_the_plans():
    [of_round] = told()["scores"].values()
    assert of_round == {"counts": [1, *[0] * 9, 1], "tasks": 1, "spread": 1.0}


def test_a_long_curve_is_thinned_and_keeps_its_range():
    rows = [{"step": float(step), "loss": 1.0} for step in range(1, 5001)]
    [curve] = told(curves={"sft": rows})["curves"].values()
    assert set(curve) == {"loss"} and 100 < len(curve["loss"]) <= 200


def test_hostile_text_is_inert():
    hostile = TASKS[0].model_copy(update={"id": HOSTILE, "description": HOSTILE})
    given = told(
        pairs=[pair(hostile)],
        tasks={HOSTILE: hostile},
        attempts=[attempt("sft", 0, POOR), attempt("mpo", 0, HOSTILE)],
    )
    html = web_page(summary(name=HOSTILE), given)
    assert "<script" not in html and "<img" not in html and html.count("</style>") == 1
    assert not any(c in html for c in "\x1b\u202e") and ">49" not in html
    assert "default-src 'none'" in html


@pytest.mark.slow
def test_the_page_is_written_with_the_report_and_again_by_mpo_report(tmp_path, capsys):
    report = tmp_path / "run" / "report"
    whole = summary(
        envs={}, models={}, bootstrap=100, settings={"pairs.rule": "nested"}, conduct=[]
    )
    write_report(report, whole, RESULTS, told())
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "Go to the shelf." in page and "pairs.rule" in page
    (report / "index.html").unlink()
    main_ends_well(["report", str(tmp_path / "run")])
    assert "Go to the shelf." in (report / "index.html").read_text(encoding="utf-8")


def main_ends_well(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code


@pytest.mark.parametrize("unit", ["a ", "a b ", "a\n", "ab", "Step 1: Go. "])
def test_the_differences_of_long_texts_of_few_words_are_found_in_a_moment(unit):
    before = (unit * 20_000)[:20_000]
    started = time.monotonic()
    left, right = _marked(before, before[::-1])
    assert time.monotonic() - started < 5  # Minutes, word by word.
    assert re.sub("<[^>]+>", "", left) == before and re.sub("<[^>]+>", "", right) == before[::-1]


@given(st.text("ab \n", max_size=60), st.text("ab \n", max_size=60))
def test_marked_texts_are_the_texts_and_the_same_words_are_not_marked(before, after):
    left, right = _marked(before, after)
    assert (re.sub("<[^>]+>", "", left), re.sub("<[^>]+>", "", right)) == (before, after)
    if before == after:
        assert "<" not in left + right


def test_the_runs_of_a_joint_report_are_parted_by_commas():
    html = web_page(summary(runs={"runs/a": 1, "runs/b": 2}))
    assert "of 2 runs: runs/a (seed 1), runs/b (seed 2)." in html


def test_words_in_backticks_are_code_and_still_inert():
    assert _coded("`seen` are <b>\x1b") == "<code>seen</code> are &lt;b&gt;" + inert("\x1b")
    assert _coded("`<i>`") == "<code>&lt;i&gt;</code>"
