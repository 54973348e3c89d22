"""MLflow's store where it is a file: how its address is written, and that it can be used.

By default it is `mlflow.db` in the runs folder, with the artifacts beside it. MLflow keeps where
they lie as absolute addresses; where the folder has moved, these follow it.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mpo_core.errors import InputError
from mpo_core.locks import share
from mpo_core.paths import homes_filled_in
from mpo_core.tracking.faults import HIDDEN, hidden

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
BUSY_S = 60


@dataclass(frozen=True)
class Address:
    """Where a run is logged."""

    uri: str
    experiment: str
    runs_dir: Path

    @classmethod
    def of(cls, given: str | None, experiment: str, runs_dir: Path) -> "Address":
        """Raises InputError for a runs folder in which no database can be."""
        return cls(store_uri(given, runs_dir), experiment, runs_dir)

    @property
    def own(self) -> bool:
        """Whether it is the database in the runs folder, wherever that is moved to."""
        return self.uri == sqlite_uri((self.runs_dir / DATABASE).resolve())

    @property
    def label(self) -> str:
        """Of what is noted of the store."""
        return f"{DATABASE if self.own else hidden(self.uri)} {self.experiment}"

    def noted(self, run_dir: Path) -> dict[str, Any]:
        """What a run's queue says of it, without what is secret, for whoever sends the rest."""
        return {
            "uri": None if self.own else hidden(self.uri),
            "experiment": self.experiment,
            "runs_dir": os.path.relpath(self.runs_dir.resolve(), run_dir.resolve()),
        }

    @classmethod
    def as_noted(cls, notes: dict[str, Any], run_dir: Path, given: str | None) -> "Address":
        """The address that a run's queue says; or another store's, where that is given.

        Raises:
            InputError: a password or a key of it is missing.
        """
        runs_dir = run_dir.joinpath(notes["runs_dir"]).resolve()
        uri = given or notes["uri"] or sqlite_uri(runs_dir / DATABASE)
        if HIDDEN in uri:
            uri = os.environ.get("MLFLOW_TRACKING_URI") or ""
            if hidden(uri) != notes["uri"]:
                raise InputError(
                    f"--tracking-uri: {run_dir} was logged to {notes['uri']}; give it whole, "
                    "or set MLFLOW_TRACKING_URI to it"
                )
        return cls(uri, notes["experiment"], runs_dir)


def store_uri(given: str | None, runs_dir: Path) -> str:
    """The store's address: the given one, else `MLFLOW_TRACKING_URI`, else the database in the runs
    folder."""
    uri = given or homes_filled_in(os.environ.get("MLFLOW_TRACKING_URI"))
    return uri or sqlite_uri((runs_dir / DATABASE).resolve())


def sqlite_uri(path: Path) -> str:
    """The address of a database, whatever its path has in it.

    Raises:
        InputError: it has something that cannot be written in an address.
    """
    from sqlalchemy import URL, make_url

    plain = f"sqlite:///{path}"
    if make_url(plain).database == str(path):
        return plain
    # Named with its driver, as MLflow makes a folder of the quoted name otherwise.
    quoted = URL.create("sqlite+pysqlite", database=str(path)).render_as_string()
    if make_url(quoted).database == str(path):
        return quoted
    raise InputError(f"runs_dir: {path.parent}: MLflow cannot open a database there; rename it")


def prepare(uri: str, runs_dir: Path, experiment: str) -> None:
    """See to it that a database can be written, and that artifacts go where they belong.

    MLflow tries for two minutes to open one that it cannot. Nothing for other stores.

    Raises:
        InputError: it cannot be read or written, or the experiment's artifacts would go where
            nothing is any more.
    """
    path = _database(uri)
    if path is None:
        return
    artifacts = (runs_dir / ARTIFACTS).resolve()
    own = path.resolve() == artifacts.with_name(DATABASE)
    for place in (path.parent, path, *([artifacts] if own else [])):
        if place.exists() and not os.access(place, os.W_OK):
            raise InputError(
                f"{place}: this user cannot write it; let its owner give you access (chmod g+w), "
                "set tracking.uri to another store, or tracking.enabled=false"
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as database:
            # Fails at once where it is no database, or cannot be written.
            database.execute("BEGIN IMMEDIATE")
            if own:
                _follow(database, artifacts.as_uri())
            else:
                _check_there(database, experiment)
            database.execute("COMMIT")
        share(path)
        if own:
            artifacts.mkdir(exist_ok=True)
            share(artifacts)
    except sqlite3.Error as error:
        raise InputError(
            f"{path}: {error}; mend that or move the file away, set tracking.uri to another store, "
            "or tracking.enabled=false"
        ) from error


def _database(uri: str) -> Path | None:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if not uri.startswith("sqlite"):
        return None
    try:
        name = make_url(uri).database
    except ArgumentError:
        return None
    return Path(name) if name and name != ":memory:" and not name.startswith("file:") else None


def _follow(database: sqlite3.Connection, place: str) -> None:
    """Let runs and experiments of a folder that has moved name the place where they are."""
    for _, old in _locations(database):
        if old != place and old.endswith(f"/{ARTIFACTS}"):
            database.execute(
                "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?",
                (place, old),
            )
            database.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, length(?) + 1) "
                "WHERE substr(artifact_uri, 1, length(?) + 1) = ? || '/'",
                (place, old, old, old),
            )


def _check_there(database: sqlite3.Connection, experiment: str) -> None:
    """Raises InputError where artifacts would be written into a runs folder that is gone."""
    for name, location in _locations(database):
        folder = Path(url2pathname(urlsplit(location).path))
        if name == experiment and folder.name == ARTIFACTS and not folder.parent.is_dir():
            raise InputError(
                f"tracking.experiment: {name!r} keeps its artifacts in {folder}, which is gone; "
                "put that folder back, or set tracking.experiment to another name"
            )


def _locations(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """Experiments, and where each keeps its artifacts, as far as that is a folder."""
    tables = database.execute("SELECT name FROM sqlite_master WHERE name = 'experiments'")
    if not tables.fetchall():
        return []
    found = database.execute("SELECT name, artifact_location FROM experiments")
    return [row for row in found if (row[1] or "").startswith("file:")]
