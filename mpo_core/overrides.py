"""`dotted.key=value` settings of the command line: which key of the config tree each one means.

Names that the user chose (of models, arms, environments) may hold dots themselves. Where a name
ends is decided by, in this order: quotes (`models."qwen2.5-7b".endpoint`), the longest name that
the tree has already, and the fields that may come after it.
"""

import json
import re
import shlex
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mpo_core import strict_yaml
from mpo_core.errors import InputError
from mpo_core.likeness import meant

# A word of a key: in quotes, or up to the next dot.
WORD = re.compile(r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^."'=]+))(?=[.=]|$)""")


class _Quoted(str):
    """A whole name, whatever dots it holds."""


def split_override(text: str) -> tuple[list[str], str]:
    """The words of a setting's key, and the text of its value.

    Raises:
        InputError: it is not written `dotted.key=value`.
    """
    words: list[str] = []
    position = 0
    while match := WORD.match(text, position):
        kind = match.lastgroup or ""
        words.append(match[kind] if kind == "plain" else _Quoted(match[kind]))
        position = match.end() + 1
        if text[match.end() : position] == "=" and all(words):
            return words, text[position:]
    raise InputError(f"{text!r}: an override is written dotted.key=value")


def apply_override(tree: dict[str, Any], override: str, section: type[BaseModel]) -> None:
    """Set a key of a config tree, in place.

    Args:
        section: what the tree is a section of.

    Raises:
        InputError: the override is not `dotted.key=value`, its value not YAML, or it goes through
            something that is not a section.
    """
    words, text = split_override(override)
    try:
        value = strict_yaml.load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        said = f"{override!r}: the value is not YAML: {reason}"
        is_text = _is_text(section, _path(words, tree, section, None))
        raise InputError(said + (f"; {_in_quotes(words, text)}" if is_text else "")) from error
    *parents, last = path = _path(words, tree, section, value)
    if _is_text(section, path) and (made := _made_of(text, value)):
        raise InputError(
            f"{override!r}: expected a text, of which YAML makes {made}; {_in_quotes(words, text)}"
        )
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {})
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise InputError(f"{override!r}: {parent} is a value, not a section")
        node = child
    node[last] = value


def like(section: Any, path: Sequence[str | int]) -> str:
    """What an unknown key of the section, the last of the path, may have been meant for
    (`likeness.meant`)."""
    *parents, name = map(str, path)
    kind = _bare(section)
    for parent in parents:
        kind = _of_kind(kind, parent) if parent.startswith("[") else _below(kind, parent)
    return meant(name, _fields(kind))


def quoted(value: Any) -> str:
    """A value as an override holds it, whatever signs are in its texts."""
    try:
        plain = isinstance(value, str) and strict_yaml.load(value) == value
    except yaml.YAMLError:
        plain = False
    return value if plain else json.dumps(value, ensure_ascii=False)


def _is_text(section: Any, path: Sequence[str]) -> bool:
    """Whether what stands at a path is a text, and can be nothing else."""
    *parents, name = path
    kind: Any = section
    for parent in parents:
        kind = _below(kind, parent)
    field = _fields(kind).get(name) if kind is not None else None
    if field is None:
        return False
    declared = field.annotation
    kinds = get_args(declared) if get_origin(declared) in (Union, types.UnionType) else (declared,)
    return str in kinds and set(kinds) <= {str, type(None)}


def _made_of(text: str, value: Any) -> str:
    """What YAML makes of a text that it takes for more than a word, such as a regular expression;
    empty where it leaves the text as it is."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    quoted = text.lstrip().startswith(("'", '"', "|", ">"))
    return "a part" if isinstance(value, str) and not quoted and value != text.strip() else ""


def _in_quotes(words: Sequence[str], text: str) -> str:
    """How a setting is written whose value is the text as it stands, for a shell."""
    key = ".".join(f'"{word}"' if isinstance(word, _Quoted) else word for word in words)
    setting = f"{key}={json.dumps(text, ensure_ascii=False)}"
    return f"put the text in quotes of its own, as {shlex.quote(setting)}"


def _path(words: Sequence[str], node: Any, kind: Any, value: Any) -> list[str]:
    """Names from a node of the tree, of a kind (an annotation; None if unknown), downwards."""
    if not words:
        return []
    node = node if isinstance(node, dict) else {}
    length = _name_length(words, node, kind, value)
    name = ".".join(words[:length])
    return [name, *_path(words[length:], node.get(name), _below(kind, name), value)]


def _name_length(words: Sequence[str], node: dict[str, Any], kind: Any, value: Any) -> int:
    """How many of the words are the first name."""
    quoted = [k for k, word in enumerate(words) if isinstance(word, _Quoted)]
    if quoted and quoted[0] == 0:
        return 1
    lengths = range(1, (quoted[0] if quoted else len(words)) + 1)
    if _is_section(kind):
        return 1
    known = [k for k in reversed(lengths) if ".".join(words[:k]) in node]
    entry = _values(kind)
    if _is_section(entry):
        sensible = [k for k in lengths if _may_follow(words[k:], entry, value)]
        both = [k for k in known if k in sensible]
        # Where nothing fits, the last word is taken for a misspelt field.
        return [*both, *sensible, *known, max(len(words) - 1, 1)][0]
    if _is_plain(entry):
        return lengths[-1]
    return known[0] if known else 1


def _may_follow(words: Sequence[str], section: Any, value: Any) -> bool:
    """Whether a section has the field that the words name, or is given whole."""
    if not words:
        return value is None or isinstance(value, dict)
    field = _fields(section).get(words[0])
    if field is None:
        return False
    below = _bare(field.annotation)
    return len(words) == 1 or _is_section(below) or _values(below) is not None


def _below(kind: Any, name: str) -> Any:
    """The annotation of what stands under a name."""
    if _is_section(kind):
        field = _fields(kind).get(name)
        return _bare(field.annotation) if field else None
    return _values(kind)


def _sections(kind: Any) -> list[type[BaseModel]]:
    """The section that an annotation is, or those of which it is one."""
    if get_origin(kind) in (Union, types.UnionType):
        return [section for one in get_args(kind) for section in _sections(one)]
    return [kind] if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _fields(kind: Any) -> dict[str, FieldInfo]:
    """The fields that a section of this kind, or of one of these kinds, may have."""
    return {name: field for one in _sections(kind) for name, field in one.model_fields.items()}


def _of_kind(kind: Any, tag: str) -> Any:
    """Of several kinds of a section, that which a field in brackets tells."""
    told = [one for one in _sections(kind) if tag[1:-1] in one.model_fields]
    return told[0] if told else kind


def _is_section(kind: Any) -> bool:
    return bool(_fields(kind))


def _is_plain(kind: Any) -> bool:
    """Whether values of this kind have no names below them."""
    return not (kind is None or kind is Any or _sections(kind) or get_origin(kind) is dict)


def _values(kind: Any) -> Any:
    """The annotation of a mapping's values; None where it is none."""
    return _bare(get_args(kind)[1]) if get_origin(kind) is dict else None


def _bare(kind: Any) -> Any:
    """An annotation without its `| None` and metadata."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [_bare(one) for one in get_args(kind)]
        sections = [section for one in kinds for section in _sections(one)]
        if sections:
            return Union[tuple(sections)]  # noqa: UP007 - they are known only here.
        return next((one for one in kinds if _values(one)), kinds[0])
    return kind


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping with dotted keys."""
    items: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            items |= flat(value, f"{prefix}{key}.")
        else:
            items[f"{prefix}{key}"] = value
    return items
