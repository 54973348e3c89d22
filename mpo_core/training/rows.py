"""Training rows: JSONL files of records, what a length limit takes from them, and what a training
logs in return, a row a step."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from mpo_core.config.faults import plainly
from mpo_core.errors import InputError
from mpo_core.types import Message

R = TypeVar("R", bound=BaseModel)
Pair = dict[str, list[Message]]

ROLES = {"human": "user", "gpt": "assistant"}
"""ShareGPT's names of the roles."""
TOO_LONG = "the prompt alone fills max_length"
BLANK = "an answer is blank"
SAME = "chosen and rejected are the same"
SAME_AFTER_CUT = "chosen and rejected are the same up to max_length"
REPEATED = "the pair was stated before"
CONTRADICTED = "another pair states the opposite"


class Fit(NamedTuple):
    """What of the rows is trained on."""

    cut: int
    """Rows trained on without their end, longer than `max_length`."""
    dropped: Mapping[str, int]
    """Why rows are left out -> how many."""
    answer_tokens: float
    """Mean length of the answers to learn, in tokens."""

    @property
    def warnings(self) -> list[str]:
        """Says what is left out, where something is."""
        if not self.dropped:
            return []
        return [f"rows left out, since they teach nothing: {reasons(self.dropped)}"]


def reasons(dropped: Mapping[str, int]) -> str:
    """Why rows are left out, with how many."""
    return ", ".join(f"{count} ({reason})" for reason, count in dropped.items())


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
            where = "".join(f"{part}." for part in fault["loc"])[:-1]
            said = f"{where} {plainly(fault['msg'])}".strip()
            raise InputError(f"{path}:{number}: not a {name}: {said}") from error
    if not records:
        raise InputError(f"{path}: no {name}s to train on")
    return records


@contextmanager
def naming_row(path: Path | None, number: int) -> Iterator[None]:
    """Bad input that shows only when a row is tokenized names the row."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: row {number}: {error}") from error


def telling_pairs(pairs: Sequence[Pair]) -> tuple[dict[int, Pair], Counter[str]]:
    """The pairs that state a preference which no other takes back or has stated before.

    Returns:
        These by their number, from 1, in their order; and why the others are left out: reason ->
        how many.
    """
    stated = {_preference(pair) for pair in pairs}
    kept: dict[int, Pair] = {}
    dropped: Counter[str] = Counter()
    seen: set[tuple[str, str, str]] = set()
    for number, pair in enumerate(pairs, start=1):
        prompt, chosen, rejected = preference = _preference(pair)
        if not chosen or not rejected:
            dropped[BLANK] += 1
        elif chosen == rejected:
            dropped[SAME] += 1
        elif (prompt, rejected, chosen) in stated:
            dropped[CONTRADICTED] += 1
        elif preference in seen:
            dropped[REPEATED] += 1
        else:
            seen.add(preference)
            kept[number] = pair
    return kept, dropped


def _preference(pair: Pair) -> tuple[str, str, str]:
    """What a pair states, but for the space around texts, which templates remove."""

    def words(messages: Sequence[Message]) -> str:
        return "\0".join(f"{m['role']}\0{m['content'].strip()}" for m in messages)

    chosen, rejected = (pair[side][0]["content"].strip() for side in ("chosen", "rejected"))
    return words(pair["prompt"]), chosen, rejected


def require_any(n_kept: int, path: Path, dropped: Mapping[str, int]) -> None:
    """Raises InputError when nothing is left to train on."""
    if not n_kept:
        raise InputError(f"{path}: nothing to train on; left out are {reasons(dropped)}")


def mean_of_last(curve: list[dict[str, float]], name: str) -> float:
    """A figure's mean over the last quarter of the steps that have it; a single batch says
    little."""
    found = [row[name] for row in curve if name in row]
    return fmean(found[-max(1, len(found) // 4) :])
