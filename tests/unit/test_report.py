import json
import os
import subprocess
import sys

import pytest

from jobs.tracked import counts_of, metrics_of
from mpo_core.ledger import read_records
from mpo_core.report import write_report
from mpo_core.report.page import markdown, paired_rows, table_rows, type_rows
from mpo_core.types import TaskResult
from tests.commandline import ROOT
from tests.reported import RESULTS, results, summary


def test_environments_and_splits_have_rows_of_their_own():
    header, *rows = table_rows(summary()["table"])
    assert [cells[:2] for cells in rows] == [
        ["alfworld seen", "no plan"],
        ["alfworld seen", "MPO plans"],
        ["scienceworld seen", "no plan"],
        ["scienceworld seen", "MPO plans"],
    ]
    assert {len(cells) for cells in rows} == {len(header)}


def test_differences_stand_beside_the_arm_that_they_are_of():
    found = summary()
    header, *rows = table_rows(found["table"], found["paired"])
    assert header[-1] == "minus no plan [95% CI]"
    assert [cells[-1] for cells in rows] == [
        "",
        "+0.250 [+0.000, +0.500]",
        "",
        "+0.250 [+0.250, +0.250]",
    ]
    assert paired_rows(found["paired"])[2] == [
        *("scienceworld seen", "MPO plans", "no plan", "+0.250 [+0.250, +0.250]", "1"),
    ]


def test_a_table_of_several_seeds_says_which_row_is_whose():
    other = [result.model_copy(update={"seed": 2}) for result in RESULTS]
    found = summary([*RESULTS, *other])
    header, *rows = table_rows(found["table"], found["paired"])
    assert header[2] == "seed"
    assert [cells[2] for cells in rows] == ["1", "2", "all"] * 4
    assert [cells[-1] != "" for cells in rows] == [False] * 5 + [True] + [False] * 5 + [True]
    assert [cells[-1] for cells in paired_rows(found["paired"])] == ["seeds", "2", "2"]


def test_task_types_stand_in_rows_and_arms_in_columns():
    rows = [r for r in RESULTS if r.env == "alfworld"][:3]
    assert type_rows(summary(rows)["types"]) == [
        ["environment", "task type", "no plan", "MPO plans", "tasks"],
        ["alfworld seen", "heat", "1.000", "", "1"],
        ["alfworld seen", "look", "0.250", "0.750", "1"],
    ]


@pytest.mark.slow
def test_a_report_is_a_page_a_picture_a_summary_and_the_tasks_results(tmp_path):
    write_report(tmp_path / "report", summary(), RESULTS)
    written = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert written["pairs"] == 2
    assert {"env", "split", "arm", "seed", "mean_reward", "ci95", "success_rate"} <= written[
        "table"
    ][0].keys()
    assert written["paired"][1] == {
        **{"env": "scienceworld", "split": "seen", "arm_a": "mpo", "arm_b": "none", "seed": 1},
        **{"diff": 0.25, "ci95": [0.25, 0.25], "n": 1, "n_seeds": 1},
    }
    page = (tmp_path / "report" / "report.md").read_text()
    assert "| alfworld seen | look | 0.250 | 0.750 | 1 |" in page
    assert "| alfworld seen | MPO plans | no plan | +0.250 [+0.000, +0.500] | 2 |" in page
    assert "| best_worst | 2 | 2 |" in page
    assert "control" not in page
    assert (tmp_path / "report" / "arms.png").read_bytes().startswith(b"\x89PNG")
    assert read_records(tmp_path / "report" / "results.jsonl", TaskResult) == RESULTS


@pytest.mark.slow
def test_a_picture_needs_no_backend_of_the_environment(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom mpo_core.report.plot import plot\n"
        "from tests.unit.test_report import summary\nplot(summary(), Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"MPLBACKEND": "not here"})
    assert (tmp_path / "a.png").stat().st_size > 0


def test_a_report_says_how_many_controls_are_behind_the_shuffled_arm():
    assert "is the mean over one planner," in markdown(summary(shuffled=[7]))
    assert "is the mean over 3 planners," in markdown(summary(shuffled=[0, 1, 2]))


def test_a_single_arm_has_a_report_without_differences(tmp_path):
    only = results("alfworld", "none", {"look": 0.0, "heat": 0.0})
    write_report(tmp_path, summary(only, pair_rules={}), only)
    page = (tmp_path / "report.md").read_text()
    assert "Differences" not in page
    assert "rule" not in page


def test_mlflow_shows_means_and_paired_differences():
    speed = {"tokens_per_s": 1.5, "env_steps_per_s": 2.5, "wall_seconds": {"scoring": 3.0}}
    metrics = metrics_of(summary(**speed))
    assert metrics["alfworld/seen/mean_reward/mpo"] == 0.875
    assert metrics["alfworld/seen/minus_none/mpo"] == 0.25
    assert metrics["scienceworld/seen/minus_none/mpo"] == 0.25
    assert metrics["mean_reward/mpo"] == metrics["mean_reward/none"] + 0.25
    assert counts_of(summary(**speed))["mpo.env_steps_per_s"] == 2.5


@pytest.mark.parametrize("name", ["objective", "method"])
def test_the_page_says_what_was_trained_and_what_went_wrong(name):
    training = {
        name: "dpo",
        "n_rows": 7,
        "steps": 4,
        "loss_first": 0.6931,
        "loss_last": 0.5,
        "metrics": {"reward_accuracy": 0.75},
        "warnings": ["it collapsed"],
        "validation": [
            {"eval_loss": 0.6, "eval_rewards/accuracies": 0.5, "eval_rewards/margins": 0.1}
        ],
    }
    rounds = [
        {"round": 1, "planner": "mpo", "start": "sft", "pairs": 7, "kept": True},
        {"round": 2, "planner": "mpo-2", "start": "mpo", "pairs": 5, "kept": False},
    ]
    rewards = ({"validation_reward": 0.5}, {"validation_reward": None})
    page = markdown(
        summary(
            trainings={"mpo": training},
            rounds=[row | reward for row, reward in zip(rounds, rewards, strict=True)],
        )
    )
    row = "| mpo | DPO | 7 | 4 | 0.693 to 0.500 | 75% | loss 0.600, preferred 50%, margin 0.100 |"
    assert row in page and "**Warning:** mpo: it collapsed." in page
    assert "| 1 | mpo | sft | 7 | 0.500 | yes |" in page
    assert "| 2 | mpo-2 | mpo | 5 |  | no |" in page
