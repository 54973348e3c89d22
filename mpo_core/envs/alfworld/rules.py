"""Rules for ALFWorld: errands, each with one object, told in general terms."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mpo_core.abstraction.wording import article, kind, read

_HOUSEHOLD = {
    "go": re.compile(r"go to (?P<place>.+)"),
    "open": re.compile(r"open (?P<place>.+)"),
    "take": re.compile(r"take (?P<thing>.+?) from (?P<place>.+)"),
    "put": re.compile(r"(?:move|put) (?P<thing>.+?) (?:to|in/on|in|on) (?P<place>.+)"),
    "change": re.compile(r"(?P<verb>clean|heat|cool|slice) (?P<thing>.+?) with (?P<tool>.+)"),
    "use": re.compile(r"(?:use|toggle) (?P<thing>.+)"),
}
# Kinds of furniture of which a room mostly has several.
SEVERAL = {
    "armchair": "armchairs",
    "cabinet": "cabinets",
    "countertop": "countertops",
    "drawer": "drawers",
    "shelf": "shelves",
    "sidetable": "sidetables",
    "stoveburner": "stoveburners",
}
# Things lie in all other kinds.
_ON = {
    "armchair",
    "bed",
    "coffeetable",
    "countertop",
    "desk",
    "diningtable",
    "dresser",
    "handtowelholder",
    "ottoman",
    "shelf",
    "sidetable",
    "sofa",
    "stoveburner",
    "toilet",
    "toiletpaperhanger",
    "towelholder",
    "tvstand",
}


@dataclass
class _Errand:
    """What is done with one object between taking it and putting it down."""

    name: str
    found: str
    """Kind of place where it was taken, as `put`, `lamp` and `lit` are kinds."""
    changes: list[tuple[str, str]] = field(default_factory=list)
    put: str = ""
    lamp: str = ""
    lit: str = ""
    """Where the lamp stood."""

    @property
    def noun(self) -> str:
        return kind(self.name)


def household_steps(actions: Sequence[str]) -> list[str]:
    """Steps of a plan, each without its number and full stop."""
    opened = {
        kind(said["place"])
        for verb, said in (read(_HOUSEHOLD, action) for action in actions)
        if verb == "open"
    }
    steps: list[str] = []
    before: _Errand | None = None
    for errand in _errands(actions):
        first = before if before and before.noun == errand.noun else None
        steps += _fetching(errand, first, opened)
        steps += [_changing(errand.noun, verb, tool) for verb, tool in errand.changes]
        if errand.put:
            steps.append(_putting(errand, first, opened))
        if errand.lamp:
            steps += _lighting(errand)
        before = errand
    return steps


def _errands(actions: Sequence[str]) -> list[_Errand]:
    """The errands, in order. Looking into places where nothing was taken leaves no trace."""
    errands: list[_Errand] = []
    here = ""
    for action in actions:
        verb, said = read(_HOUSEHOLD, action)
        place = kind(said.get("place", ""))
        if verb == "go":
            here = place
        elif verb == "take" and kind(said["thing"]) and place:
            again = [errand for errand in errands if errand.name == said["thing"]]
            if again:  # It was put down on the way only.
                errands.remove(again[0])
                errands.append(replace(again[0], put=""))
            else:
                errands.append(_Errand(said["thing"], place))
        elif not errands:
            continue
        elif verb == "put" and place:
            errands[-1].put = place
        elif verb == "change" and kind(said["tool"]):
            errands[-1].changes.append((said["verb"], kind(said["tool"])))
        elif verb == "use" and kind(said["thing"]):
            errands[-1].lamp, errands[-1].lit = kind(said["thing"]), here
    return errands


def _fetching(errand: _Errand, first: _Errand | None, opened: set[str]) -> list[str]:
    noun, place = errand.noun, errand.found
    if first and first.found == place:
        return [f"go back to {places(place)} for another {noun} and take it"]
    wanted = f"another {noun}" if first else article(noun)
    search = f"look for {wanted}, first {in_or_on(place)} {places(place)}"
    if place in opened:
        closed = "those that are closed" if place in SEVERAL else "it if it is closed"
        search += f"; open {closed}"
    return [search, f"take the {noun}"]


def _changing(noun: str, verb: str, tool: str) -> str:
    if verb == "slice":
        return f"slice the {noun} with the {tool}"
    return f"go to the {tool} and {verb} the {noun} with it"


def _putting(errand: _Errand, first: _Errand | None, opened: set[str]) -> str:
    noun, place = errand.noun, errand.put
    if first and first.put == place:
        return f"put it {in_or_on(place)} the same {place} as the first"
    there = article(place) if place in SEVERAL else f"the {place}"
    opening = ", open it if it is closed," if place in opened else ""
    return f"go to {there}{opening} and put the {noun} {in_or_on(place)} it"


def _lighting(errand: _Errand) -> list[str]:
    noun, lamp, place = errand.noun, errand.lamp, errand.lit
    where = f", first {in_or_on(place)} {places(place)}" if place else ""
    return [
        f"carry the {noun} and look for {article(lamp)}{where}",
        f"use the {lamp} while holding the {noun}",
    ]


def in_or_on(place: str) -> str:
    """The word for where things are at a kind of place."""
    return "on" if place in _ON else "in"


def places(place: str) -> str:
    """All the room's places of a kind: `the cabinets`, `the fridge`."""
    return f"the {SEVERAL.get(place, place)}"
