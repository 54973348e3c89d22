"""Rounds of learning from feedback where somebody has changed the planners in use, names have been
given before, or the round before was cut off; the trainings leave a summary where weights would be.
"""

import pytest

from jobs.feedback.learning import load_rounds
from jobs.feedback.stages import stage_of
from jobs.feedback.versions import publish
from jobs.run import Run
from mpo_core.ledger import read_records
from mpo_core.proxy.planners import Source, write_planners
from mpo_core.types import PreferencePair
from tests.callers import (
    GOOD,
    POOR,
    TrainsByName,
    begin,
    config,
    said,
    talk,
    versions,
    without_weights,
    worked,
)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    without_weights(monkeypatch)


def put_in_use(folder, version: str) -> None:
    write_planners(folder / "proxy", versions(folder).model_copy(update={"current": version}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("in_use", "states", "start"),
    [
        ("v3", ["current", "current"], "mpo-2"),
        ("v2", ["current", "withdrawn"], "mpo"),
        ("v1", ["withdrawn", "withdrawn"], None),
        ("mine", ["withdrawn", "withdrawn"], None),
    ],
)
def test_a_round_trains_the_planner_that_is_in_use_whoever_put_it_there(
    tmp_path, in_use, states, start
):
    begin(tmp_path)
    asked = config(tmp_path)
    for version in ("v1", "v2"):
        talk(tmp_path, version, [GOOD, POOR], tasks=6)
        worked(asked)
    found = versions(tmp_path)
    others = found.versions | {"mine": Source(endpoint="http://h:2/v1", model="m")}
    write_planners(tmp_path / "proxy", found.model_copy(update={"versions": others}))
    put_in_use(tmp_path, in_use)
    summary, _ = worked(asked)
    with Run(asked) as run:
        assert [one.state for one in load_rounds(run)] == states
    assert [row["kept"] for row in summary["rounds"]] == [one == "current" for one in states]
    assert ("planners.json has" in said(summary)) == (in_use != "v3")
    if in_use == "v2":
        # It is said once; and what is put back is current again.
        assert "planners.json has" not in said(worked(asked)[0])
        put_in_use(tmp_path, "v3")
        worked(asked)
        with Run(asked) as run:
            assert [one.state for one in load_rounds(run)] == ["current", "current"]
        put_in_use(tmp_path, in_use)
    talk(tmp_path, in_use, [GOOD, POOR], tasks=6, begun=9.0)
    summary, [job] = worked(asked)
    assert job.out.name == "mpo-3" and (job.start and job.start.name) == start
    assert versions(tmp_path).current == "v4"
    with Run(asked) as run:
        assert [one.state for one in load_rounds(run)] == [*states, "current"]


@pytest.mark.slow
@pytest.mark.parametrize("cut_at", ["train", "publish"])
@pytest.mark.parametrize("in_use", [None, "v1"])
def test_a_round_under_way_trains_what_is_in_use_unless_the_proxy_has_its_planner(
    tmp_path, monkeypatch, cut_at, in_use
):
    begin(tmp_path)
    asked = config(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=6)
    worked(asked)
    talk(tmp_path, "v2", [GOOD, POOR], tasks=6)

    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if cut_at == "train":
            patched.setattr(TrainsByName, "train", cut_off)
        else:
            patched.setattr("jobs.feedback.pipeline.publish", lambda *all: cut_off(publish(*all)))
        with pytest.raises(KeyboardInterrupt):
            worked(asked)
    if in_use:
        put_in_use(tmp_path, in_use)
    _, jobs = worked(asked)
    with Run(asked) as run:
        first, second = load_rounds(run)
    assert second.version == "v3" and len(jobs) == (cut_at == "train")
    if in_use and cut_at == "train":
        assert (second.start, second.state, first.state) == ("base", "current", "withdrawn")
        assert jobs[0].start is None
    elif in_use:
        assert (second.start, second.state, first.state) == ("mpo", "withdrawn", "withdrawn")
    else:
        assert (second.start, second.state, first.state) == ("mpo", "current", "current")
    assert versions(tmp_path).current == ("v1" if in_use and cut_at == "publish" else "v3")


@pytest.mark.slow
def test_a_round_whose_start_is_taken_back_while_it_trains_is_trained_anew(tmp_path, monkeypatch):
    begin(tmp_path)
    asked = config(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=6)
    worked(asked)
    talk(tmp_path, "v2", [GOOD, POOR], tasks=6)
    train = TrainsByName.train

    def taken_back(self, job, on_row):
        put_in_use(tmp_path, "v1")
        return train(self, job, on_row)

    monkeypatch.setattr(TrainsByName, "train", taken_back)
    _, jobs = worked(asked)
    assert [job.start and job.start.name for job in jobs] == ["mpo", None]
    with Run(asked) as run:
        first, second = load_rounds(run)
    assert (second.start, second.state, first.state) == ("base", "current", "withdrawn")
    assert versions(tmp_path).current == "v3"


@pytest.mark.slow
@pytest.mark.parametrize("kept_by", ["rounds", "conversations", "episodes"])
def test_a_name_that_a_version_has_had_is_no_other_versions(tmp_path, kept_by):
    begin(tmp_path)
    asked, before = config(tmp_path), versions(tmp_path)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=6)
    if kept_by == "rounds":
        worked(asked)
    else:
        # Of a round of another run's, whose folder is gone.
        talk(tmp_path, "v2", [POOR], tasks=1, final=kept_by == "episodes")
    write_planners(tmp_path / "proxy", before)
    talk(tmp_path, "v1", [GOOD, POOR], tasks=6, begun=9.0)
    worked(asked)
    found = versions(tmp_path)
    assert (found.current, set(found.versions)) == ("v3", {"v1", "v3"})


@pytest.mark.slow
@pytest.mark.parametrize("train", ["dpo", "rft"])
def test_a_round_that_was_cut_off_trains_on_what_it_says_whatever_tasks_come(
    tmp_path, monkeypatch, train
):
    begin(tmp_path)
    asked = config(
        tmp_path,
        validation=0.25,
        feedback={"least_pairs": 5, "train": train},
        **({"planner": {"model": "planner", "rft": {"training": {}}}} if train == "rft" else {}),
    )
    talk(tmp_path, "v1", [GOOD, POOR], tasks=10)

    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrainsByName, "train", cut_off)
        with pytest.raises(KeyboardInterrupt):
            worked(asked)
    files = Run(asked).files
    named = files.pairs(), files.validation_pairs()
    before = [read_records(path, PreferencePair) for path in named]
    talk(tmp_path, "v1", [GOOD, POOR], tasks=37, begun=9.0)
    _, [job] = worked(asked)
    assert [read_records(path, PreferencePair) for path in named] == before
    assert (len(before[0]), len(before[1])) == (8, 2)
    assert len(job.rows.read_text().splitlines()) == 8
    with Run(asked) as run:
        (first,) = load_rounds(run)
    assert first.pairs == 8
    # A stage of that round does it as it was done.
    with Run(asked) as run:
        assert len(stage_of(run, 1).found.pairs) == 8
