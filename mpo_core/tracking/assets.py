"""What a run has read and what it has made, as a tracker is told of it."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path


@dataclass(frozen=True)
class Dataset:
    """What a run has read, by its content."""

    name: str
    digest: str
    """A hash of the content, at most 36 characters."""
    rows: int
    path: str
    context: str
    """What for, such as `training`."""


def dataset(path: Path, context: str) -> Dataset:
    """A file of lines as a run has read it; its name is that of its folder and its own."""
    content = path.read_bytes()
    digest = sha256(content).hexdigest()[:20]
    name = f"{path.parent.name}/{path.stem}"
    return Dataset(name, digest, content.count(b"\n"), str(path), context)


@dataclass(frozen=True)
class PlannerVersion:
    """A trained planner, as it is registered."""

    model: str
    """Name that all versions of it are registered under."""
    version: str
    """The planner's in its run, such as `mpo-2`."""
    folder: Path
    """Of its weights."""
    upload: bool
    """Whether they are sent; else MLflow is told where they lie."""
    tags: dict[str, str]
    measured_on: str
    """Hash of tasks and agent: versions are compared that were measured on the same."""
    mean_reward: float
