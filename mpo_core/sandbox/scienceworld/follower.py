"""A scripted agent that does what a plan says; without one, it does what the task says.

Rooms are searched in the plan's order, then from the first room on as the instructions list them.
It is a function of the dialogue, whoever has acted so far: asked before every action, it also says
what should be done in a state that another agent got itself into.
"""

import re

from mpo_core.sandbox.scienceworld.games import ROOMS, UNKNOWN_ACTION, Goal, seen
from mpo_core.sandbox.scienceworld.plans import PlanSpec

IDLE = "look around"
CALLED = re.compile(r"is called the ([a-z ]+)\.")


class Follower:
    """`see` every answer, `act` says what is next."""

    def __init__(self, task: str, observation: str, plan: PlanSpec | None) -> None:
        self.goal = Goal.read(task)
        self.plan = plan or PlanSpec()
        self._views: dict[str, list[str]] = {}
        self._here, self._held = "", ""
        self._focused: list[str] = []
        self._tried = False
        self._look(observation)
        first = ROOMS.index(self._here)
        self._rooms = (*self.plan.rooms, *ROOMS[first:], *ROOMS[:first])

    def _look(self, view: str) -> None:
        if called := CALLED.search(view):
            self._here = called[1]
            self._views[self._here] = seen(view)

    def see(self, action: str, observation: str) -> None:
        """What was done, and what came of it."""
        self._look(observation)
        if action.startswith("move "):
            self._tried = self._tried or action == self._move()
        if observation == UNKNOWN_ACTION:
            return
        if room := re.match(r"You teleport to the ([a-z ]+)\.", observation):
            self._here = room[1]
        if action.startswith("focus on ") and observation.startswith("You focus"):
            self._focused.append(action.removeprefix("focus on "))
        if action.startswith("pick up ") and observation.startswith("You move"):
            self._held = action.removeprefix("pick up ")

    def act(self) -> str | None:
        """The next action; None where nothing is left to do."""
        return self._find() if self.goal.sought else self._tell_apart()

    def _tell_apart(self) -> str | None:
        number = len(self._focused)
        if number == len(self.goal.spans):
            return None
        if "outside" not in self._views:
            return IDLE if self._here == "outside" else "teleport to outside"
        if self._here != "outside":
            return "teleport to outside"
        there = [name for name in self._views["outside"] if name not in self._focused]
        names = self.plan.names[number] if number < len(self.plan.names) else ()
        found = [name for name in there if name in names] or there
        return f"focus on {found[0]}" if found else None

    def _find(self) -> str | None:
        if self._tried:
            return None
        thing = self._thing()
        if not thing:
            return self._search()
        at = self._at(thing)
        if self.plan.focus and thing not in self._focused:
            return f"focus on {thing}" if at == self._here else f"teleport to {at}"
        if self.plan.pick and self._held != thing:
            return f"pick up {thing}" if at == self._here else f"teleport to {at}"
        at_the_box = self._here == self.goal.room
        return self._move() if at_the_box else f"teleport to {self.goal.room}"

    def _search(self) -> str | None:
        if self._here not in self._views:
            return IDLE
        left = (room for room in self._rooms if room not in self._views)
        return next((f"teleport to {room}" for room in left), None)

    def _move(self) -> str:
        return f"move {self._thing()} to {self.goal.box} box"

    def _thing(self) -> str:
        """What is to be put into the box: what is held or was focused on, else the first seen."""
        for name in (self._held, *self._focused):
            if name and self.goal.fits(name):
                return name
        for room in self._views:
            if found := [name for name in self._views[room] if self.goal.fits(name)]:
                return found[0]
        return ""

    def _at(self, thing: str) -> str:
        if self._held == thing:
            return self._here
        return next((room for room, things in self._views.items() if thing in things), self._here)
