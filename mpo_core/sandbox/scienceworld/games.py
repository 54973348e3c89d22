"""Six types of ScienceWorld task in plain Python, with what the agent reads of the answers.

Find a living thing, a plant or an animal and put it into a box; focus on the animal that lives
longest, shortest, or on one after the other. The house is the same in every variation: the plants
stand in the greenhouse, the animals are outside.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mpo_core.envs.base import Reset, Step
from mpo_core.patterns import matched

ROOMS = (
    "hallway",
    "kitchen",
    "living room",
    "bedroom",
    "bathroom",
    "workshop",
    "art studio",
    "greenhouse",
    "foundry",
    "outside",
)
"""In the order in which the agent's instructions name them."""
LONG = ("brown bear", "crocodile", "elephant", "giant tortoise", "parrot")
MIDDLE = ("beaver", "chipmunk", "frog egg", "rabbit", "wolf")
SHORT = ("ant", "chameleon", "dragonfly", "hedgehog", "mouse")
"""By how long they live: of each kind one is there. The engine knows a frog's egg by both words."""
ANIMALS = (*LONG, *MIDDLE, *SHORT, "blue jay", "butterfly", "dove", "turtle", "moth", "toad")
EGGS = {"crocodile", "giant tortoise", "parrot", "chameleon", "blue jay", "dove", "turtle"}
PLANTS = (
    "apple tree",
    "avocado tree",
    "banana tree",
    "cherry tree",
    "lemon tree",
    "orange tree",
    "peach tree",
    "pea plant",
)
COLOURS = ("red", "green", "blue", "orange", "yellow", "purple")
SOUGHT = {"find-living-thing": "living thing", "find-plant": "plant", "find-animal": "animal"}
SPANS = {
    "lifespan-longest-lived": ("longest",),
    "lifespan-shortest-lived": ("shortest",),
    "lifespan-longest-lived-then-shortest-lived": ("longest", "shortest"),
}
TYPES = (*SOUGHT, *SPANS)
STEPS = 8
"""Actions of an episode: fewer than the suite's limits, so that a long search is lost."""
UNKNOWN_ACTION = "No known action matches that input."
COMMAND = re.compile(
    r"(teleport to|look around|focus on|pick up|move|)(.*?)(?: to (.*))?\Z", re.DOTALL
)
SEEN = re.compile(rf"\b({'|'.join((*ANIMALS, *PLANTS))})\b")


@dataclass(frozen=True)
class Goal:
    """What a task asks for."""

    sought: str = ""
    """`plant`, `animal`, `living thing`; empty where animals are told apart by their lives."""
    box: str = ""
    room: str = ""
    """The box's colour and where it is."""
    spans: tuple[str, ...] = ()
    """`longest`, `shortest`, in their order."""

    @classmethod
    def read(cls, task: str) -> "Goal":
        """What the words of a task ask for."""
        if found := re.search(r"find a\(n\) ([a-z ]+)\..* the (\w+) box in the ([a-z ]+)\.", task):
            return cls(sought=found[1], box=found[2], room=found[3])
        spans = re.findall(r"(longest|shortest) life span", task)
        return cls(spans=tuple(dict.fromkeys(spans)))

    def fits(self, thing: str) -> bool:
        if self.sought == "living thing":
            return True
        return (thing in PLANTS) == (self.sought == "plant")


@dataclass(frozen=True)
class Game:
    type: str
    goal: Goal
    start: str
    animals: tuple[str, ...]
    plants: tuple[str, ...]

    @classmethod
    def drawn(cls, rng: random.Random) -> "Game":
        type_ = rng.choice(TYPES)
        start, animals = rng.choice(ROOMS), tuple(rng.sample(ANIMALS, 3))
        if type_ in SPANS:
            return cls(type_, Goal(spans=SPANS[type_]), start, animals, ())
        goal = Goal(SOUGHT[type_], rng.choice(COLOURS), rng.choice(ROOMS))
        return cls(type_, goal, start, animals, tuple(rng.sample(PLANTS, 3)))

    @property
    def task(self) -> str:
        """In the engine's words."""
        goal = self.goal
        if goal.sought:
            return (
                f"Your task is to find a(n) {goal.sought}. First, focus on the thing. "
                f"Then, move it to the {goal.box} box in the {goal.room}."
            )
        span = goal.spans[0]
        where = "The animals are in the 'outside' location."
        if len(goal.spans) == 1:
            return (
                f"Your task is to find the animal with the {span} life span.  {where}  Focus on "
                f"the animal with the {span} life span."
            )
        return (
            "Your task is to find the animal with the longest life span, then the shortest life "
            "span. First, focus on the animal with the longest life span.  Then, focus on the "
            f"animal with the shortest life span. {where}"
        )


def seen(view: str) -> list[str]:
    """Animals and plants that a view names, in its order."""
    return SEEN.findall(view)


class Episode:
    """A game being played. Of a room it shows what the agent's tokenizer keeps of the engine's."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self._here = game.start
        self._at = dict.fromkeys(game.animals, "outside") | dict.fromkeys(game.plants, "greenhouse")
        self._focused: list[str] = []

    def reset(self) -> Reset:
        return Reset(self.game.task, self._view())

    def step(self, action: str) -> Step:
        verb, name, to = matched(COMMAND, action).groups()
        name, near = name.strip(), ("inventory", self._here)
        goal, failed = self.game.goal, False
        if verb == "teleport to" and name in ROOMS:
            self._here = name
            said = f"You teleport to the {name}."
        elif verb == "look around" and not name:
            said = self._view()
        elif verb and self._at.get(name) in near and (verb == "move") == bool(to):
            said = f"You move the {name} to the {to or 'inventory'}."
            if verb == "focus on":
                said = f"You focus on the {name}."
                failed = not self._right(name)
                self._focused.append(name)
            elif verb == "pick up":
                self._at[name] = "inventory"
            elif to == f"{goal.box} box" and self._here == goal.room:
                self._at[name] = "box"
            else:
                said = UNKNOWN_ACTION
        else:
            said = UNKNOWN_ACTION
        if goal.sought:
            done = bool(self._focused) and self._at[self._focused[0]] == "box"
        else:
            done = len(self._focused) == len(goal.spans)
        won = done and not failed
        return Step(said, float(won), done or failed, won)

    def _right(self, name: str) -> bool:
        """Whether a focus is right. Of animals that live alike, none is: such a game is lost."""
        goal = self.game.goal
        if goal.sought:
            return goal.fits(name) and not self._focused
        kind = (LONG, SHORT)[goal.spans[len(self._focused)] == "shortest"]
        return name in kind

    def _view(self) -> str:
        here, goal = self._here, self.game.goal
        what = "outside location" if here == "outside" else "room"
        lines = [f"This {what} is called the {here}. In it, you see:"]
        lines += map(_animal, self._lying(self.game.animals))
        lines += [f"a flower pot (containing a {name})" for name in self._lying(self.game.plants)]
        if goal.room == here:
            lines.append(f"a {goal.box} box")
        return "\n\t".join(lines)

    def _lying(self, things: Iterable[str]) -> list[str]:
        return [thing for thing in things if self._at[thing] == self._here]


def _animal(name: str) -> str:
    if name in EGGS:
        return f"a {name} egg"
    return f"a {name}" if name.endswith(" egg") else f"a baby {name}"
