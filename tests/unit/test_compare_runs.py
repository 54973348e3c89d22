import json
import re

import pytest
from mlflow import MlflowClient

from jobs.cli import main
from jobs.tracked import description, metrics_of
from mpo_core.config import TrackingConfig
from mpo_core.report import write_report
from mpo_core.report.across import compare_runs, comparison_page, sections
from mpo_core.report.merge import read_report
from mpo_core.tracking import MlflowTracker
from mpo_core.tracking.tracker import DESCRIPTION
from tests.reported import results, summary

ARMS = {"none": 0.25, "mpo": 0.75}
HOSTILE = "</h1><script>alert(1)</script>\x1b[31m\u202e"


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    """Drawing one takes longer than all else of a report."""
    monkeypatch.setattr("mpo_core.report.plot", lambda summary, path: path.touch())


def a_run(folder, name: str, seed: int, gain: float = 0.0, **changes):
    """A finished run of two tasks; its MPO plans earn so much more than usual."""
    found = [
        one
        for arm, reward in ARMS.items()
        for task in ("boil", "melt")
        for one in results(
            "scienceworld", arm, {task: reward + (gain if arm == "mpo" else 0)}, seed
        )
    ]
    told = summary(found, name=name, seed=seed, envs={}, models={}, bootstrap=100, conduct=[])
    told |= {"settings": {"pairs.rule": "nested"}, "wall_seconds": {}, "tokens_per_s": 1.0}
    told |= {"env_steps_per_s": 1.0, **changes}
    run = folder / name
    write_report(run / "report", told, found)
    (run / "config.yaml").write_text(f"name: {json.dumps(name)}\n")
    return run


@pytest.fixture
def two(tmp_path):
    return [
        a_run(tmp_path, "one", 1),
        a_run(tmp_path, "two", 2, gain=0.25, settings={"pairs.rule": "margin"}),
    ]


def row(rows, **wanted):
    [found] = [one for one in rows if wanted.items() <= one.items()]
    return found


def test_a_runs_arms_are_compared_on_the_tasks_that_both_played(two):
    found = compare_runs([read_report(run) for run in two])
    assert row(found["arms"], run="two", arm="mpo")["mean_reward"] == 1.0
    assert row(found["differences"], run="two", arm="mpo")["diff"] == 0.25
    assert row(found["differences"], run="two", arm="none")["ci95"] == (0.0, 0.0)
    assert {"key": "pairs.rule", "values": ["nested", "margin"]} in found["settings"]
    assert {"key": "seed", "values": [1, 2]} in found["settings"]


def test_arms_and_tasks_that_only_one_has_played_are_in_no_difference(tmp_path, two):
    alone = results("alfworld", "rft", {"look": 1.0}, 3)
    told = summary(alone, name="three", seed=3, envs={}, models={}, bootstrap=100, settings={})
    write_report(tmp_path / "three" / "report", told, alone)
    found = compare_runs([read_report(run) for run in (two[0], tmp_path / "three")])
    assert found["differences"] == []
    assert row(found["arms"], run="three", arm="rft")["mean_reward"] == 1.0


@pytest.mark.slow
def test_terminal_files_and_mlflow_agree_to_the_digit(tmp_path, two, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "both"
    said = compare(capsys, *map(str, two), "--out", str(out))
    found = json.loads((out / "compare.json").read_text())
    page, text = (out / "index.html").read_text(), (out / "compare.md").read_text()
    for one in found["differences"]:
        low, high = one["ci95"]
        figures = f"{one['diff']:+.3f} [{low:+.3f}, {high:+.3f}]"
        assert all(figures in where for where in (said, page, text))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for run in two:
        config = TrackingConfig(uri=uri, experiment="e", system_metrics=False)
        tracker = MlflowTracker(config, tmp_path, run, {"n": 1})
        told = json.loads((run / "report" / "summary.json").read_text())
        with tracker.nested("evaluation", "stage"):
            tracker.log_metrics({"episodes": 4}, step=4)
        tracker.log_metrics(metrics_of(told))
        tracker.log_tags({DESCRIPTION: description(told)})
        tracker.log_folder(run / "report", "report")
        tracker.end("FINISHED")
        stored = MlflowClient(uri).get_run(tracker.run_id).data
        for arm in ARMS:
            own = row(found["arms"], run=run.name, arm=arm)
            assert stored.metrics[f"mean_reward/{arm}"] == own["mean_reward"]
            low, high = own["ci95"]
            figures = f"{own['mean_reward']:.3f} [{low:.3f}, {high:.3f}]"
            shown = (said, page, text, unescaped(stored.tags[DESCRIPTION]))
            assert all(figures in where for where in shown)
    asked = ("--experiment", "e", "--filter", "params.n = '1'", "--tracking-uri", uri, "--json")
    assert json.loads(compare(capsys, *asked)) == found


def unescaped(markdown: str) -> str:
    return re.sub(r"\\(.)", r"\1", markdown)


def compare(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["compare", *arguments])
    shown = capsys.readouterr()
    assert not end.value.code, shown.err
    assert "Downloading" not in shown.err  # MLflow's own bars, one a run.
    return shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "two runs or more"),
        (("one",), "no run's folder"),
        (("--experiment", "none"), "no MLflow store"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_line(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SystemExit) as end:
        main(["compare", *arguments])
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and error.count("\n") == 1


def test_hostile_names_and_settings_are_inert(tmp_path):
    runs = [a_run(tmp_path, "one", 1), a_run(tmp_path, "two", 2)]
    finished = [read_report(run) for run in runs]
    finished[1].summary["name"] = HOSTILE
    finished[1].summary["settings"] = {HOSTILE: HOSTILE}
    found = compare_runs(finished)
    html = comparison_page(found)
    assert "<script" not in html and not any(c in html for c in "\x1b\u202e")
    assert any(heading == "Settings that differ" for heading, _ in sections(found))
