"""Files as people save them: text in UTF-8 with or without a byte order mark, in UTF-16, with any
line ends; and rows, as JSON or Parquet."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import TypeAdapter, ValidationError

from mpo_core.errors import InputError
from mpo_core.patterns import matched

T = TypeVar("T")
PARQUET = b"PAR1"
PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip or Excel",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"ARROW1": "Arrow",
}
"""How files begin that hold rows in a form that is not read -> what they are."""

# Files put one after the other have their byte order marks in the middle.
_SPACE = re.compile(r"[ \t\n\ufeff]*")


def read_text(path: Path) -> str:
    r"""A file's text, without its byte order mark and with `\n` at the line ends.

    Raises:
        InputError: the file cannot be read, or is no such text.
    """
    return _decoded(path, _content(path))


def read_values(path: Path) -> list[Any]:
    """The rows of a file: a JSON list, JSON values one after the other, or a Parquet table.

    Raises:
        InputError: the file cannot be read, or is none of these.
    """
    content = _content(path)
    if content.startswith(PARQUET):
        return _table(path)
    try:
        text = _decoded(path, content)
        values = list(_values(text))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not JSON ({error}; the file begins {text[:30]!r}); expected a JSON list, "
            "JSON lines or Parquet"
        ) from error
    if all(isinstance(value, list) for value in values):
        return [row for rows in values for row in rows]
    return values


@overload
def read_notes(path: Path) -> dict[str, Any]: ...
@overload
def read_notes(path: Path, form: type[dict[str, T]]) -> dict[str, T]: ...
def read_notes(path: Path, form: Any = None) -> Any:
    """What a run has noted in a JSON file of its own; nothing before it has.

    Args:
        form: of what is noted, which is looked at; by default any JSON object.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        text = read_text(path)
        notes = json.loads(text)
        if not isinstance(notes, dict):
            raise ValueError("not a JSON object")
        return notes if form is None else TypeAdapter(form).validate_json(text, strict=True)
    except (ValueError, RecursionError) as error:
        said = _first_fault(error) if isinstance(error, ValidationError) else error
        raise InputError(
            f"{path}: damaged ({said}); delete it, and what it held is made anew"
        ) from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from error


def _decoded(path: Path, content: bytes) -> str:
    for beginning, kind in PACKED.items():
        if content.startswith(beginning):
            raise InputError(f"{path}: a {kind} file; unpack it, or save it as JSON lines")
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not readable as UTF-8 text ({error}); save it as UTF-8"
        ) from error
    return re.sub("\r\n?", "\n", text)


def _values(text: str) -> Iterator[Any]:
    decoder, position = json.JSONDecoder(object_pairs_hook=_each_key_once), 0
    while (position := matched(_SPACE, text, position).end()) < len(text):
        value, position = decoder.raw_decode(text, position)
        yield value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; JSON's own reader lets the last of two equal keys win without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice!r} is given twice in one object")
    return found


def _table(path: Path) -> list[Any]:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        return read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise InputError(f"{path}: not readable as Parquet ({error})") from error
