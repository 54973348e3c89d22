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
_SEVERAL = {
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
    opened: bool
    changes: list[tuple[str, str]] = field(default_factory=list)
    put: str = ""
    put_opened: bool = False
    lamp: str = ""
    lit: str = ""

    @property
    def noun(self) -> str:
        return kind(self.name)


def household_steps(_: str, actions: Sequence[str], __: str) -> list[str]:
    errands = _errands(actions)
    steps: list[str] = []
    for before, errand in zip([None, *errands], errands, strict=False):
        noun = errand.noun
        another = before is not None and before.noun == noun
        if another and before.found == errand.found:
            steps.append(f"go back to {_places(errand.found)} for another {noun} and take it")
        else:
            closed = "those that are closed" if errand.found in _SEVERAL else "it if it is closed"
            opening = f"; open {closed}" if errand.opened else ""
            wanted = f"another {noun}" if another else article(noun)
            where = f"{_in(errand.found)} {_places(errand.found)}"
            steps += [f"look for {wanted}, first {where}{opening}", f"take the {noun}"]
        for verb, tool in errand.changes:
            go = "" if verb == "slice" else f"go to the {tool} and "
            with_it = f" with the {tool}" if verb == "slice" else " with it"
            steps.append(f"{go}{verb} the {noun}{with_it}")
        if errand.put:
            if another and before.put == errand.put:
                steps.append(f"put it {_in(errand.put)} the same {errand.put} as the first")
            else:
                opening = " open it if it is closed," if errand.put_opened else ""
                place = article(errand.put) if errand.put in _SEVERAL else f"the {errand.put}"
                link = "," if opening else ""
                steps.append(
                    f"go to {place}{link}{opening} and put the {noun} {_in(errand.put)} it"
                )
        if errand.lamp:
            where = f", first {_in(errand.lit)} {_places(errand.lit)}" if errand.lit else ""
            steps += [
                f"carry the {noun} and look for {article(errand.lamp)}{where}",
                f"use the {errand.lamp} while holding the {noun}",
            ]
    return steps


def _errands(actions: Sequence[str]) -> list[_Errand]:
    """The errands, in order. Looking into places where nothing was taken leaves no trace."""
    errands: list[_Errand] = []
    here, opened = "", False
    for action in actions:
        verb, said = read(_HOUSEHOLD, action)
        place = kind(said.get("place", ""))
        if verb == "go":
            here, opened = place, False
        elif verb == "open":
            opened = True
        elif verb == "take" and kind(said["thing"]) and place:
            again = [e for e in errands if e.name == said["thing"]]
            if again:  # It was put down on the way only.
                errands.remove(again[0])
                errands.append(replace(again[0], put="", put_opened=False))
            else:
                errands.append(_Errand(said["thing"], place, opened))
        elif not errands:
            continue
        elif verb == "put" and place:
            errands[-1].put, errands[-1].put_opened = place, opened
        elif verb == "change" and kind(said["tool"]):
            errands[-1].changes.append((said["verb"], kind(said["tool"])))
        elif verb == "use" and kind(said["thing"]):
            errands[-1].lamp, errands[-1].lit = kind(said["thing"]), here
    return errands


def _in(place: str) -> str:
    return "on" if place in _ON else "in"


def _places(place: str) -> str:
    return f"the {_SEVERAL.get(place, place)}"
