"""A driver to kill: `training_driver.py METHOD MODEL ROWS CONFIG_JSON OUT STORAGE [START]`."""

import sys
from pathlib import Path

import ray

from cluster.training import train
from mpo_core.training.settings import CONFIGS

if __name__ == "__main__":
    method, model, rows, config, out, storage, *start = sys.argv[1:]
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
    )
    train(
        method,
        Path(rows),
        model,
        CONFIGS[method].model_validate_json(config),
        Path(out),
        seed=7,
        start=Path(start[0]) if start else None,
        storage_path=Path(storage),
    )
