"""Plays the generated ALFWorld games in plain Python: the engine's words, a thousand times faster.

Only for training and for study: whatever is reported is played in the real engine.

Invariants:
- The instruction, every observation, score and end are those that the suite's ALFWorld host shows
  of the same game (`tests/integration/alfworld/test_alfworld_sandbox.py`).
- A `Game` never changes; each episode has a state of its own, so any number of them may play one
  game side by side.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import cache, partial

from mpo_core.envs.alfworld.commands import is_command, plain
from mpo_core.envs.alfworld.generation.rooms import DEVICES, TWO, Goal
from mpo_core.envs.alfworld.generation.tables import tables
from mpo_core.envs.base import Reset, Step
from mpo_core.sandbox.games import CHANGES, Game, kind

NOTHING = "Nothing happens."
ROOM = "You are in the middle of a room. Looking quickly around you, you see"
STATES = {"heat": "hot", "cool": "cool", "clean": "clean"}
BLADES = frozenset({"knife", "butterknife"})
NAME = r"([a-z]+ \d+)"
COMMAND = re.compile(rf"(go to|[a-z]+) {NAME}(?: (from|to|with) {NAME})?")


class Episode:
    """One attempt at a game; the same calls and answers as an environment's, without waiting."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.reset()

    def reset(self) -> Reset:
        self._where = dict(self.game.things)
        self._holds = ""
        self._at: int | None = None
        self._open: set[str] = set()
        self._left: defaultdict[str, set[str]] = defaultdict(set)
        """Places that each thing was taken from: the engine finds it `next to` them afterwards."""
        self._states: defaultdict[str, set[str]] = defaultdict(set)
        self._won = False
        return Reset(self.game.instruction, f"{ROOM} {_listed(self.game.places)}.")

    def step(self, action: str) -> Step:
        """Do one action. The score is 1 once the game is won, which ends it, and 0 until then."""
        command = plain(action)
        observation = self._do(command)
        self._won = self._won or self._goal_reached()
        understood = observation is not None or is_command(action)
        return Step(
            NOTHING if observation is None else observation,
            float(self._won),
            self._won,
            self._won,
            understood,
        )

    def commands(self) -> list[str]:
        """Every command that can be done now, sorted."""
        game, held = self.game, self._holds
        near = [place for place in game.places if self._here(place)]
        found = {"look", "inventory", "help"}
        found |= {f"go to {place}" for place in game.places if not self._here(place)}
        for place in near:
            found |= {f"{verb} {place}" for verb in ("open", "close", "examine")}
            found |= {f"take {thing} from {place}" for thing in self._inside(place)}
            found.add(f"move {held} to {place}")
            found |= {f"{verb} {held} with {place}" for verb in CHANGES}
            for thing in self._inside(place):
                found |= {f"use {thing}", f"slice {thing} with {held}"}
        found.add(f"examine {held}")
        return sorted(command for command in found if self._effect(command))

    def _do(self, command: str) -> str | None:
        """What comes of a command; None where it cannot be done."""
        effect = self._effect(command)
        return effect() if effect else None

    def _effect(self, command: str) -> Callable[[], str] | None:
        """What does the command and tells what came of it; None: it cannot be done."""
        held = self._holds
        able, effect = False, None
        match _parsed(command):
            case ["look" | "inventory" | "help" as verb]:
                able, effect = True, getattr(self, f"_{verb}")
            case ["go to", place]:
                able = place in self.game.places and not self._here(place)
                effect = partial(self._go, place)
            case ["open" | "close" as verb, place]:
                able = self._here(place) and kind(place) in _openable()
                able = able and (place in self._open) == (verb == "close")
                effect = partial(self._turn, verb, place)
            case ["examine", name]:
                # Of things, the engine admits only what is held.
                able = self._here(name) or name == held
                effect = partial(self._inspect if name == held else self._view, name)
            case ["use", lamp]:
                able = kind(lamp) in affording("toggleable")
                able = able and self._here(self._where.get(lamp, ""))
                effect = partial(self._use, lamp)
            case ["take", thing, "from", place]:
                able = not held and self._where.get(thing) == place and self._reaches(place)
                able = able and kind(thing) in _takeable()
                effect = partial(self._take, thing, place)
            case ["move", thing, "to", place]:
                able = thing == held and self._reaches(place)
                able = able and kind(thing) in _held_by(self.game.types[place])
                effect = partial(self._put, thing, place)
            case ["heat" | "cool" | "clean" as verb, thing, "with", place]:
                able = (
                    thing == held and self._here(place) and self.game.types[place] == CHANGES[verb]
                )
                able = able and kind(thing) in affording(f"{verb}able")
                effect = partial(self._change, verb, thing, place)
            case ["slice", thing, "with", blade]:
                # The engine asks for no open door here.
                able = blade == held and kind(blade) in BLADES
                able = able and kind(thing) in affording("sliceable")
                able = able and self._here(self._where.get(thing, ""))
                effect = partial(self._slice, thing, blade)
        return effect if able else None

    def _look(self) -> str:
        near = [place for place in self.game.places if self._here(place)]
        if not near:
            return f"{ROOM} nothing."
        moved = [
            thing
            for thing in self.game.things
            for place in near
            if place in self._left[thing] and self._here(self._where.get(thing, ""))
        ]
        return f"You are facing the {_joined(near)}. Next to it, you see {_listed(moved)}."

    def _inventory(self) -> str:
        if self._holds:
            return f"You are carrying: a {self._holds}."
        return "You are not carrying anything."

    def _help(self) -> str:
        return _help_text()

    def _go(self, place: str) -> str:
        self._at = self.game.places[place]
        return f"You arrive at {place}. {self._view(place)}"

    def _turn(self, verb: str, place: str) -> str:
        if verb == "close":
            self._open.remove(place)
            return f"You close the {place}."
        self._open.add(place)
        return f"You open the {place}. {self._view(place)}"

    def _take(self, thing: str, place: str) -> str:
        self._holds = thing
        del self._where[thing]
        self._left[thing].add(place)
        return f"You pick up the {thing} from the {place}."

    def _put(self, thing: str, place: str) -> str:
        self._holds = ""
        self._where[thing] = place
        self._left[thing].discard(place)
        return f"You move the {thing} to the {place}."

    def _change(self, verb: str, thing: str, device: str) -> str:
        if verb in ("heat", "cool"):
            self._states[thing] -= {"hot", "cool"}
        self._states[thing].add(STATES[verb])
        return f"You {verb} the {thing} using the {device}."

    def _use(self, lamp: str) -> str:
        # Of a lamp that is on, the engine says the same again, and it stays on.
        self._states[lamp].add("on")
        return f"You turn on the {lamp}."

    def _slice(self, thing: str, blade: str) -> str:
        self._states[thing].add("sliced")
        return f"You sliced the {thing} with the {blade}."

    def _view(self, place: str) -> str:
        inside = _listed(self._inside(place))
        if kind(place) not in _openable():
            return f"On the {place}, you see {inside}."
        if place not in self._open:
            return f"The {place} is closed."
        return f"The {place} is open. In it, you see {inside}."

    def _inspect(self, thing: str) -> str:
        states, what = self._states[thing], kind(thing)
        if what in _vessels():
            return f"This is a normal {thing}. In it, you see nothing."
        warmth = next((state for state in ("hot", "cool") if state in states), "")
        words = " and ".join(filter(None, [warmth, "clean" if "clean" in states else ""]))
        if words and "sliced" in states:
            return f"This is a {words} sliced {thing}."
        if words:
            return f"This is a {'cold' if words == 'cool' else words} {thing}."
        if what in affording("toggleable"):
            return f"This {thing} is {'on' if 'on' in states else 'off'}."
        if "sliced" in states:
            return f"This is a sliced {thing}."
        return f"There's nothing special about {thing}."

    def _goal_reached(self) -> bool:
        goal = self.game.goal
        wanted = goal.object.lower()
        if goal.lamp:
            lit = (thing for thing, states in self._states.items() if "on" in states)
            near = any(kind(t) == goal.lamp.lower() and self._here(self._where[t]) for t in lit)
            return near and kind(self._holds) == wanted
        put = Counter(
            place
            for thing, place in self._where.items()
            if kind(thing) == wanted and self.game.types[place] == goal.place.lower()
            if goal.type not in DEVICES or _state_for(goal) in self._states[thing]
        )
        return any(count >= (2 if goal.type == TWO else 1) for count in put.values())

    def _inside(self, place: str) -> list[str]:
        return [thing for thing in self.game.things if self._where.get(thing) == place]

    def _here(self, place: str) -> bool:
        return self._at is not None and self.game.places.get(place) == self._at

    def _reaches(self, place: str) -> bool:
        return self._here(place) and (kind(place) not in _openable() or place in self._open)


