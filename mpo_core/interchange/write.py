"""Episodes written whole or not at all, in a format by its name."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args

from mpo_core.errors import InputError, remedy
from mpo_core.files import whole, whole_folder
from mpo_core.interchange import atif, inspect_logs, otel
from mpo_core.interchange.played import Played

Format = Literal["atif", "otel", "inspect", "hf"]
FORMATS: tuple[Format, ...] = get_args(Format)
LINES = ".jsonl"


def write_episodes(form: Format, episodes: Iterable[Played], out: Path) -> int:
    """Write episodes for another tool; returns how many there were.

    Args:
        form: `atif`: a folder with a trajectory a file, or a file `.jsonl` with one a line.
            `otel`: a file `.jsonl` with a trace a line. `inspect`: a folder of `.eval` logs.
            `hf`: a dataset's folder.
        out: what to write; it must not be there, or be an empty folder.

    Raises:
        InputError: `out` is there, is no name for the format, or cannot be written, or there are no
            episodes; nothing is written then.
    """
    check_out(form, out)
    n = 0

    def counted() -> Iterator[Played]:
        nonlocal n
        for played in episodes:
            yield played
            n += 1

    try:
        with whole(out) if out.suffix == LINES else whole_folder(out) as partial:
            WRITERS[form](counted(), partial)
            if not n:
                raise InputError("no episodes to export; nothing was written")
        return n
    except OSError as error:
        said = error.strerror or error
        raise InputError(f"{out}: cannot write: {said}; {remedy(error)}") from error


def check_out(form: Format, out: Path) -> None:
    """Raises InputError where `out` is there, or is no name for the format."""
    lines = out.suffix == LINES
    if form == "otel" and not lines:
        raise InputError(
            f"--out {out}: otel is a file of lines; give it a name that ends in .jsonl"
        )
    if form in ("inspect", "hf") and lines:
        raise InputError(f"--out {out}: {form} is a folder; give it a name without .jsonl")
    if out.exists() and (not out.is_dir() or lines or any(out.iterdir())):
        raise InputError(f"--out {out}: exists already; choose another name")


def _write_dataset(episodes: Iterable[Played], folder: Path) -> None:
    from mpo_core.interchange import dataset  # Arrow is slow to import.

    dataset.write(episodes, folder)


WRITERS: dict[Format, Callable[[Iterable[Played], Path], None]] = {
    "atif": atif.write,
    "otel": otel.write,
    "inspect": inspect_logs.write,
    "hf": _write_dataset,
}
