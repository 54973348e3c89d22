"""What becomes of a training's processes; the processes themselves are stand-ins."""

import sys

import pytest

import mpo_core as mpo
from mpo_core.demonstrations import of_plan
from mpo_core.files import write_text
from mpo_core.training import local
from tests.fakes import PROMPTS, task

BASE = mpo.planner(mpo.model(source="org/base"))
ROWS = [
    of_plan(mpo.Plan.of(one.id, "Step 1: Knock.", "test"), one, {"toy": PROMPTS})
    for one in map(task, range(3))
]


@pytest.fixture
def program(monkeypatch):
    """Has a Python program run in the training's place."""
    started = []

    def become(code):
        def command(job, workers):
            started.append(workers)
            return [sys.executable, "-c", code, str(job)]

        monkeypatch.setattr(local, "_command", command)
        return started

    return become


ENDS_WELL = """
import json, pathlib, sys
job = json.loads(pathlib.Path(sys.argv[1]).read_text())
assert len(pathlib.Path(job["rows"]).read_text().splitlines()) == 3
print("a library says something")
print(json.dumps({"status": "loading the model"}))
print("{not JSON")
print(json.dumps({"step": 1, "max_steps": 1, "loss": 0.5}))
names = "tag objective model start steps engine world_size zero_stage precision resumed_from n_rows"
names += " n_cut n_dropped loss_first loss_last setup_seconds seconds tokens_per_s peak_memory_gb"
summary = dict.fromkeys([*names.split(), "metrics"])
summary |= {name: job[name] for name in ("tag", "objective")}
out = pathlib.Path(job["out"])
out.mkdir()
(out / "training.json").write_text(json.dumps(summary))
"""


def test_a_training_leaves_its_planner_and_nothing_else(tmp_path, program):
    started = program(ENDS_WELL)
    trained = mpo.train(ROWS, BASE, tmp_path / "sft", workers=1, batch_size=1)
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]
    assert trained.summary.objective == "sft"
    assert trained.planner.model.trained == tmp_path / "sft"
    assert (trained.planner.settings, trained.planner.seed) == (BASE.settings, BASE.seed)
    assert started == [1]


def test_the_same_training_is_not_done_again_and_another_is_refused(tmp_path, program):
    started = program(ENDS_WELL)
    first = mpo.train(ROWS, BASE, tmp_path / "sft")
    assert mpo.train(ROWS, BASE, tmp_path / "sft", save_steps=7) == first
    assert len(started) == 1
    changed = ({"epochs": 9}, {"seed": 7}, {"validation": ROWS[:1]})
    for settings in changed:
        with pytest.raises(mpo.InputError, match="sft: holds another training"):
            mpo.train(ROWS, BASE, tmp_path / "sft", **settings)
    (tmp_path / "mine").mkdir()
    with pytest.raises(mpo.InputError, match="mine: holds no training's end"):
        mpo.train(ROWS, BASE, tmp_path / "mine")
    assert len(started) == 1 and len(list(tmp_path.iterdir())) == 2


def test_bad_input_found_by_a_worker_is_the_callers_error(tmp_path, program):
    program('import sys; print(\'{"error": "rows.jsonl: row 1: too long"}\'); sys.exit(2)')
    with pytest.raises(mpo.InputError, match=r"^rows\.jsonl: row 1: too long$"):
        mpo.train(ROWS, BASE, tmp_path / "sft")
    assert not (tmp_path / "sft").exists()


def test_a_training_that_dies_says_its_last_words_and_keeps_its_checkpoints(tmp_path, program):
    program(
        "import pathlib, sys; here = pathlib.Path(sys.argv[1]).parent / 'checkpoints';"
        "here.mkdir(exist_ok=True); (here / 'one').touch(); sys.exit('out of memory')"
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        mpo.train(ROWS, BASE, tmp_path / "sft")
    assert len(list(tmp_path.glob(".sft-*/checkpoints/one"))) == 1
    with pytest.raises(RuntimeError, match="out of memory"):
        mpo.train(ROWS, BASE, tmp_path / "sft", epochs=9)
    assert len(list(tmp_path.glob(".sft-*/checkpoints/one"))) == 2


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda out: mpo.train(ROWS, BASE, out, beta=0.1), "train: beta: unknown key"),
        (lambda out: mpo.train(ROWS, BASE, out, mpo.DpoConfig()), "sft takes a SftConfig"),
        (lambda out: mpo.train(ROWS, mpo.planner(mpo.model(scripted="a:b")), out), "has no source"),
        (
            lambda out: mpo.train(ROWS, mpo.planner(mpo.model(source="no/such/folder")), out),
            "no such",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_starts(tmp_path, program, call, said):
    started = program("raise SystemExit('started')")
    with pytest.raises(mpo.InputError, match=said):
        call(tmp_path / "out")
    assert started == [] and list(tmp_path.iterdir()) == []


def test_what_is_no_folder_of_a_training_is_not_replaced(tmp_path, program):
    program(ENDS_WELL)
    write_text(tmp_path / "file", "mine")
    with pytest.raises(mpo.InputError, match="file: holds no training's end"):
        mpo.train(ROWS, BASE, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
