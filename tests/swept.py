"""What a sweep of the small run (`tests.small_run`) over two seeds leaves."""

from pathlib import Path

NAMES = ["small-seed0", "small-seed1"]
"""Of its points."""


def mlflow_runs(folder: Path) -> dict[str, dict]:
    """Name -> status and parent's name, of whole runs and sweeps."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    everything = client.search_runs([client.get_experiment_by_name("mpo").experiment_id])
    found = [run for run in everything if run.data.tags["mpo.kind"] in ("run", "sweep")]
    names = {run.info.run_id: run.info.run_name for run in found}
    return {
        run.info.run_name: {
            "status": run.info.status,
            "parent": names.get(run.data.tags.get("mlflow.parentRunId")),
        }
        for run in found
    }
