"""Where a model's reasoning ends and its answer begins, and where its turn ends.

Invariants:
- What a model thinks is never its answer: no action and no plan is read from its reasoning.
- A text without marks of reasoning or of the end of a turn is its own answer, byte for byte.
- Splitting an answer again changes nothing.
- Whatever the text, splitting raises nothing and takes time in proportion to its length.
"""

import re

_THOUGHT = (
    r"(?:think\w*|thoughts?|reason(?:ing)?|reflect(?:ion)?|scratch_?pad|analysis|cot"
    r"|(?:inner|internal|hidden)_?(?:monologue|thoughts?)|chain_of_thought)"
)
_ANGLE_OPEN, _ANGLE_CLOSE = r"(?:<|&lt;)", r"(?:>|&gt;)"
_WORD = rf"(?:\w{{1,20}}[:|_]|ant)?{_THOUGHT}"
_OPENS = "|".join(
    (
        rf"{_ANGLE_OPEN}{_WORD}(?:\s[^<>\n]{{0,80}}|:\w{{1,20}})?(?<!/){_ANGLE_CLOSE}",
        rf"\[{_THOUGHT}\]",
        rf"◁{_THOUGHT}▷",
        rf"<[|｜](?:(?:start|begin)[_▁](?:of[_▁])?)?{_THOUGHT}[|｜]>",
        rf"<\|open\|>\s*{_THOUGHT}\s*<\|sep\|>",
        r"<\|inner_prefix\|>|<\|channel>|<unused94>",
        r"\A\s*Here(?:'s| is) my thought process:|\A\s*Thinking\.\.\.(?=\s*\n)",
        r"<details\s[^<>\n]{0,80}reasoning[^<>\n]{0,80}>",
        rf"<details>\s*<summary>[^<>\n]{{0,40}}{_THOUGHT}[^<>\n]{{0,40}}</summary>",
    )
)
_CLOSES = "|".join(
    (
        rf"{_ANGLE_OPEN}/\s?{_WORD}(?::\w{{1,20}})?\s?{_ANGLE_CLOSE}",
        rf"\[/{_THOUGHT}\]",
        rf"◁/{_THOUGHT}▷",
        rf"<[|｜](?:/|end[_▁](?:of[_▁])?){_THOUGHT}[|｜]>",
        rf"<\|close\|>\s*{_THOUGHT}\s*<\|sep\|>",
        r"<\|inner_suffix\|>|<channel\|>|<unused95>",
        r"\bHere(?:'s| is) my response:|\.\.\.done thinking\.|</details>",
    )
)
_OTHERS = r"user|human|system|tool|ipython|observation|environment|developer"
_TURNS = "|".join(
    (
        r"<\|(?:open|close)\|>\s*\w{1,20}\s*<\|sep\|>",
        r"<[|｜][^<>|｜\n]{1,40}[|｜]>",
        r"\[\|[^\[\]|\n]{1,40}\|\]",
        r"</?s>|<(?:eos|bos|eot|eom|eod|pad)>|<(?:start|end)_of_turn>|<\|turn>|<turn\|>",
        r"\[/?INST\]|\[(?:EOS|BOS)\]|</?(?:assistant|user)>|<extra_id_1>",
    )
)
_MARK = re.compile(
    rf"(?P<opens>{_OPENS})|(?P<closes>{_CLOSES})"
    rf"|(?P<turn>{_TURNS})(?:\s*(?P<other>{_OTHERS})\b|\s*(?:assistant|model|chatbot)\b)?",
    re.IGNORECASE,
)
_OTHERS_TURN = re.compile(rf"(?:{_OTHERS})|^\[INST\]", re.IGNORECASE)

_CHANNEL = re.compile(
    r"<\|channel\|>\s*(?P<name>\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<words>.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
# The same where a server decoded the special tokens to nothing.
_BARE_FINAL = "assistantfinal"
_BARE_ANALYSIS = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)(?=[A-Z])")

