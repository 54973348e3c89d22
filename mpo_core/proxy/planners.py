"""The versions of the planner that a proxy knows: `planners.json` in its folder.

It is written whole, and read again when it has changed, so that a new version is taken up without
a restart. Conversations under way keep their plan, which is in the store.
"""

import json
import re
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from mpo_core.config.faults import in_words
from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.proxy.records import ENVIRONMENT, OFF
from mpo_core.textfile import read_text
from mpo_core.types import Record

FILE = "planners.json"
PROMPTS = "mpo_planner.json"
"""Beside a planner's weights: by whose prompt it was trained to be asked, `{"env": NAME}`."""
NUMBERED = re.compile(r"v([1-9]\d{0,8})")


class Source(Record):
    """Where a version's plans come from: a file of plans, a server, or weights; one of the three.

    Relative paths are relative to the proxy's folder.
    """

    plans: Path | None = None
    """JSON lines of task and plan, by the task's text."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible server, with `model`."""
    model: str | None = None
    folder: Path | None = None
    """A Hugging Face model folder, or an adapter's."""
    training: str | None = None
    """A hash of the training that left the folder's weights: others may come to lie there."""
    env: str = ENVIRONMENT
    """The environment by whose prompt a model is asked; that of callers' tasks by default."""

    @model_validator(mode="after")
    def _one_of_three(self) -> "Source":
        given = [k for k in ("plans", "endpoint", "folder") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError("give one of plans, endpoint (with model) and folder")
        if (self.model is None) != (self.endpoint is None):
            raise ValueError("endpoint and model belong together")
        return self


class Canary(Record):
    """A version that is tried on a share of the new conversations."""

    version: str
    share: float = Field(gt=0, lt=1)


class Planners(Record):
    """All versions, and which of them write plans."""

    current: str
    canary: Canary | None = None
    versions: dict[str, Source]

    @property
    def used(self) -> list[str]:
        """The versions that write plans."""
        return [self.current, *([self.canary.version] if self.canary else [])]

    @model_validator(mode="after")
    def _named(self) -> "Planners":
        for name in self.used:
            if name not in self.versions:
                raise ValueError(f"{name!r} is not among the versions")
        if OFF in self.versions or "" in self.versions:
            raise ValueError(f"no version can be called {OFF!r} or nothing")
        for name in self.versions:
            # It is said in a header.
            if not name.isascii() or not name.isprintable() or name != name.strip():
                raise ValueError(f"{name!r}: a version's name is printable ASCII characters")
        if self.canary and self.canary.version == self.current:
            raise ValueError("the canary is the current version")
        return self


def read_planners(folder: Path) -> Planners | None:
    """What a proxy's folder says of its planners; None where it says nothing.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return Planners.model_validate_json(read_text(path))
    except ValidationError as error:
        faults = "; ".join(in_words(fault) for fault in error.errors())
        raise InputError(f"{path}: {faults}; mend it, or delete it to begin anew") from error


def write_planners(folder: Path, planners: Planners) -> None:
    """Say which planners there are. Raises InputError where the file cannot be written."""
    write_text(folder / FILE, planners.model_dump_json(indent=1, exclude_none=True) + "\n")


def free_version(taken: Iterable[str]) -> str:
    """A name that no version has had: v1 for the first planner of a folder.

    Args:
        taken: names of versions, and the arms of conversations: what was given to these, and what
            they earn, belongs to the version that had the name then.
    """
    versions = set(taken) - {OFF}
    if not versions:
        return "v1"
    numbers = [int(found[1]) for name in versions if (found := NUMBERED.fullmatch(name))]
    # The planner that a folder began with is its first, whatever it is called.
    after = (f"v{number}" for number in count(max([1, *numbers]) + 1))
    return next(name for name in after if name not in versions)


def read_prompts_of(weights: Path) -> str | None:
    """The environment by whose prompt a planner is to be asked; None where its folder names none.

    Raises:
        InputError: the file is damaged.
    """
    path = weights / PROMPTS
    if not path.is_file():
        return None
    try:
        env = json.loads(read_text(path))["env"]
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: names no environment (env); mend it, or delete it") from error
    if not isinstance(env, str):
        raise InputError(f"{path}: env: expected an environment's name; mend it, or delete it")
    return env


def write_prompts_of(weights: Path, env: str) -> None:
    """Say beside a planner's weights by whose prompt it is to be asked."""
    write_text(weights / PROMPTS, json.dumps({"env": env}) + "\n")
