"""Markup around a model's words: tags that set a text, signs that are not seen."""

import html
import re

# Tags that begin a line of their own, and those that set words within a line.
_BLOCK = re.compile(r"<(?:/?(?:p|div|li|ul|ol|pre|h[1-6])|br)\s?/?>", re.IGNORECASE)
_INLINE = re.compile(r"</?(?:b|i|em|strong|u|code|span|font)>", re.IGNORECASE)
_AROUND = re.compile(r"</?(?:response|output|final|end|stop)>", re.IGNORECASE)
_UNSEEN = str.maketrans(
    dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "") | dict.fromkeys("\u00a0\u2007\u202f", " ")
)


def seen(text: str) -> str:
    """A text without signs of no width, and with plain spaces."""
    return text.translate(_UNSEEN)


def unstyled(text: str) -> str:
    """A text without the tags that set words within a line."""
    return _INLINE.sub("", text) if "<" in text else text


def unset(text: str) -> str:
    """A text without what only sets it: HTML's tags and entities, signs of no width."""
    text = unstyled(seen(text))
    if "<" in text:
        text = _AROUND.sub("", _BLOCK.sub("\n", text))
    return html.unescape(text) if "&" in text else text
