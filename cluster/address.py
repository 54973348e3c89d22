"""Which Ray cluster is meant.

A cluster has two addresses. A run's driver joins it by that of its control service (GCS),
`HOST:6379`; jobs are submitted to its dashboard, `http://HOST:8265`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mpo_core.errors import InputError

DEFAULT_DASHBOARD = "http://127.0.0.1:8265"


@dataclass(frozen=True)
class Address:
    """An address, and the setting that it stems from."""

    text: str
    setting: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.text}"


def cluster_address(
    asked: str | None, environment: Mapping[str, str] = os.environ
) -> Address | None:
    """The cluster for a run to join, as `HOST:PORT` or `auto`; None for a private one.

    Args:
        asked: `cluster.address` of the config, before RAY_ADDRESS.

    Raises:
        InputError: an address of another kind, with what to do instead.
    """
    found = _first(
        ("cluster.address", None if asked == "auto" else asked),
        ("RAY_ADDRESS", environment.get("RAY_ADDRESS")),
        ("cluster.address", asked),
    )
    if found is None or found.text == "local":
        return None
    if found.text == "auto":
        return found
    scheme, separator, _ = found.text.partition("://")
    unset = " (or unset it, for a private cluster)" if found.setting == "RAY_ADDRESS" else ""
    if separator and scheme in ("http", "https"):
        raise InputError(
            f"{found}: this is a dashboard's address, a run joins a cluster by HOST:PORT such as "
            f"10.0.0.1:6379; give that{unset}, or submit the run there as a job: "
            f"mpo run CONFIG --on ray --address {found.text}"
        )
    if separator:
        raise InputError(
            f"{found}: a run cannot be driven through {scheme}://; give the cluster's HOST:PORT"
            f"{unset}, or submit the run as a job: mpo run CONFIG --on ray --address "
            "http://HOST:8265"
        )
    try:
        host_and_port(found.text)
    except ValueError as error:
        raise InputError(
            f"{found}: {error}; a Ray cluster's address is HOST:PORT, such as 10.0.0.1:6379{unset}"
        ) from error
    return found


def dashboard_address(
    asked: str | None, configured: str | None, environment: Mapping[str, str] = os.environ
) -> Address:
    """The cluster to submit a job to: a dashboard's URL, a cluster's `HOST:PORT`, or `auto`.

    Args:
        asked: on the command line, before `launch.ray.address`, before the environment.

    Raises:
        InputError: an address of another kind.
    """
    found = _first(
        ("--address", asked),
        ("launch.ray.address", configured),
        ("RAY_API_SERVER_ADDRESS", environment.get("RAY_API_SERVER_ADDRESS")),
        ("RAY_ADDRESS", environment.get("RAY_ADDRESS")),
        ("--address", DEFAULT_DASHBOARD),
    )
    assert found is not None
    scheme, separator, rest = found.text.partition("://")
    if separator and (scheme not in ("http", "https") or not rest.strip("/")):
        raise InputError(
            f"{found}: jobs are submitted to a cluster's dashboard; give it as http://HOST:8265"
        )
    if not separator and found.text != "auto":
        try:
            host_and_port(found.text)
        except ValueError as error:
            raise InputError(
                f"{found}: {error}; a dashboard's address is http://HOST:8265"
            ) from error
    return Address(found.text.rstrip("/"), found.setting)


def host_and_port(text: str) -> tuple[str, int]:
    """The parts of `HOST:PORT`; an IPv6 host stands in brackets. Raises ValueError for others."""
    host, _, port = text.rpartition(":")
    if not host or "/" in text or "@" in text or (":" in host and not host.startswith("[")):
        raise ValueError("not of the form HOST:PORT")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{port!r} is no port")
    return host.strip("[]"), int(port)


def _first(*candidates: tuple[str, str | None]) -> Address | None:
    for setting, text in candidates:
        if text and text.strip():
            return Address(text.strip(), setting)
    return None
