"""The sandbox's words: a tokenizer that reads the suite's dialogues in few tokens, a word each.

Its normalizer, inside tokenizer.json, so that every engine applies it, does the reading:
- What is said in the same way in every episode (the agent's instructions, `Your task is to:`) is
  left out or becomes one word.
- Of the room's list only the highest number of each kind of place is kept: those below follow.
- What an answer of the game repeats of the action before it is left out.
- Words that mean the same in a plan become one (`search for`, `find`: `look`), plurals become
  singular, and every word that is not known is skipped.

The chat template tells a plan once: where the suite repeats it after every observation, or at the
beginning of each of the agent's answers, only the first stays, and that of an answer just begun.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from mpo_core.envs.alfworld.generation.prior import prior
from mpo_core.envs.alfworld.generation.tables import tables
from mpo_core.prompts import PLAN_INTRODUCTION
from mpo_core.sandbox.plans import places, things

PAD, UNKNOWN, END, USER, BOT = "<pad>", "<unk>", "<end>", "<user>", "<bot>"
SPECIAL = (PAD, UNKNOWN, END, USER, BOT)
ACTION, GO = "Action:", "go to"
MARKS = "_task_ _plan_ _step_ _room_ _see_ _done_ _failed_ _holds_ _at_ _is_ _on_ _off_ _help_"
"""Words that stand for stock phrases; no text holds them, for underscores are dropped first."""
VERBS = "take move put open close use heat cool clean slice examine look inventory help"
OTHERS = "to from with another back two hot cold sliced closed nothing"
HIGHEST = 40
"""Of numbers: released rooms have up to 33 of a kind."""

NAME = r"(?:[a-z]+ [0-9]+)"
SYNONYMS = {
    "look": r"(?:look|search|hunt|check|have a look|see)(?: for| at| into| through| if)?"
    r"|try to find|find|seek|locate|inspect|go through|track down|spot|discover|explore|scan|visit"
    rf"|browse|get hold of|try|examine(?! {NAME})|searching|checking|looking|examining"
    r"|finding|found|searched|looked|checked|inspected|explored",
    "take": "take hold of|take|pick up|pick|grab|get|fetch|collect|seize|retrieve|taking|picking"
    "|taken|grabbed|picked up|fetched|collected",
    "put": r"put|(?<!\bthe )place|set|lay|leave|drop|deposit|store|deliver|putting|placing"
    r"|placed|dropped|deposited"
    r"|move(?=\s+(?:it|them|the|that)\b)",
    "heat": "heat up|heat|warm up|warm|heated|heating"
    r"|(?<!\bthe )(?<!\beach )(?<!\ba )microwave it",
    "cool": "cool down|cool|chill|refrigerate|cooled|cooling",
    "clean": "clean|wash|rinse|scrub|cleaned|cleaning|washing",
    "use": r"use|turn on|switch on|turn it on|switch it on|turn|switch|light(?= (?:it|the|up)\b)"
    "|activate|using|used|turned on|switched on",
    "open": "open|opening|opened|opens",
    "another": "another|a second|second|one more|the other",
    "back": "go back|going back|return|returning|resume|resuming|carry on|carrying on|continue"
    "|continuing|where you left off|where you stopped",
}
"""What one says for a word, in plans and tasks."""
OTHER_NAMES = {
    "fridge": "refrigerator|freezer",
    "sinkbasin": "sink",
    "bathtubbasin": "bathtub",
    "countertop": "counter",
    "garbagecan": "trash can|trashcan|bin|garbage",
    "sofa": "couch",
    "stoveburner": "stove",
    "cellphone": "phone",
    "remotecontrol": "remote",
    "shelf": "shelves",
    "knife": "knives",
}
FIRST_HALVES = (
    "coffee dining side desk floor garbage sink bathtub counter stove tv laundry towel hand arm "
    "alarm baseball basket butter cell credit dish glass key pepper salt remote soap spray "
    "tennis tissue toilet wine watering news handtowel toiletpaper"
)
SECOND_HALVES = (
    "machine table lamp can basin top burner stand hamper holder hanger chair clock bat ball knife "
    "phone card sponge bottle chain shaker control bar racket box paper towel"
)

TEMPLATE = """
{%- set ns = namespace(told=false) -%}
{%- set plan = 'INTRODUCTION' -%}
{%- for message in messages -%}
{%- set text = message['content'] -%}
{%- if message['role'] == 'assistant' -%}
{%- if ns.told and plan in text and not loop.last -%}
{%- set text = 'ACTION' + text.split('ACTION')[-1] -%}
{%- endif -%}
{{- 'BOT ' + text + ' END' -}}
{%- else -%}
{%- if ns.told -%}{%- set text = text.split(plan)[0] -%}{%- endif -%}
{{- 'USER ' + text -}}
{%- endif -%}
{%- if plan in text -%}{%- set ns.told = true -%}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'BOT' -}}{%- endif -%}
"""


def chat_template() -> str:
    """The chat template, in Jinja: `<user> ... <bot> Action: go to desk 1 <end>`."""
    text = TEMPLATE.strip().replace("INTRODUCTION", PLAN_INTRODUCTION).replace("ACTION", ACTION)
    return text.replace("BOT", BOT).replace("USER", USER).replace("END", END)


@cache
def words() -> list[str]:
    """The vocabulary; a word's position is its id."""
    kinds = sorted(places() | _objects())
    numbers = map(str, range(1, HIGHEST + 1))
    every = [*SPECIAL, ACTION, GO, *f"{MARKS} {VERBS} {OTHERS}".split(), *kinds, *numbers]
    return list(dict.fromkeys(every))


