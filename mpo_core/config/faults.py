"""What is wrong with a config, in words: one line for each of pydantic's faults."""

import re
from typing import Any

from pydantic_core import ErrorDetails

from mpo_core.likeness import meant
from mpo_core.overrides import like

ALL_SAID = "all_said"
"""A fault whose message names the keys itself."""
EXPECTED = {
    "string_type": "a text (a number, a day or a switch is one in quotes)",
    "path_type": "a path",
    "list_type": "a list, such as [a, b]",
    "dict_type": "settings below it (key: value)",
    "model_type": "settings below it (key: value)",
}


def plainly(message: str) -> str:
    """A message of pydantic's without the name of the error that a validator has raised."""
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def in_words(error: ErrorDetails, section: str = "") -> str:
    """A fault in words; the section is what its key stands in."""
    # In brackets: that the key itself is meant, or of several kinds of a section, which.
    parts = [part for part in map(str, error["loc"]) if not re.fullmatch(r"\[[a-z]*\]", part)]
    key = ".".join([section, *parts] if section else parts)
    if error["type"] == ALL_SAID:
        return error["msg"]
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if error["type"] == "missing":
        return f"{key}: missing"
    message = plainly(error["msg"])
    if error["type"] == "literal_error":
        known = re.findall(r"'(.*?)'", error["ctx"]["expected"])
        message += meant(str(error["input"]), known)
    if error["type"] in EXPECTED:
        given = error["input"]
        found = "nothing" if given is None else " ".join(str(given).split())[:40]
        message = f"expected {EXPECTED[error['type']]}, found {found}"
    return f"{key}: {message}" if key else message


def advice(error: ErrorDetails, section: Any) -> str:
    """What an unknown key may have been meant for."""
    if error["type"] != "extra_forbidden" or not error["loc"]:
        return ""
    if error["loc"][-1] == "api_key":
        return " (a key comes from the environment: name its variable in api_key_env)"
    return like(section, error["loc"])
