"""What an answer says on its way to the caller: the response that it is, the tokens it took."""

import re

from mpo_core.proxy.places import text_in
from mpo_core.refusals import clean

LOOKED_AT = 2**16
"""Bytes of an answer in which the response's id is looked for."""
LONGEST_COUNT = 128
"""Bytes of a count of tokens with its name, which may begin in one chunk and end in the next."""
_COUNT = re.compile(rb'"(prompt|input|completion|output)_tokens"\s*:\s*(\d{1,12})\s*[,}]')
_DATA = re.compile(r"^data: ?", re.MULTILINE)


class Tokens:
    """The tokens that an answer has told so far; of a count that is told again, the last."""

    def __init__(self) -> None:
        self.prompt = self.completion = 0
        self._rest = b""

    def read(self, chunk: bytes) -> None:
        """Go on with what comes next."""
        text = self._rest + chunk
        if b'_tokens"' in text:
            for kind, count in _COUNT.findall(text):
                if kind in (b"prompt", b"input"):
                    self.prompt = int(count)
                else:
                    self.completion = int(count)
        self._rest = text[-LONGEST_COUNT:]


class ResponseId:
    """The id of a response, by the Responses API, as soon as the answer has told it."""

    def __init__(self) -> None:
        self._seen = b""
        self._told = False

    def read(self, chunk: bytes) -> str | None:
        """Go on with what comes next. Returns the id, once."""
        if self._told or len(self._seen) > LOOKED_AT:
            return None
        self._seen += chunk[:LOOKED_AT]
        found = response_id(self._seen.decode(errors="replace"))
        self._told = found is not None
        return found


def response_id(text: str) -> str | None:
    """The id in the beginning of a response, given whole or as a stream of events."""
    if text.lstrip().startswith("{"):
        found = text_in(text, text.index("{"), "id")
    else:
        events = (text_in(text, data.end(), "response", "id") for data in _DATA.finditer(text))
        found = next((id for id in events if id), None)
    return clean(found) if found else None
