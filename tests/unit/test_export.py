"""What a run's data are called outside, and that their text is the one that was trained."""

import json
from types import SimpleNamespace

import pytest

from jobs.configs import named_config
from jobs.export import export_data, export_planner
from jobs.run import Run
from mpo_core.demonstrations import of_plan
from mpo_core.envs.base import suite_class
from mpo_core.errors import InputError
from mpo_core.files import write_records
from mpo_core.formats import training_rows
from mpo_core.pairs import make_pairs
from mpo_core.prompts import load_prompts
from mpo_core.proxy.planners import PROMPTS, read_prompts_of
from mpo_core.types import Plan, PlanScore

TEMPLATE = "Plan for\n{task}\nin this form:\n<workflow>\nStep 1: ...\n</workflow>\n"
ENV = "scienceworld"


@pytest.fixture
def run(tmp_path):
    """A run of two rounds by its files alone: opening one takes the model's weights."""
    folder = tmp_path / "prompts" / ENV
    folder.mkdir(parents=True)
    (folder / "planner.txt").write_text(TEMPLATE)
    run = object.__new__(Run)
    run.config = named_config("demo-paper", ["rounds=2", f"envs.{ENV}.tasks.seen=2"])
    run.dir = tmp_path / "run"
    run.suites = {ENV: suite_class(ENV)(run.config.envs[ENV])}
    run.prompts = {ENV: load_prompts(ENV, tmp_path / "prompts")}
    tasks = {split: run.suites[ENV].tasks(split)[:2] for split in ("train", "seen", "unseen")}
    tasks = {
        split: [task.model_copy(update={"description": f"Do {task.id}."}) for task in found]
        for split, found in tasks.items()
    }
    for split, found in tasks.items():
        write_records(run.dir / "tasks" / f"{split}.jsonl", found)
    for version, split, n in [
        ("seeds", "train", 1),
        ("sft", "train", 2),
        ("mpo", "train", 2),
        ("sft", "unseen", 1),
        ("mpo", "unseen", 1),
        ("mpo-2", "unseen", 1),
        ("mpo-2", "seen", 1),
    ]:
        plans = [
            Plan.of(task.id, f"Step 1: {version} {k}.", version, k)
            for task in tasks[split]
            for k in range(n)
        ]
        write_records(run.dir / "plans" / f"{version}-{split}.jsonl", plans)
    outcomes = [{"planner": version, "kept": True} for version in ("mpo", "mpo-2")]
    (run.dir / "rounds.json").write_text(json.dumps(outcomes))
    plans = [Plan.of(t.id, f"Step 1: {w}.", "sft") for t in tasks["train"] for w in ("Go", "Wait")]
    scores = [PlanScore.of(p.task_id, p.id, [float("Go" in p.text)]) for p in plans]
    pairs = make_pairs("best_worst", tasks["train"], plans, scores, run.prompts)
    write_records(run.dir / "pairs" / "pairs.jsonl", pairs)
    write_records(run.dir / "pairs" / "pairs-2.jsonl", pairs[:1])
    shown = [of_plan(plan, tasks["train"][0], run.prompts) for plan in plans[:1]]
    write_records(run.dir / "demonstrations" / "sft.jsonl", shown)
    return run


def names(run, out, **options):
    return {str(path.relative_to(out)) for path in export_data(run, out, **options)}


def test_data_are_named_as_the_published_ones(run, tmp_path):
    assert names(run, tmp_path / "out") == {
        "sciworld_metaplan_sft.json",
        "sciworld_metaplan_preference_pairs.json",
        "sciworld_metaplan_preference_pairs-2.json",
        "sciworld_metaplan_train_sampled_sft.jsonl",
        "sciworld_metaplan_train_sampled_mpo.jsonl",
        "sciworld_metaplan_unseen_sft.jsonl",
        "sciworld_metaplan_unseen_mpo.jsonl",
        "sciworld_metaplan_unseen_mpo-2.jsonl",
        "sciworld_metaplan_seen_mpo-2.jsonl",
    }


