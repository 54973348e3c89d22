import json

from mpo_core.report import table_rows, type_rows, write_report


def row(env: str, arm: str, mean: float, **more):
    interval = {"mean_reward": mean, "ci95": (mean - 0.1, mean + 0.1), "success_rate": mean}
    return (
        {"env": env, "split": "seen", "arm": arm}
        | interval
        | {
            "mean_steps": 5.0,
            "n_tasks": 4,
            "n_episodes": 8,
        }
        | more
    )


ROWS = [row(env, arm, 0.5) for env in ("alfworld", "scienceworld") for arm in ("none", "mpo")]
TYPES = [
    row("alfworld", "none", 0.25, type="look"),
    row("alfworld", "mpo", 0.75, type="look"),
    row("alfworld", "none", 1.0, type="heat"),
]


def test_environments_and_splits_have_rows_of_their_own():
    header, *rows = table_rows(ROWS)
    assert [cells[:2] for cells in rows] == [
        ["alfworld seen", "no plan"],
        ["alfworld seen", "MPO plans"],
        ["scienceworld seen", "no plan"],
        ["scienceworld seen", "MPO plans"],
    ]
    assert {len(cells) for cells in rows} == {len(header)}


def test_task_types_stand_in_rows_and_arms_in_columns():
    assert type_rows(TYPES) == [
        ["environment", "task type", "no plan", "MPO plans", "tasks"],
        ["alfworld seen", "heat", "1.000", "", "4"],
        ["alfworld seen", "look", "0.250", "0.750", "4"],
    ]


def test_a_report_is_a_page_a_picture_and_a_summary(tmp_path):
    summary = {
        "shuffled": True,
        "tasks": {"train": 3},
        "plans": 12,
        "episodes": 36,
        "pairs": 2,
        "table": ROWS,
        "types": TYPES,
        "pair_rules": {"best_worst": {"pairs": 2, "tasks": 2}},
    }
    write_report(tmp_path, "mine", summary)
    assert json.loads((tmp_path / "summary.json").read_text())["pairs"] == 2
    page = (tmp_path / "report.md").read_text()
    assert "| alfworld seen | look | 0.250 | 0.750 | 4 |" in page
    assert "Control:" in page
    assert "| best_worst | 2 | 2 |" in page
    assert (tmp_path / "arms.png").read_bytes().startswith(b"\x89PNG")
