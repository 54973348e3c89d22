"""A scripted agent that does what a plan says, from nothing but what it has been told.

- The next step is the plan's first that is not done and can be done: a plan in a bad order is
  followed in that order, and what a plan leaves out is left out.
- A search goes through a kind of place from its highest number down to 1, then through the plan's
  next kind; after the plan's kinds come the others, as the room lists them.
- An object that is put goes to the kind's number 1. A closed place is opened before that where the
  plan says so, and else not at all: then the object stays in hand.
- A second object is fetched from where one was seen where the plan says so; else its search starts
  anew, as if nothing had been seen.
- Without a plan, it does what the task says, in the order in which the room is listed; a closed
  place is opened after the first attempt to put something there.

It is a function of the dialogue, whoever has acted so far: it also says what should be done in a
state that another agent got itself into, if it is asked before every action.
"""

import re
from collections.abc import Iterator
from typing import Literal

from mpo_core.sandbox.games import CHANGES, kind
from mpo_core.sandbox.plans import PlanSpec, Step, Verb, compose, lamps, openable, places, things
from mpo_core.sandbox.simulator import NOTHING

NAME = r"([a-z]+ \d+)"
NAMED = re.compile(rf"\ba {NAME}")
CLOSED = re.compile(rf"[Tt]he {NAME} is closed\.")
VIEW = re.compile(rf"(?:On the {NAME}, you see|[Tt]he {NAME} is open\. In it, you see) (.*)")
TAKEN = re.compile(rf"You pick up the {NAME} from the {NAME}\.")
MOVED = re.compile(rf"You move the {NAME} to the {NAME}\.")
CHANGED = re.compile(rf"You (heat|cool|clean) the {NAME} using")
SHUT = re.compile(rf"You close the {NAME}\.")
LIT = re.compile(rf"You turn on the {NAME}\.")
GO = re.compile(rf"go to {NAME}")
PREPARED: dict[str, Verb] = {"heat": "heat", "hot": "heat", "cool": "cool", "clean": "clean"}
"""What the words of a task ask for."""
OPPOSITE = {"heat": "cool", "cool": "heat"}


