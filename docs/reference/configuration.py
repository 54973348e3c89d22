"""Every setting of a config, as Markdown, from the classes that declare and check it."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getdoc
from itertools import groupby
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from jobs.configs import PRESETS, preset_names
from mpo_core.config import Config
from mpo_core.config.declare import bearing
from mpo_core.envs.base import installed, suite_class

BEARINGS = {
    "decides": "decides results",
    "adds": "adds to results",
    "selects": "selects among results",
    "operational": "operational",
}
WORDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    NoneType: "null",
    Any: "any value",
}
COLLECTIONS = {list: "list of {}", dict: "mapping of {} to {}"}
LIMITS = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}


@dataclass(frozen=True)
class Key:
    """A setting that a config may have."""

    section: str
    """Dotted; `NAME` and `SPLIT` stand in it for what a config calls them. Empty at the top."""
    name: str
    kind: str
    default: str
    bearing: str
    meaning: str

    @property
    def key(self) -> str:
        return f"{self.section}.{self.name}" if self.section else self.name


@dataclass(frozen=True)
class Part:
    """A section of the config: a class, and where it stands."""

    name: str
    kind: type[BaseModel]
    left_out: bool = False
    """Whether it is null unless a config says otherwise."""


def parts() -> Iterator[Part]:
    """All sections, the whole config first, each before those within it."""
    yield from _within(Part("", Config))


def _within(part: Part) -> Iterator[Part]:
    yield part
    for name, field in part.kind.model_fields.items():
        below = f"{part.name}.{name}" if part.name else name
        if below == "envs":
            for env in installed():
                yield from _within(Part(f"envs.{env}", suite_class(env).Config))
        for kind in _sections(field.annotation):
            place = f"{below}.NAME" if _is_mapping(field.annotation) else below
            yield from _within(Part(place, kind, left_out=field.default is None))


def declared() -> list[Key]:
    """All settings, section by section."""
    return [
        Key(
            section=part.name,
            name=name,
            kind=_kind(field),
            default=_default(field),
            bearing=BEARINGS[bearing(field) or "decides"],
            meaning=" ".join((field.description or "").split()),
        )
        for part in parts()
        for name, field in part.kind.model_fields.items()
        if name != "envs" and (not _sections(field.annotation) or field.default is None)
    ]


def markdown() -> str:
    """A heading and a table a section, then the presets."""
    rows = {section: list(found) for section, found in groupby(declared(), lambda key: key.section)}
    text = "".join(_section(part, rows.get(part.name, [])) for part in parts())
    return f"{text}\n{_presets()}"


def _section(part: Part, rows: list[Key]) -> str:
    title = f"`{part.name}`" if part.name else "The whole"
    said = [" ".join((getdoc(part.kind) or "").split())]
    if part.left_out:
        said.append("Left out, it is null.")
    head = "| key | default | type; bearing | meaning |\n|---|---|---|---|\n" if rows else ""
    body = "".join(
        f"| `{row.name}` | {row.default} | {_cell(row.kind)}; {row.bearing} "
        f"| {_cell(row.meaning)} |\n"
        for row in rows
    )
    return f"\n## {title}\n\n{' '.join(said)}\n\n{head}{body}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _presets() -> str:
    files = [*(PRESETS / f"{name}.yaml" for name in preset_names()), *PRESETS.glob("parts/*.yaml")]
    shown = ""
    for path in files:
        name = path.relative_to(PRESETS).with_suffix("")
        shown += f"\n### {name}\n\n```yaml\n{path.read_text('utf-8')}```\n"
    return f"\n## The presets\n\n`mpo config PRESET` prints each with all defaults.\n{shown}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    plain = to_jsonable_python(value)
    if isinstance(plain, str):
        return f"`{plain}`"
    return f"`{yaml.safe_dump(plain, default_flow_style=True, width=1000).split(chr(10))[0]}`"


def _kind(field: FieldInfo) -> str:
    """A field's type and limits, in words; that it may be null comes last."""
    words, null, _ = _words(field.annotation).partition(" or null")
    return " ".join([words, *_limits(field.metadata)]) + null


def _limits(metadata: Any) -> list[str]:
    found = [
        f"{word} {getattr(one, name):,}"
        for kind, (word, name) in LIMITS.items()
        for one in metadata
        if isinstance(one, kind)
    ]
    return [" and ".join(found)] if found else []


def _words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return " ".join([_words(inner[0]), *_limits(inner[1:])])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, inner))
    if origin in COLLECTIONS:
        return COLLECTIONS[origin].format(*map(_words, inner))
    section = isinstance(kind, type) and issubclass(kind, BaseModel)
    return "section" if section else WORDS.get(kind, str(kind))


def _sections(kind: Any) -> list[type[BaseModel]]:
    """The classes of sections that an annotation names."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [] if kind is BaseModel else [kind]
    return [found for inner in get_args(kind) for found in _sections(inner)]


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is dict
