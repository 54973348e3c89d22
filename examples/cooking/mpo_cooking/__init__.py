"""TextWorld's cooking games: find what the recipe asks for, cut and cook it, prepare the meal, eat.

Three types of task. What is cooked in *unseen* tasks, or how, is cooked so in no training task. A
score is the share of the game's points, one for each right deed; a spoiled ingredient fails it.
"""

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, ClassVar

from pydantic import NonNegativeInt

from mpo_cooking.games import SKILLS, TEXTWORLD, make_games, notes
from mpo_cooking.rules import cooking_steps
from mpo_cooking.session import Kitchens
from mpo_core.config import Section
from mpo_core.envs.base import Suite
from mpo_core.types import Split, Task


class Counts(Section):
    """Tasks of each split."""

    train: NonNegativeInt = 24
    seen: NonNegativeInt = 12
    unseen: NonNegativeInt = 12


class CookingConfig(Section):
    """Settings of the cooking games."""

    tasks: Counts = Counts()


class Cooking(Suite):
    """The suite of the cooking games."""

    name = "cooking"
    Config: ClassVar[type[CookingConfig]] = CookingConfig
    prompts = Path(__file__).parent / "prompts"

    def __init__(self, config: CookingConfig) -> None:
        self.config = config

    def tasks(self, split: Split) -> Sequence[Task]:
        """The split's tasks; games that the cache lacks are made. Raises InputError."""
        turns = list(islice(cycle(SKILLS), getattr(self.config.tasks, split)))
        ids = [f"cooking/{kind}/{split}-{number}" for number, kind in enumerate(turns)]
        make_games(ids)
        return [
            Task(id=id, env=self.name, type=kind, split=split, description=notes(id)[0])
            for id, kind in zip(ids, turns, strict=True)
        ]

    def step_limit(self, task: Task) -> int:
        return 30

    def protocol(self) -> dict[str, Any]:
        return {"textworld": TEXTWORLD}  # Of which another version may make other games.

    def plan_steps(self, task: Task, actions: Sequence[str], beginning: str) -> list[str]:
        return cooking_steps(actions)

    def host(self) -> Kitchens:
        return Kitchens()