@cache
def tokenizer() -> Any:
    """The tokenizer, as `tokenizers` has it."""
    return reading(words(), _rules(), (GO,))


def reading(words: Sequence[str], rules: Iterable[tuple[str, str]], phrases: Iterable[str]) -> Any:
    """A tokenizer of words, the phrases among them of several, that reads by its normalizer.

    Args:
        rules: patterns of lower-case text (Oniguruma's) and what each becomes, in their order.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token=UNKNOWN))
    made.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            *(normalizers.Replace(Regex(pattern), word) for pattern, word in rules),
        ]
    )
    piece = Regex("|".join([*phrases, r"\S+"]))
    made.pre_tokenizer = pre_tokenizers.Split(piece, behavior="removed", invert=True)
    made.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIAL])
    return made


def pretrained() -> Any:
    """The tokenizer with its chat template, as transformers has it."""
    return in_transformers(tokenizer(), chat_template())


def in_transformers(tokenizer: Any, template: str) -> Any:
    """A tokenizer of these special words with a chat template, as transformers has it."""
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = template
    return made


def _rules() -> list[tuple[str, str]]:
    """Patterns of lower-case text and what each becomes, in their order.

    They are Oniguruma's: `^` stands at every line's beginning, and `(?m:.)` is any character.
    """
    halves = [rf"\b{word}" for word in FIRST_HALVES.split()]
    return [
        ("_", " "),
        # The instructions, to think or not: they are the same in every episode.
        (r"you play alfworld(?m:.)*?\naction: one action", " "),
        (r"some possible actions:[^\n]*", " "),
        (r"^\s*(?:observation|thought):", " "),
        (r"^\s*action:", " _action_ "),
        (r"^[ \t]*(?:[-*•+>#]+\s*)*(?:step\s*)?[0-9]+\s*[*:.)]+", " _step_ "),
        (r"^[ \t]*[-*•+]\s", " _step_ "),
        (r"[^\w\s]+|\s+", " "),
        (" {2,}", " "),
        # The game's own phrases.
        ("your answer holds no action answer with a line that starts with action", " _failed_ "),
        ("your task is to", " _task_ "),
        (_plain(PLAN_INTRODUCTION), " _plan_ "),
        ("you are in the middle of a room looking quickly around you you see", " _room_ "),
        (rf"a ({_either(places())}) [0-9]+\K(?: (?:and )?a \1 [0-9]+)+", ""),
        (rf"you arrive at {NAME}|you open the {NAME}", " "),
        (rf"the {NAME} is open in it you see|on the {NAME} you see", " _see_ "),
        (rf"the {NAME} is closed", " closed "),
        (
            rf"you (?:pick up|move|heat|cool|clean|turn on|close|sliced) the {NAME}"
            rf"(?: (?:from|to|using|with) the {NAME})?",
            " _done_ ",
        ),
        ("nothing happens", " _failed_ "),
        ("you are not carrying anything", " _holds_ nothing "),
        ("you are carrying", " _holds_ "),
        ("you are facing the", " _at_ "),
        ("next to it you see", " _see_ "),
        (rf"this {NAME} is on", " _is_ _on_ "),
        (rf"this {NAME} is off", " _is_ _off_ "),
        (r"there s nothing special about", " _is_ nothing "),
        ("this is a", " _is_ "),
        (r"available commands look .*", " _help_ "),
        # Plans and tasks.
        (rf"\bgo to(?= {NAME})", " _go_ "),
        (r"(?<![0-9]) (?:to|from|with)\b", " "),
        (r"move over|go on|\bin the room\b|carry out", " "),
        (rf"(?<={_either(halves)}) (?=(?:{_either(SECOND_HALVES.split())}))", ""),
        *((rf"\b(?:{names})s?\b", name) for name, names in OTHER_NAMES.items()),
        *((rf"\b(?:{spoken})\b", f" {word} ") for word, spoken in SYNONYMS.items()),
        (r"(?<=potato|tomato)es\b", ""),
        (rf"(?<={_either(places() | _objects())})s\b", ""),
        (rf"(?<!\S)(?!(?:{_either(_kept())})(?!\S))\S+(?: [0-9]+(?!\S))?", " "),
        ("_action_", ACTION),
        ("_go_", GO),
    ]


def _kept() -> Iterable[str]:
    return (*(w for w in words() if w not in {*SPECIAL, ACTION, GO}), "_action_", "_go_")


def _plain(phrase: str) -> str:
    """A stock phrase as it reads without its signs."""
    return " ".join("".join(c if c.isalnum() else " " for c in phrase.lower()).split())


@cache
def _objects() -> frozenset[str]:
    """Every kind of thing that is in a room, of those too that no task is about."""
    held = {thing for held in tables().holds.values() for thing in held}
    return frozenset(thing.lower() for thing in held | prior().standing.keys()) | things()


def _either(alternatives: Iterable[str]) -> str:
    """A pattern for any of them, longer ones first."""
    return "|".join(sorted(alternatives, key=lambda word: (-len(word), word)))
