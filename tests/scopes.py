"""Which tests run in one process, and in which order, where several run at once."""

from pathlib import Path

LONGEST = (
    "training",
    "slurm",
    "pipeline",
    "launch",
    "alfworld",
    "kubernetes",
    "cluster",
    "endpoints",
    "scienceworld",
    "environments",
    "method",
    "examples",
    "tracking",
    "view",
)
"""Folders of integration tests by the time that they take, the longest first; but Slurm's, which
mostly wait, beside the trainings, which compute."""


def scope_of(nodeid: str) -> str:
    """Whose tests run in one process and share what they start: a folder of integration tests, or
    a file of unit tests."""
    file = Path(nodeid.partition("::")[0])
    return file.as_posix() if "unit" in file.parts else file.parent.as_posix()
