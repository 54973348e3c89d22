"""YAML as settings are written in it: safe, numbers as in YAML 1.2, and no key twice in a mapping.

YAML's own loader lets the last of two equal keys win, so that a setting is lost without a word. It
also takes `24:00:00` for 86400, `010` for 8, `1e-5` for a text and `2026-01-01` for a day; here the
first and the last are texts, and the others the numbers that they look like.
"""

import re
from functools import lru_cache
from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"
KINDS = ("int", "float", "timestamp", "value")
SPECIAL_FLOAT = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
NUMBERS = [
    ("tag:yaml.org,2002:int", re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")),
    (
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    ),
    ("tag:yaml.org,2002:float", re.compile(rf"(?:{SPECIAL_FLOAT.pattern})$")),
]


def _resolvers() -> dict[str, list[tuple[str, re.Pattern]]]:
    """Which plain words are what, by their first letter, in YAML 1.2 as far as numbers go."""
    kept = {
        letter: [entry for entry in entries if entry[0].rpartition(":")[2] not in KINDS]
        for letter, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for letter in "-+.0123456789":
        kept[letter] = [*NUMBERS, *kept.get(letter, [])]
    return kept


class KeyTwice(yaml.YAMLError):
    """A mapping states a key twice."""


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader would take for something else."""

    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _resolvers()

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before `<<` is resolved: what it takes over from elsewhere may well be stated anew.
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in seen:
                lines = dict.fromkeys([seen[key.tag, key.value], line])
                raise KeyTwice(
                    f"{key.value} is given twice in one mapping "
                    f"(line {' and line '.join(map(str, lines))}); keep one of them"
                )
            seen[key.tag, key.value] = line
        return node


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0 if text[:2] in ("0x", "0o") else 10)


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node)
    return float(text.replace(".", "", 1) if SPECIAL_FLOAT.fullmatch(text) else text)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def dump(value: Any, **style: Any) -> str:
    """A value as text that `load` reads as the same value; `style` as for `yaml.dump`."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, **style)


def load(text: str | bytes) -> Any:
    """The value that a YAML document holds; bytes may be UTF-8 or UTF-16, with or without BOM.

    What several aliases refer to is a value of its own at each place.

    Raises:
        yaml.YAMLError: it is not YAML, or a key is given twice.
    """
    try:
        return _own(_parsed(text))
    except RecursionError as error:
        raise yaml.YAMLError("a value holds itself, or is nested too deeply") from error
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from error
    except yaml.reader.ReaderError as error:
        raise yaml.YAMLError(f"{error}; it must be UTF-8 without control characters") from error


@lru_cache(64)
def _parsed(text: str | bytes) -> Any:
    """Kept, since every point of a sweep reads the same config."""
    return yaml.load(text, Loader=_Loader)


def _own(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _own(inner) for key, inner in value.items()}
    return [_own(inner) for inner in value] if isinstance(value, list) else value
