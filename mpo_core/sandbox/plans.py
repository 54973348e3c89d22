"""Plans as the sandbox thinks of them: steps in an order, about kinds of things and places.

`wording.write` puts a plan into words, in many wordings; `reading.read` reads it back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from mpo_core.envs.alfworld.generation.prior import prior
from mpo_core.envs.alfworld.generation.tables import tables
from mpo_core.sandbox.games import CHANGES

Verb = Literal["look", "take", "heat", "cool", "clean", "put", "use", "nonsense"]
Length = Literal["plain", "long", "short"]
PREPARING: tuple[Verb, ...] = ("heat", "cool", "clean")
"""The verbs of `CHANGES`."""


@dataclass(frozen=True)
class Step:
    """One step. All names are kinds: `mug`, `cabinet`."""

    verb: Verb
    thing: str = ""
    """What is looked for, taken, changed, put or used; empty for nonsense."""
    search: tuple[str, ...] = ()
    """For `look`: the kinds of places to look in, first first."""
    again: bool = False
    """For `look`: for another one."""
    sweep: bool = False
    """For another one: fetch it from where one was seen, or search on from where the first search
    ended, in place of searching from the start."""
    place: str = ""
    """For `put`: where."""
    opens: bool = False
    """For `put`: open the place first, where it is closed."""
    words: str = field(default="", compare=False)
    """For nonsense: what it says."""


@dataclass(frozen=True)
class PlanSpec:
    steps: tuple[Step, ...]
    length: Length = field(default="plain", compare=False)
    """How many words are made of it; says nothing about what is done."""

    @property
    def search(self) -> tuple[str, ...]:
        """Where to look for the object, first first."""
        looks = [step for step in self.steps if step.verb == "look" and not step.again]
        return looks[0].search if looks else ()

    @property
    def prepares(self) -> Verb | Literal[""]:
        """`heat`, `cool` or `clean`, where the plan has that step."""
        return next((step.verb for step in self.steps if step.verb in CHANGES), "")

    @property
    def opens(self) -> bool:
        """Whether the place is to be opened before something is put there."""
        return any(step.opens for step in self.steps)

    @property
    def sweeps(self) -> bool:
        """Whether the second object is fetched in the same sweep as the first."""
        return any(step.sweep for step in self.steps)

    @property
    def sense(self) -> "PlanSpec":
        """The plan without its nonsense."""
        return self.changed(step for step in self.steps if step.verb != "nonsense")

    def changed(self, steps: Iterable[Step]) -> "PlanSpec":
        """The same with other steps."""
        return replace(self, steps=tuple(steps))


def compose(
    thing: str,
    search: Iterable[str] = (),
    *,
    prepare: Verb | Literal[""] = "",
    place: str = "",
    lamp: str = "",
    lamp_search: Iterable[str] = (),
    two: bool = False,
    opens: bool = False,
    sweep: bool = False,
) -> PlanSpec:
    """The plan of a task: find the object, prepare it, and put it somewhere or use a lamp.

    `prepare` is empty or a key of `CHANGES`; `opens` and `sweep` count only where something is put
    into a place that can be closed, and for two objects.
    """
    put = Step("put", thing, place=place, opens=opens and place in openable())
    steps = [Step("look", thing, search=tuple(search)), Step("take", thing)]
    if prepare:
        steps.append(Step(prepare, thing))
    if place:
        steps.append(put)
    if two:
        again = () if sweep else tuple(search)
        another = Step("look", thing, search=again, again=True, sweep=sweep)
        steps += [another, Step("take", thing), put]
    if lamp:
        steps += [Step("look", lamp, search=tuple(lamp_search)), Step("use", lamp)]
    return PlanSpec(tuple(steps))


@cache
def openable() -> frozenset[str]:
    """The kinds of places that can be closed."""
    return frozenset(kind.lower() for kind in tables().openable if kind in tables().holds)


@cache
def places() -> frozenset[str]:
    """Every kind of place."""
    return frozenset(kind.lower() for kind in tables().holds)


@cache
def lamps() -> frozenset[str]:
    return frozenset(kind.lower() for kind in tables().affords["toggleable"])


@cache
def things() -> frozenset[str]:
    """Every kind of thing that games are about, lamps too."""
    named = {thing for room in prior().places.values() for thing in room}
    return frozenset(thing.lower() for thing in named) | lamps()
