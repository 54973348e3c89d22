"""Training rows: JSONL files of records, what a length limit takes from them, and what a training
logs in return, a row a step."""

from pathlib import Path
from statistics import fmean
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from mpo_core.errors import InputError

R = TypeVar("R", bound=BaseModel)


class Fit(NamedTuple):
    """How the rows fit `max_length`."""

    cut: int
    """Rows trained on without their end."""
    dropped: int
    """Rows left out, since their prompt alone fills the length."""
    answer_tokens: float
    """Mean length of the answers to learn, in tokens."""


def read_records(path: Path, kind: type[R], name: str) -> list[R]:
    """The records of a JSONL file.

    Args:
        name: what a record is called in an error, for example `preference pair`.

    Raises:
        InputError: for a missing or empty file, or a line that is not such a record.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of {name}s")
    records = []
    # Not splitlines(), which also splits at line breaks that JSON leaves inside its strings.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(kind.model_validate_json(line))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise InputError(f"{path}:{number}: not a {name}: {where} {fault['msg']}") from error
    if not records:
        raise InputError(f"{path}: no {name}s to train on")
    return records


def require_any(n_kept: int, path: Path, max_length: int) -> None:
    """Raises InputError when the length limit has left nothing to train on."""
    if not n_kept:
        raise InputError(f"{path}: every prompt fills max_length {max_length}")


def mean_of_last(curve: list[dict[str, float]], name: str) -> float:
    """A figure's mean over the last quarter of the steps; a single batch says little."""
    return fmean(row[name] for row in curve[-max(1, len(curve) // 4) :])
