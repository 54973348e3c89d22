"""A command among the words that a model puts around it: markdown, quotes, markup, reasons."""

import json
import re
import unicodedata

from mpo_core.reasoning import calls_tool

VALUE = r"""(?:"(?P<text>(?:[^"\\\n]|\\.)*)"|'(?P<other>[^'\n]*)')"""
FIELD = re.compile(
    rf"""["'](?:(?:next_|final_)?action|command)["']\s{{0,9}}:\s{{0,9}}{VALUE}""", re.IGNORECASE
)
_INPUT = re.compile(
    rf"""\s{{0,9}},\s{{0,9}}["'](?:action_?)?input["']\s{{0,9}}:\s{{0,9}}{VALUE}""", re.IGNORECASE
)

BOX = (
    r"\\(?:boxed|text|texttt|mathrm)\{(?:\\(?:text|mathrm)\w{0,4}\{)?(?P<boxed>[^{}\n\r]*+)\}{1,2}"
)

# What models add behind a command. No command of a game holds any of it.
_ADDED = re.compile(
    # (to look for the mug), but not (empty)
    r"\s\((?:(?:to|because|as|since|so|for|if|it|it's|this|I|the|an?|in order|which|where|note)\b"
    r"[^()]*|(?!contain|that is|in |on )\w+(?:\s[^()\s]+){3}[^()]*)\)\Z"
    r"|\s(?:#+|//|--|[—–|-])\s.*"  # - because the mug may be there
    r"|;\s.*|\s(?:[-=]+>|→|>>+|<!--).*"  # -> You arrive
    r"|\snow\Z|,?\s(?:and\s)?then\s.*|,?\s(?:because|since|so\sthat|so\sI|in\sorder\sto)\s.*"
    r"|(?<=\w)[.!]\s(?-i:[A-Z]).*",  # . This shows what is there.
    re.IGNORECASE,
)
_END_TOKEN = re.compile(r"(?<=\S)\s?\[/?[A-Z]{2,12}\]")
# A command in quotes, and what is said of it.
_QUOTED_FIRST = re.compile(
    r"""(?P<quote>["`]|\*\*)(?P<text>\w[^"`*]*)(?P=quote)(?=\s?(?:[-(–—,.;]|"""
    r"""(?:to|and|as|so|since|because|for|in order|which|then)\b|(?-i:[A-Z])))""",
    re.IGNORECASE,
)
_NAME = r"[\w -]+"
_AROUND_NAMES = re.compile(
    rf"""(?<!\S)(?:"({_NAME})"|“({_NAME})”|`({_NAME})`|'({_NAME})'|\[({_NAME})\]"""
    rf"""|\{{({_NAME})\}}|<({_NAME})>|\*\*({_NAME})\*\*)(?!\w)"""
)
_BOXED = re.compile(BOX)
_TAGS = re.compile(r"</?(?:act(?:ion)?|answer|command)>|\*\*|\[/action\]", re.IGNORECASE)
_BULLET = re.compile(r"(?:(?:[-•>]|\d{1,2}[.)])\s++)+")
_INTENT = re.compile(
    r"(?:(?:(?:so|now),?|I(?:['’]ll|['’]d like to|['’]m going to|\s(?:will|shall|should|would|must"
    r"|choose to|decide to|(?:want|need|have|would like) to|am going to))|let me|let['’]s|let us"
    r"|please)\s)++(?=\w)",
    re.IGNORECASE,
)
_ESCAPES = re.compile(r"(?:\\[nrt])+\Z")
_OF_EMOJI = "\ufe0e\ufe0f\u20e3"
_MAY_BEGIN, _MAY_END = "([\\{<\"'“‘«「+-_", ")]}>\"'”’»」_"
_PAIRS = {"“": "”", "‘": "’", "«": "»", "「": "」", "[": "]", "<": ">", "(": ")", "{": "}"}
_NOTHING = re.compile(r"(?:none|n/?a|null|nil|nothing|no[ _]action)\Z", re.IGNORECASE)


def field_value(field: re.Match) -> str:
    """The value of a JSON field."""
    if field["text"] is None:
        return field["other"]
    try:
        return json.loads(f'"{field["text"]}"', strict=False)
    except ValueError:
        return field["text"]


def field_command(text: str, field: re.Match) -> str:
    """The command in a JSON field `action`, with the field `action_input` behind it."""
    action = command(field_value(field))
    more = _INPUT.match(text, field.end())
    value = command(field_value(more)) if more else ""
    return f"{action} {value}" if action and value else action


def command(text: str, *, shouted: bool = False) -> str:
    """A command without what models put around it; empty where no word is left.

    After a label in capitals, a command in capitals is meant in the usual small letters.
    """
    if field := FIELD.search(text):
        return field_command(text, field)
    text, before = " ".join(text.split()), None
    if calls_tool(text[:30]):
        return ""
    if box := _BOXED.search(text):
        text = box["boxed"]
    first = _QUOTED_FIRST.match(text)
    if first and text.count(first["quote"]) == 2:
        text = first["text"]
    text = _END_TOKEN.sub("", text)
    text = _AROUND_NAMES.sub(lambda m: next(filter(None, m.groups()), ""), text)
    text = _TAGS.sub("", text)
    while text != before:
        before = text
        text = _bare(_ESCAPES.sub("", text)).strip("_ ")
        if bullet := _BULLET.match(text):
            text = text[bullet.end() :]
        text = _without_added(_unquoted(text))
        if intent := _INTENT.match(text):
            text = text[intent.end() :]
    if not re.search(r"\w", text) or _NOTHING.match(text):
        return ""
    return text.lower() if shouted and text.isupper() else text


def _without_added(text: str) -> str:
    """Without what is said behind a command; what stands in brackets or quotes belongs to it."""
    added, tries = _ADDED.search(text, 1), 0
    while added and tries < 4:
        told = text[: added.start()]
        if all(told.count(begin) <= told.count(end) for begin, end in ("[]", "()", "{}")):
            return told if told.count('"') % 2 == 0 else text
        added, tries = _ADDED.search(text, added.start() + 1), tries + 1
    return text


def _bare(text: str) -> str:
    """Without signs, emoji and the like around it; vowel signs and accents belong to words."""

    def is_word(character: str) -> bool:
        return unicodedata.category(character)[0] in "LMN" and character not in _OF_EMOJI

    begin, end = 0, len(text)
    while begin < end and not (is_word(text[begin]) or text[begin] in _MAY_BEGIN):
        begin += 1
    while begin < end and not (is_word(text[end - 1]) or text[end - 1] in _MAY_END):
        end -= 1
    return text[begin:end]


def _unquoted(text: str) -> str:
    """Without quotes or brackets around the whole, and without a quote that only begins or ends."""
    for quote in "\"'":
        if len(text) > 1 and text[0] == text[-1] == quote:
            return text.strip(quote)
        if text.count(quote) == 1:
            text = text.strip(quote)
    if len(text) > 1 and _PAIRS.get(text[0]) == text[-1]:
        inner = text[1:-1]
        paired = inner.count(text[0]) == inner.count(text[-1])
        if paired and inner.find(text[0]) <= inner.find(text[-1]):
            return inner
    return text
