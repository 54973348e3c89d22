"""`mpo report` on the reports of finished runs, written by hand."""

import json
from pathlib import Path

import pytest

from jobs.cli import main
from mpo_core.errors import InputError
from mpo_core.ledger import read_records
from mpo_core.report.merge import report_runs
from mpo_core.types import TaskResult
from tests.commandline import mpo_here

ARMS = {"none": [0.0, 0.5, 1.0], "mpo": [0.5, 1.0, 1.0]}


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    """Drawing one takes longer than all else of a report."""
    monkeypatch.setattr("mpo_core.report.plot", lambda summary, path: path.touch())


def a_run(folder: Path, seed: int, arms: dict[str, list[float]] = ARMS, **changes) -> Path:
    """A finished run's folder, as far as its report goes."""
    report = folder / f"run-{seed}" / "report"
    report.mkdir(parents=True)
    lines = [
        {"env": "toy", "split": "seen", "type": "door", "arm": arm, "seed": seed}
        | {"task_id": f"toy/door/{n}", "reward": reward, "success": reward == 1}
        | {"steps": 4, "n_episodes": 1}
        for arm, rewards in arms.items()
        for n, reward in enumerate(rewards)
    ]
    (report / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = {
        "name": f"run-{seed}",
        "seed": seed,
        "shuffled": [],
        "envs": {"toy": {"simplification": "easy"}},
        "models": {"agent": "llama", "planner": "llama"},
        "tasks": {"train": 8, "seen": 3},
        "bootstrap": 200,
        "settings": {"training.beta": 0.1},
        **{"plans": 40, "episodes": 130, "pairs": 7, "pair_rules": {}, "tokens_per_s": 9.5},
        "env_steps_per_s": 1.5,
    }
    (report / "summary.json").write_text(json.dumps(summary | changes))
    return report.parent


def read(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def refusal(capsys, *arguments: object) -> str:
    """The line that `mpo report` ends in."""
    with pytest.raises(SystemExit) as stop:
        main(["report", *map(str, arguments)])
    lines = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert len(lines) == 1
    return lines[0]


def test_runs_of_three_seeds_become_one_report(tmp_path):
    better = ARMS | {"mpo": [1.0, 1.0, 1.0]}
    runs = [a_run(tmp_path, 3, better), a_run(tmp_path, 1), a_run(tmp_path, 2)]
    answer = mpo_here("report", *map(str, runs), "--out", str(tmp_path / "all"))
    assert answer.returncode == 0, answer.stderr
    assert "120 plans, 390 episodes, 21 pairs" in answer.stdout
    summary = read(tmp_path / "all")
    assert [(row["arm"], row["seed"]) for row in summary["table"]] == [
        (arm, seed) for arm in ("none", "mpo") for seed in (1, 2, 3, None)
    ]
    [row] = summary["paired"]
    assert row["diff"] == pytest.approx((1 + 1 + 1.5) / 9, abs=1e-6)
    assert row["ci95"][0] <= row["diff"] <= row["ci95"][1]
    assert (row["n"], row["n_seeds"]) == (3, 3)
    assert summary["seed"] is None
    assert len(read_records(tmp_path / "all" / "results.jsonl", TaskResult)) == 18
    page = (tmp_path / "all" / "report.md").read_text()
    assert "3 runs in one:" in page
    assert "| toy seen | MPO plans | 0.889 [" in page
    assert "| toy seen | MPO plans | 3 | 1.000 [" in page
    assert (tmp_path / "all" / "arms.png").is_file()


def test_a_report_of_one_run_is_written_anew_in_its_place(tmp_path):
    run = a_run(tmp_path, 1)
    folder, first = report_runs([run], None)
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert folder == run / "report"
    assert written.keys() == {
        *("summary.json", "results.jsonl", "report.md", "index.html", "arms.png"),
    }
    assert report_runs([run], None)[1] == first
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written
    assert first["tokens_per_s"] == 9.5
    assert [row["seed"] for row in first["table"]] == [1, 1]


def test_the_order_in_which_runs_are_named_does_not_matter(tmp_path):
    runs = [a_run(tmp_path, 2, {"none": [0.5, 0, 0], "mpo": [0, 1, 1]}), a_run(tmp_path, 1)]
    found = [report_runs(order, tmp_path / "all")[1] for order in (runs, runs[::-1])]
    assert found[0] == found[1]


def test_runs_with_different_arms_go_together(tmp_path):
    runs = [a_run(tmp_path, 1), a_run(tmp_path, 2, {"none": [0, 0, 0], "rft": [1, 1, 1]})]
    _, summary = report_runs(runs, tmp_path / "all")
    assert [(row["arm_a"], row["n_seeds"]) for row in summary["paired"]] == [("mpo", 1), ("rft", 1)]


def test_a_run_without_a_report_is_named_with_what_writes_one(tmp_path, capsys):
    run = a_run(tmp_path, 1)
    (run / "report" / "results.jsonl").unlink()
    line = refusal(capsys, run)
    assert f"{run}/report/results.jsonl: no such file; `mpo evaluate {run}`" in line
    assert "nowhere: no run's folder" in refusal(capsys, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models": {"agent": "qwen", "planner": "llama"}}, "models.agent is 'qwen'"),
        ({"envs": {"toy": {"simplification": ""}}}, "envs.toy.simplification is ''"),
        ({"shuffled": [1]}, "shuffled is [1]"),
        ({"settings": {"training.beta": 0.2}}, "settings.training.beta is 0.2"),
        ({"tasks": {"train": 4, "seen": 3}}, "tasks.train is 4"),
    ],
)
def test_runs_that_differ_in_more_than_their_seed_are_refused(changes, says, tmp_path, capsys):
    runs = a_run(tmp_path, 1), a_run(tmp_path, 2, **changes)
    assert says in refusal(capsys, *runs, "--out", tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_runs_of_other_tasks_are_refused(tmp_path, capsys):
    runs = a_run(tmp_path, 1), a_run(tmp_path, 2, {"none": [0, 1], "mpo": [1, 1]})
    assert "its held-out tasks are not those of" in refusal(
        capsys, *runs, "--out", tmp_path / "all"
    )


def test_two_runs_of_one_seed_are_refused(tmp_path, capsys):
    runs = a_run(tmp_path / "a", 1), a_run(tmp_path / "b", 1)
    assert "has seed 1, as" in refusal(capsys, *runs, "--out", tmp_path / "all")
    assert "has seed 1, as" in refusal(capsys, runs[0], runs[0], "--out", tmp_path / "all")


def test_several_runs_need_a_folder_that_is_none_of_theirs(tmp_path, capsys):
    runs = a_run(tmp_path, 1), a_run(tmp_path, 2)
    assert "--out: say which folder" in refusal(capsys, *runs)
    assert "a run's own report" in refusal(capsys, *runs, "--out", runs[1] / "report")
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refusal(capsys, *runs, "--out", tmp_path / "file")


def test_a_damaged_report_is_refused(tmp_path):
    run = a_run(tmp_path, 1)
    results, summary = run / "report" / "results.jsonl", run / "report" / "summary.json"
    lines, whole = results.read_text(), summary.read_text()
    for damaged, says in {
        "".join(lines.splitlines(keepends=True)[:-1]): "not one line for every arm and task",
        lines + lines: "not one line for every arm and task",
        lines[:-1]: "not one line for every arm and task",
        "": "not one line for every arm and task",
        lines.replace('"seed": 1', '"seed": 2'): "of another seed than summary.json",
        "{}\n" + lines: "results.jsonl:1: not a TaskResult",
    }.items():
        results.write_text(damaged)
        with pytest.raises(InputError, match=says):
            report_runs([run], None)
    results.write_text(lines)
    for damaged, says in {whole[:-1]: "not JSON", '{"name": "mine"}': "has no 'seed'"}.items():
        summary.write_text(damaged)
        with pytest.raises(InputError, match=says):
            report_runs([run], None)


def test_what_the_scorings_of_several_runs_have_spent_is_added_up(tmp_path):
    spent = {"plans": 40, "episodes": 60, "uniform": 200, "saved": 140, "noise": 0.25}
    spent["attempts"] = {"1": 20, "2": 20}
    runs = [a_run(tmp_path, seed, spending=spent) for seed in (1, 2)]
    folder, summary = report_runs(runs, tmp_path / "all")
    assert summary["spending"] == {
        **{"plans": 80, "episodes": 120, "uniform": 400, "saved": 280, "noise": 0.25},
        "attempts": {"1": 40, "2": 40},
    }
    assert "280 (70%) fewer than the 400" in (folder / "report.md").read_text()
