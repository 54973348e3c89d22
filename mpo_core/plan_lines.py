"""A line of a plan: what it begins with, and what it says.

Models number their steps in many ways. A line's marker (`**Step 1:**`, `1)`, `第一步：`, `a.`, `-`)
gives its kind and its number; its text is what remains without marker and markdown.
"""

import re
import unicodedata
from typing import NamedTuple

from mpo_core.patterns import matched

_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve",
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
    "一 二 三 四 五 六 七 八 九 十 十一 十二",
    "eins zwei drei vier fünf sechs sieben acht neun zehn",
    "uno dos tres cuatro cinco seis siete ocho nueve diez",
    "un deux trois quatre cinq six sept huit neuf dix",
    "uno due tre quattro cinque sei sette otto nove dieci",
    "um dois três quatro cinco seis sete oito nove dez",
    "один два три четыре пять шесть семь восемь девять десять",
    "erster zweiter dritter vierter fünfter sechster siebter achter neunter zehnter",
    "primer segundo tercer cuarto quinto sexto séptimo octavo noveno décimo",
    "première deuxième troisième quatrième cinquième sixième septième huitième neuvième dixième",
    "primo secondo terzo quarto quinto sesto settimo ottavo nono decimo",
    "primeiro segundo terceiro quarto quinto sexto sétimo oitavo nono décimo",
)
_ORDINALS = (1, 9, 10, 11, 12, 13)
"""Which of the words are ordinals: they stand before the word for step."""
_NUMBERS = {word: k for words in _WORDS for k, word in enumerate(words.split(), 1)}
_ROMAN_NUMBERS = "I II III IV V VI VII VIII IX X XI XII XIII XIV XV"
_ROMANS = {roman: k for k, roman in enumerate(_ROMAN_NUMBERS.split(), 1)}
_CIRCLED = "①-⑳❶-❿➀-➉"

_STEP = (
    r"(?:steps?|schritt|[ée]tape|etapa|paso|passo|pas|шаг|крок|krok|stap|steg|trin|vaihe|lépés"
    r"|adım|adim|bước|langkah|hakbang|βήμα|خطوة|الخطوة|चरण|ขั้นตอนที่|ステップ|手順|단계|步骤|步驟"
    r"|étapes|pasul|korak|стъпка|samm|solis|qadam|ধাপ|படி|hatua|שלב|مرحله|مرحلة"
    r"|phase|stage|s(?=\d)|part|instruction|(?:sub-?)?goal|sub-?task|action)"
)
_WORD_NUMBER = "|".join(sorted(_NUMBERS, key=len, reverse=True))
_NUMBER = (
    rf"(?:\d{{1,3}}(?!\d)|[{_CIRCLED}]|(?:{_WORD_NUMBER})(?![a-z])|(?-i:[IVX]{{1,4}}|[A-H])\b)"
)
# Markdown and other signs before a marker.
_BEFORE = r"(?P<before>(?:[^\w\n]|_|(?<=\[)[xX](?=\])){0,40})"
_SUB = r"(?P<sub>(?:[.．]\d{1,2}(?!\d))+|(?-i:[a-z])(?=[.):：]))?"
_END = r"[*_`\]\"')）】》>]{0,4}"
_COLON = r"(?:\\?[.．](?!\d)|[:：](?!\d)|\\?[)）]|[\]】》、，|>]|[ \t]?(?:[-–—=]>|→))"
_ORDINAL = (
    r"(?:\d{1,2}(?=st|nd|rd|th|\.|º|ª|er|e|[ \t]?(?:단계|步))|"
    rf"(?:{'|'.join(_WORDS[k].replace(' ', '|') for k in _ORDINALS)})(?![^\W\d_]))"
)
_LABELLED = re.compile(
    rf"{_BEFORE}(?:{_STEP}[ \t_#-]{{0,3}}(?:#|number|no\.?|nr\.?|č\.|№|n[°º])?[ \t]?"
    rf"(?P<n>{_NUMBER}){_SUB}"
    r"(?:[ \t]?(?:[-–&/]|of)[ \t]?\d{1,2}(?=[ \t]?[*_]{0,2}[:：.)]))?"
    rf"|第[ \t]?(?P<nth>{_NUMBER})[ \t]?(?:步骤?|步驟|歩|段階)"
    rf"|(?P<count>{_ORDINAL})(?:st|nd|rd|th|\.|º|ª|er|e)?[ \t]?(?!steps){_STEP}"
    r"(?=[ \t]?[*_]{0,2}[:：\-–—]))"
    rf"(?P<sep>{_END}[ \t]{{0,3}}(?:{_COLON}{{1,2}}|[-–—](?!\d))?{_END})",
    re.IGNORECASE,
)
# What may follow a label that ends in no colon or the like.
_BEGINS = re.compile(r"\s*+\Z|\s?[\[(]|\s+[^\Wa-z]|[^\x00-\x7f]")
_NUMBERED = re.compile(
    rf"{_BEFORE}(?:no\.[ \t]?)?(?:(?P<n>\d{{1,2}})(?!\d)(?:(?:st|nd|rd|th)(?=[:：.)]))?"
    r"(?:(?P<sub>(?:[.．]\d{1,2}(?!\d))+)(?:[.):]|(?=[ \t]))"
    rf"|[*_]{{0,2}}[ \t]?(?:{_COLON}{{1,2}}|[-–—](?=[ \t*_])|\ufe0f?\u20e3)|\t"
    r"|(?:(?<=#\d)|(?<=#\d\d))[ \t](?=(?-i:[A-Z])))"
    rf"|(?P<circled>[{_CIRCLED}])、?|(?P<han>[一二三四五六七八九十]{{1,2}})[、.．)）]){_END}",
    re.IGNORECASE,
)
_ROMAN = re.compile(
    r"(?P<before>[\s#>*_(\[-]{0,20})(?P<n>(?![xX]\])(?:[IVX]{1,5}|[ivx]{1,5}))[.)\]][*_]{0,3}(?=\s)"
)
_LETTER = re.compile(
    r"(?P<before>[\s#>*_(\[-]{0,20})(?P<n>(?![xX]\])[A-Za-z])[.)\]][*_]{0,3}(?=\s)"
)
_SIGN = (
    r"(?:~(?![^\n]*~\s*\Z)|--|o(?=[ \t]+[A-Z])"
    r"|[-*•–—·‣▪◦●○■□+➤→►▶✓✔✅☐☑❖◆➢»👉➡🔹🔸🔷🔶🔵🟢⭐📌]\ufe0f?)"
)
_BULLET = re.compile(
    rf"\s*(?:>\s?)?(?P<sign>{_SIGN})(?:[ \t]|(?<=[-•·–—])(?=[^\W\d])|(?<=\*)(?=[^\W\d][^*\n]*\Z))"
)
_TABLE_RULE = re.compile(r"[\s|:+=-]*\Z")