class Follower:
    """Follows a plan, or none, through one episode: `see` every answer, `act` says what is next."""

    def __init__(self, instruction: str, observation: str, plan: PlanSpec | None = None) -> None:
        self.plan = plan if plan is not None else task_plan(instruction)
        self._told = plan is not None
        self._places = NAMED.findall(observation)
        takes = (step.thing for step in self.plan.steps if step.verb == "take")
        self._wanted = next(takes, task_plan(instruction).steps[0].thing)
        self._done = [False] * len(self.plan.steps)
        self._here = ""
        self._holds = ""
        self._taken_from = ""
        self._closed: set[str] = set()
        self._inside: dict[str, list[str]] = {}
        """What was seen in each place, as of now."""
        self._placed: set[str] = set()
        self._fresh: set[str] | None = None
        """Places looked at in a search that started anew; None where none is under way."""
        self._failed = ""

    @property
    def here(self) -> str:
        """The place where one is; empty at first."""
        return self._here

    @property
    def holds(self) -> str:
        """The thing in hand; empty for none."""
        return self._holds

    def see(self, action: str, observation: str) -> None:
        """What was done, and what came of it."""
        nothing = observation == NOTHING
        self._failed = action if nothing else ""
        if (went := GO.fullmatch(action)) and went[1] in self._places:
            # Nothing happens where one is already: places may share a spot.
            self._here = went[1]
        if nothing:
            return
        if closed := CLOSED.search(observation):
            self._closed.add(closed[1])
        if shut := SHUT.match(observation):
            self._closed.add(shut[1])
        if view := VIEW.search(observation):
            place = self._here = view[1] or view[2]
            self._closed.discard(place)
            self._inside[place] = NAMED.findall(view[3])
            if self._fresh is not None:
                self._fresh.add(place)
        if taken := TAKEN.match(observation):
            self._see_taken(*taken.groups())
        if moved := MOVED.match(observation):
            self._see_moved(*moved.groups())
        if changed := CHANGED.match(observation):
            self._undo(OPPOSITE.get(changed[1], ""), kind(changed[2]))
            self._mark(changed[1], kind(changed[2]))
        if (lit := LIT.match(observation)) and kind(self._holds) == self._wanted:
            self._mark("use", kind(lit[1]))

    def _see_taken(self, thing: str, place: str) -> None:
        self._holds, self._taken_from = thing, place
        if thing in self._inside.get(place, ()):
            self._inside[place].remove(thing)
        if thing in self._placed:
            self._placed.remove(thing)
            self._undo("put", kind(thing))
        else:
            self._mark("take", kind(thing))

    def _see_moved(self, thing: str, place: str) -> None:
        self._holds = ""
        if place in self._inside:
            self._inside[place].append(thing)
        # Two objects belong into one and the same place.
        if place == f"{kind(place)} 1" and self._mark("put", kind(thing), kind(place)):
            self._placed.add(thing)
        elif kind(thing) == self._wanted:
            # Put down on the way: it, or another, is to be found and prepared again.
            for verb in ("look", "take", *CHANGES):
                self._undo(verb, kind(thing))

    def act(self) -> str | None:
        """The next action; None where the plan has nothing more that can be done."""
        if self._holds and kind(self._holds) != self._wanted:
            return self._put_back()
        for number, step in enumerate(self.plan.steps):
            if self._done[number]:
                continue
            if step.verb == "look":
                action = self._look(step)
                if action is None:
                    self._done[number], self._fresh = True, None
            else:
                action = self._do(step)
            if action:
                return action
        return None

    def _mark(self, verb: str, thing: str, place: str = "") -> bool:
        """Tick off the first step that this was; whether there is one.

        A thing is not where it belongs while the plan has something to do to it first.
        """
        for number, step in enumerate(self.plan.steps):
            if self._done[number]:
                continue
            if verb == "put" and step.verb in CHANGES:
                return False
            if (step.verb, step.thing, step.place) == (verb, thing, place):
                self._done[number] = True
                return True
        return False

    def _undo(self, verb: str, thing: str) -> None:
        """The last such step that was done is to be done again."""
        for number in reversed(range(len(self._done))):
            step = self.plan.steps[number]
            if self._done[number] and (step.verb, step.thing) == (verb, thing):
                self._done[number] = False
                return

    def _do(self, step: Step) -> str | None:
        """The next action of a step; None where it cannot be done now."""
        held = self._holds
        if step.verb == "take":
            return None if held else self._take(step.thing)
        if step.verb == "use":
            return self._use(step.thing) if held else None
        if not held or kind(held) != step.thing:
            return None
        if step.verb in CHANGES:
            device = f"{CHANGES[step.verb]} 1"
            return self._at(device, f"{step.verb} {held} with {device}")
        if step.verb == "put":
            return self._put(step)
        return None

    def _look(self, step: Step) -> str | None:
        """Where to look next; None where the thing is in sight, or cannot be found."""
        if kind(self._holds) == step.thing:
            # One that is held was found; another cannot be carried with it.
            return None
        if step.again and not step.sweep and self._fresh is None:
            self._fresh = set()
        seen = self._inside.keys() if self._fresh is None else self._fresh
        if any(True for place in seen for _ in self._offered(step.thing, place)):
            return None
        search = step.search
        if step.sweep and not search:
            search = self.plan.search
        for place in self._order(search):
            if place not in seen:
                return self._view(place)
        return None

    def _order(self, search: tuple[str, ...]) -> Iterator[str]:
        kinds = dict.fromkeys([*search, *map(kind, self._places)])
        return (place for what in kinds for place in self._places if kind(place) == what)

    def _offered(self, thing: str, place: str) -> Iterator[str]:
        """Things of a kind that lie in a place, other than those that were put there on purpose."""
        inside = self._inside.get(place, ())
        return (name for name in inside if kind(name) == thing and name not in self._placed)

    def _view(self, place: str) -> str:
        if self._here != place:
            return f"go to {place}"
        # After `Nothing happens.`, for a place that shares its spot with the last one.
        return f"open {place}" if place in self._closed else f"examine {place}"

    def _seen(self, thing: str) -> tuple[str, str] | None:
        """A thing of the kind that was seen, and its place: at hand first."""
        for place in (self._here, *self._inside):
            if name := next(self._offered(thing, place), ""):
                return name, place
        return None

    def _take(self, thing: str) -> str | None:
        if not (seen := self._seen(thing)):
            return None
        name, place = seen
        return self._at(place, self._opened(place, f"take {name} from {place}"))

    def _use(self, lamp: str) -> str | None:
        seen = self._seen(lamp)
        return self._at(seen[1], f"use {seen[0]}") if seen else None

    def _put(self, step: Step) -> str | None:
        place = f"{step.place} 1"
        move = f"move {self._holds} to {place}"
        if self._here != place or place not in self._places:
            return self._at(place, move)
        unknown = step.place in openable() and place not in self._inside
        if unknown and place not in self._closed:
            # It shares a spot with the last place.
            return f"examine {place}"
        if step.opens:
            return self._opened(place, move)
        if self._failed == move:
            return None if self._told else self._opened(place, None)
        return move

    def _put_back(self) -> str | None:
        """Put a thing that nobody wants to where it was taken."""
        place = self._taken_from
        return self._at(place, self._opened(place, f"move {self._holds} to {place}"))

    def _opened(self, place: str, action: str | None) -> str | None:
        return f"open {place}" if place in self._closed else action

    def _at(self, place: str, action: str | None) -> str | None:
        """The action, once one is at the place; None where the room has no such place."""
        if place not in self._places:
            return None
        return action if self._here == place else f"go to {place}"


def task_plan(instruction: str) -> PlanSpec:
    """What the task itself says that is to be done, and nothing of where to look."""
    words = re.findall(r"[a-z]+", instruction.lower().partition("task is to:")[2])
    found = [word for word in words if word in things() - lamps()]
    place = next((word for word in reversed(words) if word in places()), "")
    prepare: Verb | Literal[""] = next((PREPARED[word] for word in words if word in PREPARED), "")
    lamp = next((word for word in words if word in lamps()), "")
    return compose(
        found[0] if found else "", prepare=prepare, place=place, lamp=lamp, two="two" in words
    )
