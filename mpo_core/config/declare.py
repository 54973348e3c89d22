"""How a section of the config is declared: strictly, and each setting says what it bears on.

    temperature: float = decides(0.7, ge=0)          # Another value, another run.
    plan_samples: int = adds(0, ge=0)                # More of it adds to a run's results.
    arms: list[str] = selects(["none", "mpo"])       # Which results there are.
    save_steps: PositiveInt = operational(50)        # Nothing of what comes out.

A field that holds a section leaves it to the section's own fields. What says nothing, as in a third
party's section it may, decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from mpo_core.errors import InputError
from mpo_core.paths import check_paths, homes_filled_in
from mpo_core.types import content_hash

Bearing = Literal["decides", "adds", "selects", "operational"]
BEARING = "bearing"


def decides(default: Any = ..., **limits: Any) -> Any:
    """A setting by which results are what they are: a run's folder holds the work of one value."""
    return Field(default, json_schema_extra={BEARING: "decides"}, **limits)


def adds(default: Any = ..., **limits: Any) -> Any:
    """A number that results are means over: a run's folder may go on to more of them, but results
    over different numbers are not put together."""
    return Field(default, json_schema_extra={BEARING: "adds"}, **limits)


def selects(default: Any = ..., **limits: Any) -> Any:
    """A setting that says which results there are, and changes none of them."""
    return Field(default, json_schema_extra={BEARING: "selects"}, **limits)


def operational(default: Any = ..., **limits: Any) -> Any:
    """A setting that says where, how fast or how safely the work is done, and changes nothing of
    what comes out of it."""
    return Field(default, json_schema_extra={BEARING: "operational"}, **limits)


def bearing(field: FieldInfo) -> Bearing | None:
    """What a field says of itself; None where it says nothing."""
    said: Any = field.json_schema_extra
    return said.get(BEARING) if isinstance(said, dict) else None


class Section(BaseModel):
    """A part of the tree: unknown keys are refused, and paths have their home folders filled in."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    @classmethod
    def fields_of_other_kinds(cls) -> dict[str, FieldInfo]:
        """Where this is one of several kinds of a section, the fields that only others have."""
        return {}

    def moot(self) -> frozenset[str]:
        """Keys of settings and sections that bear on nothing, as the other settings are."""
        return frozenset()

    @field_validator("*", mode="before")
    @classmethod
    def _homes_filled_in(cls, value: Any) -> Any:
        try:
            return homes_filled_in(value)
        except InputError as error:
            raise ValueError(str(error)) from error

    @field_validator("*", mode="before")
    @classmethod
    def _switches_are_no_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """`seed: yes` is no 1."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and _is_number(field.annotation):
            raise ValueError(
                f"expected a number, found {str(value).lower()} (yes and on, no and off)"
            )
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _paths_of_files(cls, value: Any) -> Any:
        try:
            check_paths(value)
        except InputError as error:
            raise ValueError(str(error)) from error
        return value


@dataclass(frozen=True)
class Setting:
    """One setting of a config."""

    key: str
    """Dotted, from the section that was asked."""
    value: Any
    meaning: str
    bearing: Bearing

    @property
    def plain(self) -> Any:
        """The value as JSON has it."""
        return to_jsonable_python(self.value)


def settings(
    section: BaseModel, prefix: str = "", *, of_all_kinds: bool = False
) -> Iterator[Setting]:
    """Every setting below a section, in the order of their declaration, their keys prefixed.

    Args:
        of_all_kinds: also those that a section of another kind would have, by their defaults, so
            that sections of two kinds have the same keys.
    """
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from settings(value, f"{key}.", of_all_kinds=of_all_kinds)
        elif isinstance(value, dict) and any(isinstance(v, BaseModel) for v in value.values()):
            for entry, inner in value.items():
                yield from settings(inner, f"{key}.{entry}.", of_all_kinds=of_all_kinds)
        else:
            yield _setting(key, value, field)
    if of_all_kinds and isinstance(section, Section):
        for name, field in section.fields_of_other_kinds().items():
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            yield _setting(f"{prefix}{name}", default, field)


def bearing_on(section: BaseModel, *bearings: Bearing) -> dict[str, Any]:
    """The settings of some bearings, of all kinds of sections: dotted key -> value as in JSON."""
    all_settings = settings(section, of_all_kinds=True)
    return {one.key: one.plain for one in all_settings if one.bearing in bearings}


def deciding(section: BaseModel) -> dict[str, Any]:
    """The settings that a run's folder, or a training, holds the work of: dotted key -> value."""
    return bearing_on(section, "decides")


def identity(section: BaseModel) -> str:
    """Hash of all settings that bear on what comes out, and how much of it."""
    moot = section.moot() if isinstance(section, Section) else frozenset()
    bearing = bearing_on(section, "decides", "adds", "selects")
    return content_hash({k: v for k, v in bearing.items() if k.partition(".")[0] not in moot})


def _setting(key: str, value: Any, field: FieldInfo) -> Setting:
    meaning = " ".join((field.description or "").split())
    return Setting(key, value, meaning, bearing(field) or "decides")


def _is_number(kind: Any) -> bool:
    """Whether an annotation is that of a number, which may be left out."""
    if get_origin(kind) is Annotated:
        return _is_number(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        # A word such as `auto` may stand in a number's place.
        kinds = [one for one in get_args(kind) if get_origin(one) is not Literal]
        return all(_is_number(one) for one in kinds if one is not NoneType)
    return kind in (int, float)
