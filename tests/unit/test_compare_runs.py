import json
import re

import pytest

from jobs.cli import main
from jobs.tracked import description, metrics_of
from mpo_core.config import TrackingConfig
from mpo_core.errors import InputError
from mpo_core.report import write_report
from mpo_core.report.across import compare_runs, comparison_page, sections
from mpo_core.report.merge import read_report, report_runs
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


def a_feedback_run(folder, name: str, gain: float = 0.0):
    """Of callers' feedback: the version's tasks are not those without plans."""
    found = [
        *results("feedback", "none", {"a": 0.25, "b": 0.5}),
        *results("feedback", "v1", {"b": 0.5 + gain, "c": 1.0, "d": 0.0}),
    ]
    told = {"envs": {}, "models": {}, "settings": {}, "bootstrap": 100}
    told |= {
        "feedback": {"differences": [], "versions": [], "said": [], "conversations": 5, "final": 5}
    }
    told["feedback"] |= {"unfinished": 0, "tasks": 4, "two_plans": 0, "late": 0, "without_plan": {}}
    write_report(folder / name / "report", summary(found, name=name, **told), found)
    (folder / name / "config.yaml").write_text(f"name: {name}\n")
    return folder / name


def test_runs_on_feedback_are_compared_on_the_tasks_that_arms_share(tmp_path):
    runs = [a_feedback_run(tmp_path, "one"), a_feedback_run(tmp_path, "two", gain=0.5)]
    found = compare_runs([read_report(run) for run in runs])
    assert row(found["differences"], run="two", arm="v1")["diff"] == pytest.approx(1 / 6, abs=1e-6)
    with pytest.raises(InputError, match="feedback is not merged"):
        report_runs(runs, tmp_path / "all")
    _, again = report_runs(runs[:1], None)
    assert (again["arms"]["none"]["n"], again["arms"]["v1"]["n"]) == (2, 3)
    [pair] = again["paired"]
    assert (pair["arm_a"], pair["arm_b"], pair["n"]) == ("v1", "none", 1)


@pytest.mark.parametrize("damage", [lambda lines: lines[:-1], lambda lines: [*lines, lines[0]]])
def test_a_feedback_runs_results_that_are_not_whole_are_refused(tmp_path, damage):
    run = a_feedback_run(tmp_path, "one")
    path = run / "report" / "results.jsonl"
    path.write_text("".join(damage(path.read_text().splitlines(keepends=True))))
    with pytest.raises(InputError, match="not one line for every arm and task"):
        read_report(run)


def test_a_damaged_report_among_an_experiments_is_named_and_left_out(
    tmp_path, two, capsys, monkeypatch
):
    bad = a_run(tmp_path, "bad", 3)
    (bad / "report" / "results.jsonl").write_text("")
    monkeypatch.setattr("mpo_core.tracking.reports.fetch_reports", lambda *_: [*two, bad])
    with pytest.raises(SystemExit) as end:
        main(["compare", "--experiment", "e", "--json"])
    shown = capsys.readouterr()
    assert not end.value.code
    assert [run["name"] for run in json.loads(shown.out)["runs"]] == ["one", "two"]
    assert shown.err == (
        "left out: MLflow's run bad: results.jsonl: not one line for every arm and task\n"
    )


@pytest.mark.slow
def test_terminal_files_and_mlflow_agree_to_the_digit(tmp_path, two, capsys, monkeypatch):
    from mlflow import MlflowClient

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
    # One that is named is in MLflow too, and is no other run.
    assert json.loads(compare(capsys, str(two[0]), *asked)) == found


def unescaped(markdown: str) -> str:
    return re.sub(r"\\(.)", r"\1", markdown)


def compare(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["compare", *arguments])
    shown = capsys.readouterr()
    assert not end.value.code, shown.err
    assert "Downloading" not in shown.err  # MLflow's own bars, one a run.
    return shown.out


@pytest.mark.slow
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
