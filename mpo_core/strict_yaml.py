"""YAML as settings are written in it: safe, and no key twice in one mapping.

YAML's own loader lets the last of two equal keys win, so that a setting is lost without a word.
"""

from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"


class KeyTwice(yaml.YAMLError):
    """A mapping states a key twice."""


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
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


def load(text: str | bytes) -> Any:
    """The value that a YAML document holds; bytes may be UTF-8 or UTF-16, with or without BOM.

    What several aliases refer to is a value of its own at each place.

    Raises:
        yaml.YAMLError: it is not YAML, or a key is given twice.
    """
    try:
        return _own(yaml.load(text, Loader=_Loader))
    except RecursionError as error:
        raise yaml.YAMLError("a value holds itself, or is nested too deeply") from error
    except yaml.reader.ReaderError as error:
        raise yaml.YAMLError(f"{error}; it must be UTF-8 without control characters") from error


def _own(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _own(inner) for key, inner in value.items()}
    return [_own(inner) for inner in value] if isinstance(value, list) else value
