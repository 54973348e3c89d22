"""Trained planners in MLflow's registry: a version each, by its run, and an alias for the best.

The weights stay in the run's folder, and the version says where, unless the config asks to send
them: nothing copies gigabytes unasked.
"""

import json
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mpo_core.tracking.faults import Refused

BEST = "best"
KEY = "mpo.key"
MEASURED_ON = "mpo.measured_on"
REWARD = "mpo.mean_reward"


def register(client: Any, planner: dict[str, Any], key: str, run_id: str) -> None:
    """Make a version of a trained planner, or bring it up to date; the alias `best` goes to the
    version with the highest mean reward of all that were measured on the same tasks with the same
    agent.

    Args:
        client: an `MlflowClient`.
        planner: as `mpo_core.tracking.assets.PlannerVersion` holds it.
        key: of the run in its queue.
    """
    name = planner["model"]
    _ensure_model(client, name)
    place = f"planner/{planner['version']}"
    _send_weights(client, planner, run_id, place)
    tags = {
        **planner["tags"],
        KEY: f"{key}/{planner['version']}",
        MEASURED_ON: planner["measured_on"],
        REWARD: repr(planner["mean_reward"]),
        "mpo.weights": planner["folder"],
    }
    versions = client.search_model_versions(f"name = '{name}'")
    own = [found for found in versions if found.tags.get(KEY) == tags[KEY]]
    if own:
        for tag, value in tags.items():
            client.set_model_version_tag(name, own[0].version, tag, value)
    else:
        source = f"runs:/{run_id}/{place}"
        client.create_model_version(name, source, run_id=run_id, tags=tags)
    client.set_registered_model_alias(name, BEST, _best(client, name, planner["measured_on"]))


def _ensure_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description="Planners trained by mpo-suite.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _send_weights(client: Any, planner: dict[str, Any], run_id: str, place: str) -> None:
    folder = Path(planner["folder"])
    if planner["upload"]:
        if not folder.is_dir():
            raise Refused(f"{folder} is gone")
        client.log_artifacts(run_id, str(folder), place)
        return
    where = {"host": socket.gethostname(), "folder": str(folder)}
    with TemporaryDirectory() as made:
        file = Path(made) / "where.json"
        file.write_text(json.dumps(where, indent=1) + "\n", encoding="utf-8")
        client.log_artifact(run_id, str(file), place)


def _best(client: Any, name: str, measured_on: str) -> str:
    """The version with the highest reward; of equal ones the first."""
    alike = [
        found
        for found in client.search_model_versions(f"name = '{name}'")
        if found.tags.get(MEASURED_ON) == measured_on
    ]
    return max(alike, key=lambda one: (float(one.tags[REWARD]), -int(one.version))).version
