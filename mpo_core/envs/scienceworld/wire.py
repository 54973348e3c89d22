"""What travels between us and a py4j gateway server: one command a few lines, one answer a line."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Thrown:
    """An answer that tells of an exception."""

    answer: str
    """Its text, or a reference to it, after a letter that says which."""


@dataclass(frozen=True)
class Ref:
    """A Java object that the process keeps for us until it is released."""

    id: str


def call(target: Ref | str, method: str, *args: object) -> str:
    """Command that calls a method of an object, or a static one of the class `target`."""
    owner = target.id if isinstance(target, Ref) else f"z:{target}"
    return f"c\n{owner}\n{method}\n{_arguments(args)}e\n"


def new(class_name: str, *args: object) -> str:
    """Command that makes an object."""
    return f"i\n{class_name}\n{_arguments(args)}e\n"


def release(ref: Ref) -> str:
    """Command that lets go of an object."""
    return f"m\nd\n{ref.id}\ne\n"


def _arguments(args: tuple) -> str:
    return "".join(f"{_argument(arg)}\n" for arg in args)


def _argument(arg: object) -> str:
    match arg:
        case None:
            return "n"
        case bool():
            return f"b{arg}"
        case int():
            return f"i{arg}" if -(2**31) <= arg < 2**31 else f"L{arg}"
        case str():
            escaped = arg.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n")
            return f"s{escaped}"
        case Ref():
            return f"r{arg.id}"
    raise TypeError(type(arg))


def value_of(answer: str) -> object:
    """The Python value of an answer line; `Thrown` for an exception."""
    if not answer.startswith("!y"):
        return Thrown(answer[2:])
    kind, text = answer[2:3], answer[3:]
    plain: dict[str, Callable[[str], object]]
    plain = {"s": unescape, "i": int, "L": int, "d": float, "b": "true".__eq__}
    if kind in plain:
        return plain[kind](text)
    return None if kind in "vn" else Ref(text)


def unescape(text: str) -> str:
    if "\\" not in text:
        return text
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\r", "\r") for part in parts)
