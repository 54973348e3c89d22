import os

import pytest

from tests.integration.training.tiny_planner import (
    make_demonstrations,
    make_model,
    make_pairs,
    make_scored,
)

# Read when Ray and the libraries of its workers are imported.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0", HF_HUB_OFFLINE="1", DS_ACCELERATOR="cpu"
)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    return make_pairs(tmp_path_factory.mktemp("pairs") / "pairs.jsonl")


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory):
    return make_demonstrations(tmp_path_factory.mktemp("rows") / "demonstrations.jsonl")


@pytest.fixture(scope="session")
def scored(tmp_path_factory):
    return make_scored(tmp_path_factory.mktemp("scored") / "answers.jsonl")


@pytest.fixture(scope="module")
def cluster():
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()
