"""A driver to kill: `python training_driver.py MODEL PAIRS CONFIG_JSON OUT STORAGE`."""

import sys
from pathlib import Path

import ray

from cluster.training import train_dpo
from mpo_core.config import TrainingConfig

if __name__ == "__main__":
    model, pairs, config, out, storage = sys.argv[1:]
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
    )
    train_dpo(
        Path(pairs),
        model,
        TrainingConfig.model_validate_json(config),
        Path(out),
        seed=7,
        storage_path=Path(storage),
    )