_TASK = re.compile(
    r"\W*+(?:(?:new|next|another|second|your)\s)?(?:task|user|human|question|problem)"
    r"\s?(?:is\b[^:]{0,10})?#?\d{0,3}\s?[*_]{0,2}[:：]",
    re.IGNORECASE,
)
_NOTES = re.compile(
    r"\W*+(?:notes?|tips?|remember|important|remarks?|explanations?|rationale|reasoning|summary"
    r"|cautions?|warnings?|assumptions?|conclusion)\b[^:\n]{0,40}[:：]",
    re.IGNORECASE,
)
_FINAL = re.compile(
    r"\W*+(?:(?:here is |here's )?(?:the |my )?)?(?:final|revised|improved|corrected)\s"
    r"(?:meta[- ]?)?(?:plan|answer|version|workflow|steps)\b[^\n]{0,40}\Z",
    re.IGNORECASE,
)


MARKED = ("step", "number", "roman", "letter", "bullet")


class Line(NamedTuple):
    """A line of an answer."""

    kind: str
    """`step`, `number`, `roman`, `letter`, `bullet`, or without a marker `words`, `blank`, `task`
    (somebody's next task), `notes`, `final` (the heading of a final version)."""
    text: str
    """What it says, without its marker."""
    number: int = 0
    sub: bool = False
    """It is numbered below a step: `1.2`."""
    sign: str = ""
    """A bullet's sign."""
    indent: int = 0
    heading: bool = False
    """It is set as a heading, or bold from end to end."""
    whole: str = ""
    """The line as it stands."""


def lines_of(text: str) -> list[Line]:
    """The lines of a text; code fences and table rules are blank."""
    lines: list[Line] = []
    letter = 0
    for words in text.splitlines():
        line = _line(words.expandtabs(4))
        # `i.` after `h.` is a letter.
        as_letter = _lettered(line) if line.kind == "roman" and letter else line
        lines.append(as_letter if as_letter.number == letter + 1 else line)
        letter = lines[-1].number if lines[-1].kind == "letter" else letter
    return lines


