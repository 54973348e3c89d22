"""A driver to kill: `training_driver.py OBJECTIVE MODEL ROWS CONFIG_JSON OUT STORAGE [START]`."""

import signal
import sys
from pathlib import Path

import ray

from cluster.training import train
from mpo_core.training.settings import CONFIGS, TrainingJob

if __name__ == "__main__":
    # Ignored where the tests run in the background of a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    objective, model, rows, config, out, storage, *start = sys.argv[1:]
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
    )
    settings = CONFIGS[objective].model_validate_json(config)
    places = {"rows": Path(rows), "out": Path(out), "work": Path(storage), "objective": objective}
    begun = Path(start[0]) if start else None
    train(TrainingJob(**places, model=model, config=settings, seed=7, start=begun))
