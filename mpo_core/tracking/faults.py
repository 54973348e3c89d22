"""What goes wrong with a store: a fault of the address or the login, which the user mends; a store
that is away, which is tried again; and an entry that it does not take.

Importing this does not import MLflow.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from mpo_core.errors import InputError, remedy

LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
SERVERS = ("http", "postgresql", "mysql", "mssql", "databricks")
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "ENDPOINT_NOT_FOUND")
REFUSED_LOGIN = re.compile(r"\b40[13]\b|PERMISSION_DENIED|UNAUTHENTICATED|CUSTOMER_UNAUTHORIZED")
NO_ANSWER = re.compile(r"failed with (timeout )?exception|too many \d+ error responses")
ADDRESS = re.compile(r"(?<=://)\S+|(?<=url: )/\S+")
PUBLIC = re.compile(r"(?i:api-version|charset|driver|mode|sslmode|timeout)=[\w.+-]*")
"""What of an address's query is shown; anything else may hold a key."""
HIDDEN = "***"
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""MLflow's own variables. By its own numbers it asks a dead server for two minutes, and one that
hangs for a quarter of an hour; here whoever sends tries again, later."""


class Away(Exception):
    """A store that does not answer, or not now: try again later."""

    how = "does not answer"


class Failing(Away):
    """A store that answers, and fails at what nothing can be sent without."""

    how = "answers, but does not begin the run"


class Refused(Exception):
    """A store that answers, and does not take this entry."""


def hidden(text: str) -> str:
    """The text without what may be secret in its addresses: users and passwords, up to the last
    `@`, and the values of queries, but for a few."""
    return ADDRESS.sub(lambda found: _hidden(found[0]), text)


def _hidden(address: str) -> str:
    place, asks, query = address.partition("?")
    if "@" in query:
        return HIDDEN  # Of a password with a `?`, or of a query: who knows.
    _, at, rest = place.rpartition("@")
    shown = [_without_value(part) for part in query.split("&")] if query else []
    return (f"{HIDDEN}@" if at else "") + rest + asks + "&".join(shown)


def _without_value(part: str) -> str:
    if PUBLIC.fullmatch(part):
        return part
    name, equals, _ = part.partition("=")
    return f"{name}={HIDDEN}" if equals else HIDDEN


def check_address(uri: str) -> None:
    """Raises InputError for a server's address without a host, or a login that cannot be sent."""
    if not uri.startswith(("http:", "https:")):
        return
    try:
        host = urlsplit(uri).hostname
    except ValueError:
        host = None
    if not host:
        raise InputError(f"tracking.uri: {hidden(uri)}: no host in it; set it to http://HOST:PORT")
    for name in LOGIN:
        if not os.environ.get(name, "").isprintable():
            raise InputError(
                f"{name}: holds a line break or another sign that cannot be sent; set it anew"
            )


@contextmanager
def opening(uri: str) -> Iterator[None]:
    """Make what goes wrong while a store is opened an `Away`, or an InputError that says what to
    mend."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with impatient():
            yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        said = hidden(f"{uri}: {in_a_line(error)}")
        if is_away(error, uri) and not REFUSED_LOGIN.search(str(error)):
            raise Away(said) from error
        raise InputError(f"tracking.uri: {said}; {_advice(error, uri)}") from error


@contextmanager
def sending(uri: str) -> Iterator[None]:
    """Make what goes wrong while an entry is sent an `Away`, or a `Refused`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with impatient():
            yield
    except (MlflowException, SQLAlchemyError, OSError, ValueError, NotImplementedError) as error:
        said = in_a_line(error)
        # Where a login is refused that once was taken, the entry is as good as before.
        if is_away(error, uri) or REFUSED_LOGIN.search(str(error)):
            raise Away(said) from error
        raise Refused(said) from error


@contextmanager
def impatient() -> Iterator[None]:
    """MLflow gives up soon and is quiet, where the environment does not say otherwise."""
    ours = {name: value for name, value in IMPATIENT.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def is_away(error: Exception, uri: str) -> bool:
    """Whether a later try may go better."""
    from sqlalchemy.exc import OperationalError

    if isinstance(error, OperationalError):
        return not uri.startswith("sqlite") or "locked" in str(error)
    code = getattr(error, "error_code", None)
    if code is None:
        return isinstance(error, OSError)
    if uri.startswith("sqlite") and "sqlite3." in str(error):
        return "locked" in str(error)
    if NO_ANSWER.search(str(error)) or code in ("TEMPORARILY_UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        return True
    status = getattr(error, "get_http_status_code", lambda: 0)()
    return uri.startswith("http") and status >= 500


def in_a_line(error: Exception) -> str:
    """What an error says, without all that was tried before, and without secrets in addresses."""
    what = hidden(" ".join(str(error).split()))
    what = what.partition("(Caused by ")[2] or what
    return what[max(0, what.rfind("[Errno")) :].rstrip("\"')")[:200]


def _advice(error: Exception, uri: str) -> str:
    """What to do about a store that cannot be opened, by the cause."""
    if isinstance(error, ImportError):
        return "install what it needs"
    if isinstance(error, OSError):
        return remedy(error)
    if REFUSED_LOGIN.search(str(error)):
        return (
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
            "to what the server accepts"
        )
    if "sqlite3." in str(error):
        return "mend that, or set tracking.uri to another store, or tracking.enabled=false"
    if not uri.startswith(SERVERS):
        return "set tracking.uri to http://HOST:PORT or sqlite:///FILE, or leave it out"
    return "check the address and its server, or set tracking.enabled=false"