# "I can't" alone is no refusal: doors that are locked are spoken of so.
_REFUSAL = re.compile(
    r"\W*+(?:(?:I['’]?m|I am)?\s*(?:very |so |really )?sorry\b(?! (?:for|about) )"
    r"|As an AI\b|Unfortunately,? I\b"
    r"|(?:很)?抱歉|对不起|申し訳|Lo siento\b|Je suis désolé|Es tut mir leid"
    r"|我(?:无法|不能)(?:帮|提供|协助|满足|回答)|作为(?:一个|一名)?(?:AI|人工智能)"
    r"|Je ne peux pas vous aider|No puedo ayudar|Ich kann (?:dir |Ihnen )?(?:da)?"
    r"(?:bei |mit )?nicht helfen|Я не могу помочь"
    r"|I(?: will| must| have to|'m going to)? (?:respectfully )?(?:decline|refuse)\b"
    r"|I (?:can(?:['’]|no)?t|can not|won['’]t)\s*(?:[.,;:!\n]|\Z)"
    r"|[^.\n]{0,60}?\b(?:can(?:['’]|no)?t|can not|won['’]t|will not|(?:unable|not able) to)\s+"
    r"(?:help|assist|comply|fulfil|participate|engage|provide|continue|support|answer|discuss"
    r"|generate|create|write|produce|make a|give|do (?:that|this|so)|be able to)\b)",
    re.IGNORECASE,
)
_TOOL_CALL = re.compile(
    r"<(?:tool_?call|function[_=](?:call)?)|<\|python_tag\|>|\[TOOL_CALLS\]|<\|tool_calls?_"
    r"|<｜tool▁calls▁begin｜>|<\|channel\|>commentary to=",
    re.IGNORECASE,
)


def refuses(answer: str) -> bool:
    """Whether an answer begins as a refusal does."""
    return _REFUSAL.match(answer) is not None


def calls_tool(answer: str) -> bool:
    """Whether a model wrote the call of a tool as its answer."""
    return _TOOL_CALL.search(answer) is not None


def split_reasoning(text: str) -> tuple[str, str]:
    """What a model thought, and what it answered.

    Reasoning is what stands in tags such as <think>, closed or not, or before a closing tag, and
    all of harmony's channels but the final one. The answer ends where the model's turn does: what
    it writes in somebody else's place is dropped.
    """
    thoughts = []
    while (split := _in_channels(text) or _in_tags(text)) is not None:
        thought, text = split
        thoughts.append(thought)
    return "\n".join(filter(None, thoughts)), text


def encodable(text: str) -> str:
    """The text with what no file can hold mended: halves of a character that was cut in two."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _in_channels(text: str) -> tuple[str, str] | None:
    """Reasoning and answer of a text in harmony's channels; None for any other."""
    if "<|channel|>" in text:
        said = list(_CHANNEL.finditer(text))
        answer = [m["words"] for m in said if m["name"] == "final"]
        thought = [text[: said[0].start() if said else None].replace("<|channel|>", "")]
        thought += [m["words"] for m in said if m["name"] != "final"]
        return _joined(thought), _joined(answer)
    before, found, after = text.rpartition(_BARE_FINAL)
    if found:
        return _BARE_ANALYSIS.sub("", before, count=1).strip(), after.strip()
    if begins := _BARE_ANALYSIS.match(text):
        return text[begins.end() :].strip(), ""
    return None


def _in_tags(text: str) -> tuple[str, str] | None:
    """Reasoning and answer of a text with tags and special tokens; None for one without."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    thought, answer, open_at_end = _split_at(text, marks, nested=True)
    if open_at_end:
        # More openings than closings: one of them is only spoken of, or the last is unfinished.
        thought, answer, _ = _split_at(text, marks, nested=False)
    return thought, answer


def _split_at(text: str, marks: list[re.Match], *, nested: bool) -> tuple[str, str, bool]:
    """Reasoning, answer, and whether the text ends in the middle of reasoning."""
    thought: list[str] = []
    answer: list[str] = []
    depth = position = 0
    answered = False
    for mark in marks:
        words = text[position : mark.start()]
        (thought if depth else answer).append(words)
        answered = answered or (not depth and bool(words.strip()))
        position = mark.end()
        if mark["opens"]:
            depth = depth + 1 if nested else 1
        elif mark["closes"]:
            if not depth and mark[0].lower() != "</details>":
                thought += answer
                answer, answered = [], False
            depth = max(depth - 1, 0)
        elif not depth and (answered or _OTHERS_TURN.search(mark[0])):
            return _joined(thought), _joined(answer), False
    (thought if depth else answer).append(text[position:])
    return _joined(thought), _joined(answer), depth > 0


def _joined(parts: list[str]) -> str:
    return "\n".join(stripped for part in parts if (stripped := part.strip()))
