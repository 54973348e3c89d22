"""Markup around a model's words: tags that set a text, signs that are not seen, and those by which
a text would end its place in a prompt."""

import html
import re

# Tags that begin a line of their own, and those that set words within a line.
_BLOCK = re.compile(r"<(?:/?(?:p|div|li|ul|ol|pre|h[1-6])|br)\s?/?>", re.IGNORECASE)
_INLINE = re.compile(r"</?(?:b|i|em|strong|u|code|span|font)>", re.IGNORECASE)
_AROUND = re.compile(r"</?(?:response|output|final|end|stop)>", re.IGNORECASE)
_UNSEEN = str.maketrans(
    dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "") | dict.fromkeys("\u00a0\u2007\u202f", " ")
)

# What chat templates begin and end turns with.
_CONTROL = r"<(?=[|\uff5c]|/?s>|(?:start|end)_of_turn>|[be]os>|<?/?SYS>>)|\[(?=/?INST\])"
_PLAIN = {
    "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
    "[": "\N{FULLWIDTH LEFT SQUARE BRACKET}",
}


def contained(text: str, *tags: str) -> str:
    """A text that ends neither the tags around it nor, in a chat template, its turn: the first sign
    of what would do so is another one that looks alike."""
    closing = [rf"<(?=\s*/\s*{re.escape(tag)}\b)" for tag in tags]
    return re.sub("|".join([_CONTROL, *closing]), lambda m: _PLAIN[m[0]], text, flags=re.IGNORECASE)


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
