"""What a machine has of what is needed: what `mpo doctor` shows."""

from dataclasses import dataclass
from importlib import metadata
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One thing that was looked for."""

    name: str
    status: Literal["ok", "warn", "fault"]
    found: str
    remedy: str = ""


def package(name: str) -> Check:
    """A package of the lock."""
    try:
        return Check(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, "fault", "not installed", "install from the lock: make install")
