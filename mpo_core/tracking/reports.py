"""The reports of runs that MLflow knows, fetched from its store."""

import os
from pathlib import Path
from typing import Any

from mpo_core.errors import InputError
from mpo_core.report import SUMMARY
from mpo_core.run_folder import RunFolder
from mpo_core.tracking.faults import impatient, in_a_line
from mpo_core.tracking.store import DATABASE, sqlite_uri, store_uri
from mpo_core.tracking.tracker import KIND


def id_in_mlflow(run_dir: Path) -> str:
    """What MLflow calls the run of a folder; empty where it has none."""
    path = RunFolder(run_dir).mlflow_run
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def fetch_reports(
    experiment: str, where: str, into: Path, uri: str | None = None, runs_dir: Path = Path("runs")
) -> list[Path]:
    """Copy the reports of an experiment's runs, the oldest first.

    Args:
        where: MLflow's filter of runs, such as `params.seed = '1'`; empty for all.
        into: each run gets a folder of its own here, with `report/` in it.
        uri: of the store; by default `MLFLOW_TRACKING_URI`, else the database in `runs_dir`.

    Returns:
        The runs' folders; runs without a whole report are left out.

    Raises:
        InputError: the store cannot be asked, or has no such experiment or run.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    database = runs_dir / DATABASE
    store = store_uri(uri, runs_dir)
    if store == sqlite_uri(database.resolve()) and not database.is_file():
        raise InputError(f"{database}: no MLflow store there; give --tracking-uri")
    try:
        with impatient():
            return _fetched(MlflowClient(tracking_uri=store), experiment, where, into)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise InputError(
            f"--tracking-uri: MLflow's store cannot be asked: {in_a_line(error)}"
        ) from error


def _fetched(client: Any, experiment: str, where: str, into: Path) -> list[Path]:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise InputError(f"--experiment: MLflow has none called {experiment!r}")
    runs: list[Any] = []
    page: str | None = ""
    while page is not None:
        some = client.search_runs(
            [found.experiment_id],
            where,
            order_by=["attributes.start_time ASC"],
            page_token=page or None,
        )
        runs, page = [*runs, *some], some.token or None
    folders = []
    for run in runs:
        if run.data.tags.get(KIND, "run") != "run":
            continue  # A sweep, or a part of a run.
        artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id, "report")}
        if f"report/{SUMMARY}" not in artifacts:
            continue
        folder = into / run.info.run_id
        folder.mkdir(parents=True)
        client.download_artifacts(run.info.run_id, "report", str(folder))
        folders.append(folder)
    if not folders:
        raise InputError(
            f"--experiment: none of the {len(runs)} runs of {experiment!r} that the filter leaves "
            "has a report"
        )
    return folders
