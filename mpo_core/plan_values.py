"""A plan given as values: JSON, or a list in Python's notation, whole or cut off."""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import yaml

_PLAN_KEYS = ("plan", "metaplan", "workflow", "steps", "planning", "answer", "output", "response")
_TEXT_KEYS = (
    (
        "description",
        "action",
        "instruction",
        "text",
        "content",
        "step",
        "task",
        "detail",
        "details",
        "do",
    ),
    ("title", "name", "goal", "summary", "subgoal", "what"),
)
_BELOW_KEYS = ("substeps", "subtasks", "actions", "steps", "details")
_LABEL = re.compile(
    r"(?:step|phase)?[\s_#-]*\d{1,3}"
    r"|(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)[\s_]?step",
    re.IGNORECASE,
)
_ENDS_LIKE = ("description", "action", "instruction", "text", "detail", "details")
_YAML = re.compile(
    r"(?:\A\s*|^```ya?ml\s*\n)(?P<value>[\w -]{0,20}(?:plan|workflow|steps):[ \t]*\n"
    r"\s*-[ ]+(?:[a-z_]{2,20}:[ ]|[\"']).*?)(?:^```|\Z)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
# Where a structure may begin: at the beginning of a line, or after a colon or an equals sign.
_BEGINS = re.compile(r"(?:^|[:=])[ \t`]*(?P<value>[\[{(])(?=\s*+[\"'\[{])", re.MULTILINE)
_CLOSING = {"[": "]", "{": "}", "(": ")"}


def steps_of_values(text: str, read: Callable[[str], list[str]]) -> list[str]:
    """The steps of the first structure in a text that holds a plan; none where none does.

    A structure that is cut off gives its whole items.

    Args:
        read: gives the steps of a text that stands for a whole plan inside the structure.
    """
    words = text.strip()
    if words[:1] in ('"', "'") and words[:1] == words[-1:] and "\n" not in words:
        told = _parsed(words)
        if isinstance(told, str):
            return read(told)
    if steps := _lines(text) or _yaml(text, read):
        return steps
    for count, begins in enumerate(_BEGINS.finditer(text)):
        if count == 3:
            break
        value = _parsed(_whole(text[begins.start("value") :]))
        if steps := _steps(value, read):
            return steps
    return []


def _lines(text: str) -> list[str]:
    """The steps of a text with a JSON object on each line."""
    lines = [line.strip(" \t,") for line in text.splitlines() if line.strip(" \t`")]
    lines = lines[1:] if lines and lines[0].startswith("```") else lines
    if len(lines) < 2 or not all(line[:1] == "{" and line[-1:] == "}" for line in lines):
        return []
    steps = [_text(_parsed(line)) for line in lines]
    return steps if all(steps) else []


def _yaml(text: str, read: Callable[[str], list[str]]) -> list[str]:
    """The steps of a plan in YAML whose items are quoted or have fields; none where one is lost."""
    found = _YAML.search(text) if len(text) < 20_000 else None
    if found is None or "&" in found["value"]:
        return []
    try:
        value = yaml.safe_load(found["value"])
    except (yaml.YAMLError, ValueError, RecursionError):
        return []
    items = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else None
    whole = isinstance(items, list) and all(map(_text, items))
    return _steps(items, read) if whole else []


def _whole(text: str) -> str:
    """A structure up to its last bracket; one that is cut off, closed after its last whole item."""
    closings: list[str] = []
    quote, escaped = "", False
    whole: tuple[int, tuple[str, ...]] | None = None
    for position, sign in enumerate(text):
        if quote:
            if escaped:
                escaped = False
            elif sign == "\\":
                escaped = True
            elif sign == quote:
                quote = ""
        elif sign in "\"'":
            quote = sign
        elif sign in _CLOSING:
            closings.append(_CLOSING[sign])
        elif sign in "]})":
            if not closings or closings.pop() != sign:
                return ""
            if not closings:
                return text[: position + 1]
        if not quote and sign in ",]})" and len(closings) < 9:
            whole = (position + (sign != ","), tuple(closings))
    return text[: whole[0]] + "".join(reversed(whole[1])) if whole else ""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of escapes that it does not know.
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _steps(value: Any, read: Callable[[str], list[str]]) -> list[str]:
    if isinstance(value, str):
        return read(value)
    if isinstance(value, dict):
        keys = {_plain(key): key for key in value}
        named = [value[keys[key]] for key in _PLAN_KEYS if key in keys]
        labelled = value and all(_LABEL.fullmatch(str(key)) for key in value)
        found = (_steps(item, read) for item in named)
        return next(filter(None, found), _texts(value.values()) if labelled else [])
    if not isinstance(value, list | tuple):
        return []
    if len(value) == 1 and isinstance(value[0], str) and "\n" in value[0].strip():
        return read(value[0])
    if value and all(isinstance(item, list) for item in value):
        pairs = all(len(item) > 1 and _LABEL.fullmatch(str(item[0])) for item in value)
        value = [item[1:] for item in value] if pairs else value[0]
    return _texts(value)


def _texts(items: Iterable[Any]) -> list[str]:
    return [text for item in items if (text := _text(item))]


def _text(item: Any) -> str:
    """A step in one line."""
    if isinstance(item, str):
        return " ".join(item.split())
    if isinstance(item, list | tuple):
        return "; ".join(_texts(item))
    if not isinstance(item, dict):
        return ""
    if len(item) == 1 and _LABEL.fullmatch(str(next(iter(item)))):
        return _text(next(iter(item.values())))
    keys = {_plain(key): item[key] for key in item}
    told = ""
    for names in _TEXT_KEYS:
        texts = [keys[name] for name in names if isinstance(keys.get(name), str)]
        told = told or next((text for value in texts if (text := _text(value))), "")
    if not told:
        others = (keys[k] for k in keys if k.endswith(_ENDS_LIKE) and isinstance(keys[k], str))
        told = next((text for value in others if (text := _text(value))), "")
    below = [keys[name] for name in _BELOW_KEYS if isinstance(keys.get(name), list)]
    parts = _text(below[0]) if below else ""
    return f"{told.rstrip(' .:;')}: {parts}" if told and parts else told or parts


def _plain(key: Any) -> str:
    return re.sub(r"[\W_]", "", str(key)).lower()