def test_data_are_named_as_the_papers_scripts_read_them(run, tmp_path):
    out = tmp_path / "out"
    assert names(run, out, reference_names=True) == {
        "samples/sciworld_metaplan_sft.json",
        "samples/sciworld_metaplan_preference_pairs.json",
        "samples/sciworld_metaplan_preference_pairs-2.json",
        "samples/sciworld_metaplan_train_sampled.jsonl",
        "samples/sciworld_metaplan_train_sampled_mpo.jsonl",
        "data/sciworld/sciworld_train_tasks.jsonl",
        "data/sciworld/metaplan/metaplan_test_sft.jsonl",
        "data/sciworld/metaplan/metaplan_test_mpo-1.jsonl",
        "data/sciworld/metaplan/metaplan_test_mpo.jsonl",
        "data/sciworld/metaplan/metaplan_dev_mpo.jsonl",
    }

    def rows(name):
        return [json.loads(line) for line in (out / name).read_text().splitlines()]

    # The final planner's plans are the ones called mpo; an agent's task is found by the row's id.
    final = rows("data/sciworld/metaplan/metaplan_test_mpo.jsonl")
    assert [row["workflow"] for row in final] == ["Step 1: mpo-2 0."] * 2
    assert all("_" in row["id"] and row["task"].startswith("Do scienceworld/") for row in final)
    sampled = rows("samples/sciworld_metaplan_train_sampled.jsonl")
    assert [row["workflow"] for row in sampled] == [["Step 1: sft 0.", "Step 1: sft 1."]] * 2
    asked = rows("data/sciworld/sciworld_train_tasks.jsonl")
    assert [(row["id"], row["task"]) for row in asked] == [(r["id"], r["task"]) for r in sampled]


def test_of_one_round_the_papers_name_is_that_rounds(run, tmp_path):
    (run.dir / "rounds.json").unlink()
    (run.dir / "plans" / "mpo-2-unseen.jsonl").unlink()
    out = tmp_path / "out"
    export_data(run, out, reference_names=True)
    [row, _] = (out / "data/sciworld/metaplan/metaplan_test_mpo.jsonl").read_text().splitlines()
    assert json.loads(row)["workflow"] == "Step 1: mpo 0."


@pytest.mark.parametrize("reference_names", [False, True])
def test_exported_text_is_the_text_that_was_trained(run, tmp_path, reference_names):
    out = tmp_path / "out"
    files = {path.name: path for path in export_data(run, out, reference_names=reference_names)}
    for method, file, trained in [
        ("sft", "sciworld_metaplan_sft.json", "demonstrations/sft.jsonl"),
        ("dpo", "sciworld_metaplan_preference_pairs.json", "pairs/pairs.jsonl"),
    ]:
        rows = training_rows(run.dir / trained, method)
        assert training_rows(files[file], method) == rows
        for row in rows:
            [asked] = row.pop("prompt")
            assert asked["content"].endswith("</workflow>\n")
            for [answer] in row.values():
                assert answer["content"].startswith("<workflow>\nStep 1: ")
                assert answer["content"].endswith(".\n</workflow>")


def test_rows_given_to_train_on_are_exported_as_they_were_given(run, tmp_path):
    published = {
        "conversations": [{"from": "human", "value": "Plan it.\n"}],
        "chosen": {"from": "gpt", "value": "<workflow>\nStep 1: Go.\n</workflow>"},
        "rejected": {"from": "gpt", "value": "Step 1: Stay."},
    }
    theirs, given = tmp_path / "theirs.json", run.dir / "given" / "dpo.jsonl"
    theirs.write_text(json.dumps([published]))
    given.parent.mkdir()
    given.write_text("".join(json.dumps(row) for row in training_rows(theirs, "dpo")))
    export_data(run, tmp_path / "out")
    ours = json.loads((tmp_path / "out" / "metaplan_preference_pairs.json").read_text())
    assert ours == [published]


def test_a_run_without_data_and_a_folder_that_holds_something_are_named(run, tmp_path):
    with pytest.raises(InputError, match="exists already"):
        export_data(run, run.dir)
    run.dir = tmp_path / "none"
    with pytest.raises(InputError, match="nothing to export yet"):
        export_data(run, tmp_path / "out", reference_names=True)


@pytest.mark.parametrize(("adapter", "several"), [(True, False), (False, False), (False, True)])
def test_an_exported_planner_says_by_whose_prompt_it_is_asked(
    tmp_path, monkeypatch, adapter, several
):
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / "adapter_config.json").write_text("{}")
    monkeypatch.setattr("mpo_core.training.export.merged", lambda base, folder: folder)
    more = ["envs.scienceworld={}"] if several else []
    run = SimpleNamespace(
        config=named_config("alfworld-llama3.1-8b", more),
        trainee=lambda version: SimpleNamespace(folder=trained, summary=lambda: {"steps": 1}),
        backend=SimpleNamespace(source=lambda name: "base"),
    )
    out = export_planner(run, "sft", tmp_path / "out", adapter=adapter)
    assert read_prompts_of(out) == (None if several else "alfworld")
    assert (out / "adapter_config.json").is_file() and not (trained / PROMPTS).exists()
