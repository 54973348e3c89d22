import re

import pytest

from cluster.manifest import in_cluster, job_name
from jobs.configs import named_config
from mpo_core.errors import InputError

RUNS = ["demo", "Demo", "a_b", "a.b", "a-b", "1st", "1", "x" * 47, "x" * 48, "x" * 49, "ab-" * 40]


def test_a_runs_kubernetes_name_is_valid_short_and_its_own():
    names = [job_name(run) for run in RUNS]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 47
    assert names[0] == "demo"


def test_in_the_cluster_a_config_changes_by_its_place_alone():
    here = named_config(
        "demo-llm", ["cluster.address=ray://elsewhere:10001", "cluster.http_port=8000"]
    )
    there = named_config("demo-llm", ["runs_dir=/mnt/runs"])
    assert in_cluster(here) == there


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("prompts_dir=mine", "prompts_dir: mine"),
        ("envs.alfworld.data=games", "envs.alfworld.data: games"),
        ("envs.scienceworld.split_files.train=a.json", "envs.scienceworld.split_files.train"),
        ("planner.sampled=[a.jsonl]", "planner.sampled: a.jsonl"),
        ("models.smollm2.source=tests", "models.smollm2.source: tests"),
        ("tracking.uri=sqlite:///runs/mlflow.db", "tracking.uri"),
    ],
)
def test_a_file_of_this_machine_is_refused_in_one_line(override, said):
    with pytest.raises(InputError) as refused:
        in_cluster(named_config("demo-llm", [override]))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_paths_of_the_volumes_are_taken():
    in_cluster(named_config("demo-llm", ["envs.alfworld.data=/mnt/cache/alfworld"]))
