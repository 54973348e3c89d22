import json

import pytest

from jobs.cli import main
from jobs.status import status
from tests.viewed_run import append, episode, viewed_run

CONFIG = """
name: run
envs: {alfworld: {}}
models: {llm: {endpoint: "http://127.0.0.1:1/v1", name: m}}
planner: {model: llm, per_task: 2}
agent: {model: llm}
scoring: {repetitions: 3}
validation: 0
cluster: {enabled: false}
evaluation: {arms: [none, base]}
"""


@pytest.fixture
def run(tmp_path):
    folder = viewed_run(tmp_path / "run")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def told(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as end:
        main(["status", *map(str, arguments)])
    shown = capsys.readouterr()
    assert not end.value.code, shown.err
    return shown.out


def test_what_a_run_has_done_is_counted(run, capsys):
    found = status(run)
    assert found["stages"]["evaluation"]["episodes"] == 8
    assert found["stages"]["evaluation"]["mean_reward"] == 0.5
    assert found["stages"]["evaluation"]["stderr"] == pytest.approx(0.5 / 7**0.5)
    assert found["stages"]["evaluation"]["ends"] == {"done": 4, "step_limit": 4}
    assert found["plans"] == {"mpo": 4, "sft": 4} and found["report"]
    assert "8 episodes, mean reward 0.500 ± 0.189; 4 done, 4 step limit" in told(capsys, run)


def test_a_run_that_goes_on_says_how_far_its_scoring_is(run, capsys):
    (run / "report" / "summary.json").unlink()
    tasks = (run / "tasks" / "unseen.jsonl").read_text()
    (run / "tasks" / "train.jsonl").write_text(tasks.replace('"unseen"', '"train"'))
    append(run, [episode(number) for number in range(20, 25)], stage="scoring")
    text = told(capsys, run)
    assert "no report yet" in text and "5 of at most 24 episodes" in text


def test_scripts_get_json(run, capsys):
    [found] = json.loads(told(capsys, run, "--json"))
    assert found["name"] == "run" and found["pairs"] == {"pairs": 4}


def test_looking_is_no_writing(run):
    before = status(run)["seconds_ago"]
    assert status(run)["seconds_ago"] >= before
