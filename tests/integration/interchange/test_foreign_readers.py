"""What is exported, read by the packages that the formats are of: Harbor and inspect_ai."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from mpo_core.interchange import write_episodes
from mpo_core.interchange.played import writable
from tests.exported import READ, documents, episodes
from tests.foreign import installed, run_with

READ_TRAJECTORIES = """
import json, sys
from harbor.models.trajectories import Trajectory

for line in open(sys.argv[1], encoding="utf-8"):
    read = Trajectory.model_validate_json(line)
    # What Harbor writes again is what it was given, but for what is null.
    def without_null(value):
        if isinstance(value, dict):
            return {k: without_null(v) for k, v in value.items() if v is not None}
        return [without_null(v) for v in value] if isinstance(value, list) else value
    assert without_null(read.to_json_dict()) == without_null(json.loads(line))
    print(read.trajectory_id.encode().hex())
"""

READ_LOGS = """
import json, sys
from pathlib import Path
from inspect_ai.log import (
    list_eval_logs, read_eval_log, read_eval_log_sample, read_eval_log_sample_summaries,
    write_eval_log,
)

found = []
for listed in list_eval_logs(sys.argv[1]):
    head = read_eval_log(listed, header_only=True)
    log = read_eval_log(listed)
    rows = read_eval_log_sample_summaries(listed.name)
    assert head.status == "success" and head.results.total_samples == len(log.samples)
    assert {(s.id, s.epoch) for s in log.samples} == {(row.id, row.epoch) for row in rows}
    one = log.samples[0]
    assert read_eval_log_sample(listed.name, one.id, one.epoch).messages == one.messages
    copy = sys.argv[2] + "/" + Path(listed.name).name
    write_eval_log(log, copy)
    assert read_eval_log(copy).samples == log.samples
    for sample in log.samples:
        found.append(sample.model_dump(mode="json", exclude_none=True))
        assert sample.scores["reward"].value == sample.metadata["reward"]
        assert (sample.scores["success"].value == "C") == sample.metadata["success"]
    rewards = {}
    for sample in log.samples:
        rewards.setdefault(sample.id, []).append(sample.scores["reward"].value)
    means = [sum(values) / len(values) for values in rewards.values()]
    mean = log.results.scores[0].metrics["mean"].value
    assert abs(mean - sum(means) / len(means)) < 1e-9
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def made():
    """Episodes of all sorts, the same at each call."""
    found = []

    @settings(
        max_examples=150,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(episodes())
    def make(played):
        key = f"{played.episode.key}{len(found)}"
        found.append(replace(played, episode=played.episode.model_copy(update={"key": key})))

    make()
    assert sum(played.episode.steps > 1 for played in found) > 20
    return found


def test_harbors_models_take_every_trajectory_as_it_is(made, tmp_path):
    # Its models need nothing of what the package asks for, nor the Python of its other parts.
    folder = installed(
        tmp_path / "harbor", "--no-deps", "--python-version", "3.12", "harbor==0.26.0"
    )
    write_episodes("atif", made, tmp_path / "all.jsonl")
    read = run_with(folder, READ_TRAJECTORIES, str(tmp_path / "all.jsonl")).split("\n")[:-1]
    assert [bytes.fromhex(key).decode() for key in read] == [
        writable(played.episode.key) for played in made
    ]


def test_inspect_ai_lists_and_reads_every_log_and_writes_it_again(made, tmp_path):
    folder = installed(tmp_path / "inspect", "inspect_ai==0.3.285")
    write_episodes("inspect", made, tmp_path / "logs")
    (tmp_path / "copies").mkdir()
    read = json.loads(run_with(folder, READ_LOGS, str(tmp_path / "logs"), str(tmp_path / "copies")))

    def turns(samples):
        found = [READ["inspect"](sample)[0] for sample in samples]
        return sorted(json.dumps(one, sort_keys=True) for one in found)

    assert turns(read) == turns(documents("inspect", tmp_path / "logs"))