def _lettered(line: Line) -> Line:
    """A line with a Roman number, taken for a letter."""
    m = _LETTER.match(line.whole)
    return line._replace(kind="letter", number=_number(m["n"])) if m else line


def _line(line: str) -> Line:
    words = line.strip()
    if not words or words.startswith("```") or _TABLE_RULE.match(words):
        return Line("blank", "")
    if words.startswith("|"):
        words = _row(words)
    read = _marked(words) or Line(_unmarked(words), words)
    return read._replace(
        indent=len(line) - len(line.lstrip()),
        heading=words.startswith("#") or bool(re.match(r"[^\w*]*(\*\*|__).*\1:?\s*\Z", words)),
        whole=words,
    )


def _marked(words: str) -> Line | None:
    """A line that begins with a marker."""
    if m := _labelled(words):
        number = _number(m["n"] or m["nth"] or m["count"])
        return Line("step", _rest(words, m), number, m["sub"] is not None)
    if m := _NUMBERED.match(words):
        number = _number(m["n"] or m["circled"] or m["han"])
        return Line("number", _rest(words, m), number, m["sub"] is not None)
    if (m := _ROMAN.match(words)) and m["n"].upper() in _ROMANS:
        return Line("roman", _rest(words, m), _ROMANS[m["n"].upper()])
    if m := _LETTER.match(words):
        return Line("letter", _rest(words, m), ord(m["n"].lower()) - ord("a") + 1)
    if m := _BULLET.match(words):
        return Line("bullet", words[m.end() :], sign=m["sign"])
    return None


def _labelled(words: str, start: int = 0) -> re.Match | None:
    """A label such as `Step 1:`; without a colon or the like only if what follows is no sentence
    about the step."""
    m = _LABELLED.match(words, start)
    if m is None:
        return None
    alone = m["sep"].strip() or _BEGINS.match(words, m.start("sep"))
    return m if alone else None


def _unmarked(words: str) -> str:
    for kind, pattern in (("task", _TASK), ("notes", _NOTES), ("final", _FINAL)):
        if pattern.match(words):
            return kind
    return "words"


def _row(words: str) -> str:
    """A table's row as a line: a first cell that is a number or a label marks the others."""
    first, *rest = [cell.strip() for cell in words.strip("|").split("|")]
    told = "; ".join(cell for cell in rest if cell)
    label = re.sub(r"[\s*_:.)]+\Z", "", first)
    if re.fullmatch(r"[*_]*\d{1,2}", label) or _LABELLED.fullmatch(label):
        return f"{label}: {told}"
    return words


def _rest(words: str, marker: re.Match) -> str:
    """What follows a marker, without the end of a quotation that began before it."""
    rest = words[marker.end() :]
    for quote in "\"'":
        if quote in marker["before"]:
            rest = rest.rstrip(" ,").removesuffix(quote)
    return rest


def _number(word: str) -> int:
    if word.isdecimal():
        return int(word)
    if word in _ROMANS:
        return _ROMANS[word]
    if word.lower() in _NUMBERS:
        return _NUMBERS[word.lower()]
    if len(word) == 1 and word.isascii():
        return ord(word.lower()) - ord("a") + 1
    return int(unicodedata.numeric(word))


_MARKUP = re.compile(r"\*\*|__(?=\S)|(?<=\S)__|</?(?:meta[-_ ]?)?(?:plan|workflow)>", re.IGNORECASE)
_EMPHASIS = re.compile(r"(?<![*\w])\*(?=\S)([^*\n]*\S)\*(?![*\w])")
_LEADING = re.compile(r"(?:\[[ xX]?\]|[^\w\"'“‘«「(\[{<`$+-]|[-+](?!\d))*+")
_WORD = re.compile(r"\w")


def step_text(text: str) -> str:
    """A step's text without markdown and a marker of its own; empty when no word is left."""
    text = _EMPHASIS.sub(r"\1", _MARKUP.sub("", text))
    start = 0
    while True:
        start = matched(_LEADING, text, start).end()
        label = _labelled(text, start)
        inner = label or _NUMBERED.match(text, start)
        if inner is None or not (label or _WORD.search(text, inner.end())):
            break
        start = inner.end()
    text = text[start:].rstrip(" \t*|")
    while text.endswith(("\\n", "\\r")):  # A line break that was written as its escape.
        text = text[:-2].rstrip(" \t*|")
    text = text.rstrip(" \t*|\\").removesuffix("_")
    return text if _WORD.search(text) else ""