def _parsed(command: str) -> list[str]:
    """`["take", "mug 1", "from", "desk 2"]`; names that are none stay as they are."""
    said = COMMAND.fullmatch(command)
    return [part for part in said.groups() if part] if said else [command]


def _listed(names: Iterable[str]) -> str:
    return _joined(f"a {name}" for name in names) or "nothing"


def _joined(words: Iterable[str]) -> str:
    *most, last = [*words] or [""]
    return f"{', '.join(most)}, and {last}" if most else last


def _state_for(goal: Goal) -> str:
    return STATES[DEVICES[goal.type][0].removesuffix("able")]


def _lower(kinds: Iterable[str]) -> frozenset[str]:
    return frozenset(word.lower() for word in kinds)


@cache
def _openable() -> frozenset[str]:
    return _lower(tables().openable)


@cache
def _vessels() -> frozenset[str]:
    return _lower(tables().vessels)


@cache
def affording(affordance: str) -> frozenset[str]:
    return _lower(tables().affords[affordance])


@cache
def _held_by(place: str) -> frozenset[str]:
    return _lower(*(held for name, held in tables().holds.items() if name.lower() == place))


@cache
def _takeable() -> frozenset[str]:
    return _lower(thing for held in tables().holds.values() for thing in held)


@cache
def _help_text() -> str:
    """Read from the package's grammar, as the engine does."""
    [text] = re.findall(r'"help\.feedback": \[\s*\{\s*"rhs": ("(?:[^"\\]|\\.)*")', tables().grammar)
    return json.loads(text).lstrip()
