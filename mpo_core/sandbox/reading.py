"""Reads a plan's text into steps, by its verbs and by the names of things and places.

Made for the wordings of `wording.py`, the rule-based teacher's among them. What it does not know
it passes over, word by word, so it makes what it can of other wordings.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from mpo_core.envs.alfworld.rules import SEVERAL
from mpo_core.sandbox.plans import PlanSpec, Step, Verb, lamps, places, things

Said = Verb | Literal["open", "go", ""]
VERBS: dict[Said, str] = {
    "look": "look search find seek hunt locate check inspect",
    "take": "take pick grab get fetch",
    "heat": "heat warm",
    "cool": "cool chill",
    "clean": "clean wash rinse",
    "put": "put place set lay leave drop",
    "use": "use turn switch",
    "open": "open",
    "go": "go walk head move carry bring return",
}
VERB = {word: verb for verb, words in VERBS.items() for word in words.split()}
NOT_BEFORE_A_VERB = {"a", "an", "the", "some", "of", "what"}
"""After these, `clean` and the like say how a thing is, or name something."""
OTHERS = {"refrigerator": "fridge", "sink": "sinkbasin", "counter": "countertop"}
AGAIN = {"another", "second", "more"}
IT = {"it", "that", "this", "them", "one"}
SWEEP = {"back", "return", "saw", "stopped", "left"}
NUMBERING = re.compile(r"^\s*(?:step\s*)?\d+\s*[:.)]\s*", re.IGNORECASE)


def read(text: str) -> PlanSpec:
    """The plan that a text states; one without steps where it states none."""
    steps: list[Step] = []
    last = ""
    for line in text.splitlines():
        for step in _steps(_clauses(NUMBERING.sub("", line)), last):
            steps.append(step)
            last = step.thing
    return PlanSpec(tuple(steps))


@dataclass
class _Clause:
    """A verb and what is named after it, up to the next verb."""

    verb: Said
    things: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    words: set[str] = field(default_factory=set)


def _clauses(line: str) -> list[_Clause]:
    words = re.findall(r"[a-z]+", line.lower())
    found = [_Clause("")]
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if word in VERB and before not in NOT_BEFORE_A_VERB:
            found.append(_Clause(VERB[word]))
        # `desk lamp` is no desk.
        if kind := _kinds().get(word + after) or _kinds().get(word):
            (found[-1].places if kind in places() else found[-1].things).append(kind)
        found[-1].words.add(word)
    return found


def _steps(clauses: list[_Clause], last: str) -> Iterator[Step]:
    """The steps that a line states; `last` is what `it` means at its beginning."""
    named: list[str] = []
    opens = False
    said = {word for clause in clauses for word in clause.words}
    sweep = bool(said & AGAIN and said & SWEEP)
    if sweep and not any(clause.verb == "look" and clause.things for clause in clauses):
        # `go back to the cabinets for another mug`
        which = next((thing for clause in clauses for thing in clause.things), last)
        where = [kind for clause in clauses for kind in clause.places]
        yield Step("look", which, search=_once(where), again=True, sweep=True)
        last = which
    for clause in clauses:
        # `take a deep breath` takes nothing.
        meant = last if clause.words & IT else ""
        thing = clause.things[0] if clause.things else meant
        where = clause.places or named
        if clause.verb in ("go", "open", ""):
            named = clause.places or named
            opens = opens or clause.verb == "open"
        elif clause.verb == "look" and clause.things:
            again = bool(said & AGAIN)
            yield Step("look", thing, search=_once(where), again=again, sweep=sweep)
        elif clause.verb == "take" and thing:
            if "to" in clause.words:
                named = clause.places
            elif clause.places:
                yield Step("look", thing, search=_once(clause.places))
            yield Step("take", thing)
        elif clause.verb in ("heat", "cool", "clean") and thing:
            yield Step(clause.verb, thing)
        elif clause.verb == "put" and thing and where:
            yield Step("put", thing, place=where[0], opens=opens)
        elif clause.verb == "use":
            named_lamps = [name for name in (*clause.things, meant) if name in lamps()]
            yield from (Step("use", lamp) for lamp in named_lamps[:1])
        if thing and (thing not in lamps() or clause.verb == "look"):
            last = thing


def _once(kinds: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kinds))


@cache
def _kinds() -> dict[str, str]:
    """The kind that each word means: `shelves` a shelf."""
    kinds = places() | things()
    plurals = {f"{kind}s": kind for kind in kinds} | {more: one for one, more in SEVERAL.items()}
    synonyms = OTHERS | {f"{word}s": kind for word, kind in OTHERS.items()}
    return synonyms | plurals | {kind: kind for kind in kinds}
