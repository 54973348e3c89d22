"""A run's folder used again: other deciding settings are refused, all others go on in it."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import main
from jobs.configs import named_config
from jobs.pipeline import run_pipeline
from jobs.run import Run
from jobs.same_run import differences, refuse_other_settings
from jobs.train import train
from mpo_core.config import (
    Config,
    SftConfig,
    parse_config,
    save_config,
    settings,
)
from mpo_core.errors import InputError
from mpo_core.types import content_hash
from tests.doors import config, open_doors


@pytest.fixture(autouse=True)
def doors(monkeypatch):
    open_doors(monkeypatch)


def with_changes(asked: Config, **changes) -> Config:
    """The config with some keys of its sections changed."""
    tree = asked.model_dump(mode="json")
    for name, value in changes.items():
        tree[name] = tree[name] | value if isinstance(value, dict) else value
    return parse_config(tree)


def worked(asked: Config) -> Config:
    """A run that has its config and some work of a stage."""
    save_config(asked, asked.run_dir / "config.yaml")
    (asked.run_dir / "plans").mkdir()
    return asked


MODELS = {
    "planner": {"scripted": "tests.scripted:planner"},
    "agent": {"scripted": "tests.scripted:agent"},
    "other": {"scripted": "tests.scripted:agent"},
}
DECIDING = [
    ({"planner": {"temperature": 0.3}}, ["planner.temperature is 0.8 there and 0.3 here"]),
    ({"agent": {"plan_mode": "thought"}}, ['agent.plan_mode is "query" there and "thought" here']),
    (
        {"models": MODELS, "planner": {"model": "other"}},
        [
            "models.other is not set there and given here",
            'planner.model is "planner" there and "other" here',
        ],
    ),
    (
        {"seed": 7, "scoring": {"repetitions": 3}},
        ["seed is 42 there and 7 here", "scoring.repetitions is 2 there and 3 here"],
    ),
    ({"pairs": {"rule": "nested"}}, ['pairs.rule is "best_worst" there and "nested" here']),
    ({"seeds": {"teacher": "agent"}}, ['seeds.teacher is null there and "agent" here']),
    ({"evaluation": {"temperature": 0.5}}, ["evaluation.temperature is 0.0 there and 0.5 here"]),
    ({"validation": 0.5}, ["validation is 0.0 there and 0.5 here"]),
]
FREE = [
    {"cluster": {"enabled": False, "rollout_actors": 4, "address": "10.0.0.1:6379"}},
    {"tracking": {"enabled": False, "uri": "http://127.0.0.1:5000"}},
    {"launch": {"slurm": {"hours": 1}}},
    {"training": {"save_steps": 3, "max_failures": 9, "workers": 1, "zero_stage": 3}},
    {"agent": {"unusable_limit": None}, "planner": {"resamples": 9}},
    {"seeds": {"price_per_million_prompt_tokens": 1.0}},
    {"evaluation": {"arms": ["none", "expert"], "plan_samples": 2, "bootstrap": 20}},
    {"evaluation": {"splits": ["seen", "unseen"]}},
]


@pytest.mark.parametrize(("changes", "said"), DECIDING)
def test_other_deciding_settings_are_refused_with_both_values_and_what_to_do(
    tmp_path, changes, said
):
    asked = worked(config(tmp_path))
    saved = (asked.run_dir / "config.yaml").read_bytes()
    with pytest.raises(InputError) as refused:
        Run(with_changes(asked, **changes))
    line = str(refused.value)
    assert line.startswith(f"{asked.run_dir}: made with other settings: ")
    assert all(difference in line for difference in said) and line.count(" there and ") == len(said)
    assert "name=NAME" in line and f"{asked.run_dir} in the config's place" in line
    assert "\n" not in line
    assert (asked.run_dir / "config.yaml").read_bytes() == saved


@pytest.mark.parametrize("changes", FREE)
def test_operational_settings_and_what_is_asked_for_may_change_freely(tmp_path, changes):
    asked = worked(config(tmp_path))
    other = with_changes(asked, **changes)
    with Run(other):
        pass
    assert yaml.safe_load((asked.run_dir / "config.yaml").read_text()) == other.model_dump(
        mode="json"
    )


@pytest.mark.slow
def test_a_finished_runs_own_command_does_nothing_twice(tmp_path):
    asked = with_changes(config(tmp_path), tracking={"enabled": False})
    with Run(asked) as run:
        run_pipeline(run)
    played = {file: file.read_bytes() for file in (asked.run_dir / "episodes").iterdir()}
    with Run(with_changes(asked, cluster={"episodes_in_flight": 3})) as run:
        run_pipeline(run)
    assert played and {file: file.read_bytes() for file in played} == played


def test_a_moved_run_is_the_run_that_it_was(tmp_path):
    asked = worked(config(tmp_path / "a"))
    asked.run_dir.parent.rename(tmp_path / "b")
    moved = (tmp_path / "b" / "mine").rename(tmp_path / "b" / "yours")
    refuse_other_settings(named_config(str(moved)))
    with pytest.raises(InputError, match="seed is 42 there and 3 here"):
        refuse_other_settings(named_config(str(moved), ["seed=3"]))


def test_a_folder_without_work_is_anyones(tmp_path):
    asked = config(tmp_path)
    save_config(asked, asked.run_dir / "config.yaml")
    (asked.run_dir / "tasks").mkdir()
    (asked.run_dir / "timings.json").write_text("{}")
    with Run(with_changes(asked, seed=7)) as run:
        assert run.config.seed == 7
    assert named_config(str(asked.run_dir)).seed == 7


@pytest.mark.parametrize("text", ["", "seed: [1", "seed: 1", "nonsense: 1", "\x00"])
def test_work_of_unknown_settings_is_refused_in_one_line(tmp_path, text):
    asked = worked(config(tmp_path))
    (asked.run_dir / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml: .*; restore it, or choose another name"):
        Run(asked)


@pytest.fixture
def given_file(tmp_path) -> Path:
    file = tmp_path / "mine.yaml"
    given = config(tmp_path, tracking={"enabled": False})
    file.write_text(yaml.safe_dump(given.model_dump(mode="json")))
    return file


@pytest.mark.parametrize("command", [["run"], ["run", "--dry-run"], ["pairs"], ["train", "dpo"]])
def test_every_command_ends_in_that_line_and_exit_code_2(tmp_path, given_file, capsys, command):
    worked(config(tmp_path))
    name, *options = command
    with pytest.raises(SystemExit) as ended:
        main([name, *options, str(given_file), "planner.temperature=0.3"])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"mpo: error: {tmp_path}/mine: made with other settings: planner.temp")


@pytest.mark.slow
def test_a_run_of_other_settings_begins_with_what_is_there(tmp_path, given_file, capsys):
    asked = named_config(str(given_file))
    with Run(asked) as run:
        run_pipeline(run)
    before = (asked.run_dir / "episodes" / "scoring.jsonl").read_bytes()
    changed = ["scoring.repetitions=3", "name=more"]
    with pytest.raises(SystemExit) as ended:
        main(["run", str(given_file), *changed, "--from", str(asked.run_dir)])
    assert ended.value.code == 0, capsys.readouterr().err
    ledger = (tmp_path / "more" / "episodes" / "scoring.jsonl").read_bytes()
    assert ledger.startswith(before) and len(ledger.splitlines()) == 12
    assert named_config(str(tmp_path / "more")).scoring.repetitions == 3
    assert (asked.run_dir / "episodes" / "scoring.jsonl").read_bytes() == before


def test_what_is_no_run_is_not_begun_with(tmp_path, given_file, capsys):
    for options in ([], ["--dry-run"], ["--on", "ray"]):
        with pytest.raises(SystemExit) as ended:
            main(["run", str(given_file), "--from", str(tmp_path), *options])
        assert ended.value.code == 2
        assert "mpo: error: --from" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


TRAINING = SftConfig()
CHANGES = {"operational": [], "decides": []}
for one in settings(TRAINING):
    CHANGES[one.bearing].append(one.key)


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """Trains by name alone: says how often, and leaves the summary of a training."""
    done = []

    def trained(job, _):
        done.append(job.config)
        job.out.mkdir(parents=True, exist_ok=True)
        summary = {"tag": job.tag, "curve": [], "validation": []}
        (job.out / "training.json").write_text(json.dumps(summary))
        return summary

    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    models = {"planner": {"source": "org/planner"}, "agent": MODELS["agent"]}
    changes = {"models": models, "cluster": {}, "tracking": {"enabled": False}}
    with Run(config(tmp_path, **changes)) as run:
        monkeypatch.setattr(run.backend, "train", trained)
        for told in ("fingerprint", "source"):
            monkeypatch.setattr(run.backend, told, lambda name: name)
        yield lambda settings: train(run, run.trainee("sft"), "sft", rows, settings), done


# A value of another kind is told apart as well as any, and written down with a warning.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("bearing", CHANGES)
def test_a_finished_training_is_done_again_for_what_decides_it_alone(trainer, bearing):
    train_with, done = trainer
    train_with(TRAINING)
    for key in CHANGES[bearing]:
        if "." not in key:
            train_with(TRAINING.model_copy(update={key: "another"}))
            again = bearing == "decides"
            assert len(done) == 1 + again, key
            if again:
                train_with(TRAINING)
                done[1:] = []
    assert len(CHANGES[bearing]) > 5


def test_a_training_known_by_all_of_its_settings_is_not_done_again(trainer, tmp_path):
    train_with, done = trainer
    rows = (tmp_path / "rows.jsonl").read_text()
    tag = content_hash(rows, None, "planner", TRAINING.model_dump(), 42)
    folder = tmp_path / "mine" / "planner" / "sft"
    folder.mkdir(parents=True)
    left = {"tag": tag, "curve": [], "validation": []}
    (folder / "training.json").write_text(json.dumps(left))
    assert train_with(TRAINING) == left and done == []


KEYS = st.sampled_from(["a", "b", "s.a", "s.b", "s.t.a", "m.x", "m.y.z"])


@given(
    st.dictionaries(KEYS, st.none() | st.integers(0, 2)),
    st.dictionaries(KEYS, st.none() | st.integers(0, 2)),
)
def test_differences_are_named_where_there_are_some_and_are_the_same_seen_from_there(one, other):
    forth, back = differences(one, other), differences(other, one)
    assert bool(forth) == (one != other)
    assert sorted(line.split(" is ")[0] for line in forth) == sorted(
        line.split(" is ")[0] for line in back
    )
    named = [line.split(" is ")[0] for line in forth]
    for key in one.keys() | other.keys():
        if one.get(key, ...) != other.get(key, ...):
            assert any(key == name or key.startswith(f"{name}.") for name in named)


def test_many_differences_are_counted(tmp_path):
    asked = worked(config(tmp_path))
    many = {"temperature": 0.1, "per_task": 9, "max_tokens": 9, "evaluation_temperature": 1.0}
    few = {"max_tokens": 9, "max_steps": 9, "example": True, "list_actions": 9, "thoughts": False}
    with pytest.raises(InputError, match=r"list_actions is 0 .*, and 1 more; give .* to go on"):
        refuse_other_settings(with_changes(asked, planner=many, agent=few))


@pytest.mark.slow
def test_plans_of_ones_own_are_evaluated_beside_a_runs_report(tmp_path, given_file, capsys):
    asked = named_config(str(given_file))
    with Run(asked) as run:
        run_pipeline(run)
    plans = tmp_path / "plans.jsonl"
    rows = [
        {"id": task.id, "task": "", "workflow": "Step 1: Knock."} for task in run.tasks("unseen")
    ]
    plans.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = ["config.yaml", "report/summary.json", "report/index.html"]
    before = [(asked.run_dir / name).read_bytes() for name in kept]
    for name in (asked.name, asked.name, "fresh", "fresh"):
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", str(given_file), f"name={name}", "--plans", str(plans)])
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        report = "report-plans" if name == asked.name else "report"
        assert f"report: {tmp_path / name / report}" in said.out
        arms = json.loads((tmp_path / name / report / "summary.json").read_text())["arms"]
        assert set(arms) == {"none", "file"}
    assert [(asked.run_dir / name).read_bytes() for name in kept] == before
    assert not (tmp_path / "fresh" / "report-plans").exists()
    with pytest.raises(SystemExit) as ended:
        main(["run", str(given_file), "name=more", "--from", str(asked.run_dir)])
    assert not ended.value.code and not (tmp_path / "more" / "report-plans").exists()
