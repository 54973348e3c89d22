"""What can be wrong with a plan: each fault by its name, and apart from the others.

A fault takes a plan, the game that it is for and a generator, and returns the plan with the fault;
the same plan where the plan has nothing that it could spoil. So a plan with all faults but one
shows what that one costs.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from mpo_core.sandbox.games import CHANGES, Game
from mpo_core.sandbox.knowledge import best, homes, oracle
from mpo_core.sandbox.plans import PlanSpec, Step, places
from mpo_core.sandbox.wording import NONSENSE

Fault = Callable[[PlanSpec, Game, random.Random], PlanSpec]


def vague(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """Says nothing of where to look."""
    return plan.changed(replace(step, search=()) for step in plan.steps)


def wrong_order(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """Names as many kinds of places to look in, the least promising first."""
    return plan.changed(_searching(plan, lambda step: homes(game, step.thing)[::-1]))


def random_order(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """Names as many kinds of places to look in, drawn from those that are possible."""

    def drawn(step: Step) -> list[str]:
        kinds = homes(game, step.thing)
        return rng.sample(kinds, len(kinds))

    return plan.changed(_searching(plan, drawn))


def absent_place(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """Names first a kind of place that the room does not have."""
    other = rng.choice(sorted(places() - set(game.kinds)))
    return plan.changed(
        replace(step, search=(other, *step.search)) if step.search else step for step in plan.steps
    )


def shuffled(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """The steps in another order."""
    if len(set(plan.steps)) < 2:
        return plan
    steps = list(plan.steps)
    while tuple(steps) == plan.steps:
        rng.shuffle(steps)
    return plan.changed(steps)


def unprepared(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """Without the step that heats, cools or cleans."""
    return plan.changed(step for step in plan.steps if step.verb not in CHANGES)


def unopened(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """Does not say that the place must be opened before something is put there."""
    return plan.changed(replace(step, opens=False) for step in plan.steps)


def two_searches(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """Searches for the second object from the start, in the order for the first."""
    return plan.changed(
        replace(step, sweep=False, search=plan.search) if step.sweep else step
        for step in plan.steps
    )


def nonsense(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """With one to three steps that make no sense."""
    steps = list(plan.steps)
    for words in rng.sample(NONSENSE, rng.randint(1, 3)):
        steps.insert(rng.randint(0, len(steps)), Step("nonsense", words=words))
    return plan.changed(steps)


def longer(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """The same steps in more words."""
    return replace(plan, length="long")


def shorter(plan: PlanSpec, game: Game, rng: random.Random) -> PlanSpec:
    """The same steps in fewer sentences."""
    return replace(plan, length="short")


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        vague,
        wrong_order,
        random_order,
        absent_place,
        shuffled,
        unprepared,
        unopened,
        two_searches,
        nonsense,
        longer,
        shorter,
    )
}
"""In the order in which they are applied."""
CHANCES = {
    "vague": 0.08,
    "wrong_order": 0.1,
    "random_order": 0.4,
    "absent_place": 0.1,
    "shuffled": 0.08,
    "unprepared": 0.2,
    "unopened": 0.25,
    "two_searches": 0.4,
    "nonsense": 0.15,
    "longer": 0.2,
    "shorter": 0.2,
}
"""How often each fault is in a plan of `drawn`."""
POOR = ("wrong_order", "unprepared", "unopened", "two_searches")
"""The faults of a plan that is wrong in every way that matters, and still reads well."""


def spoiled(plan: PlanSpec, game: Game, names: Iterable[str], seed: float = 0) -> PlanSpec:
    """The plan with the named faults. What a fault draws does not depend on which others there
    are."""
    wanted = set(names)
    if unknown := wanted - FAULTS.keys():
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; of {', '.join(FAULTS)}")
    for name, fault in FAULTS.items():
        if name in wanted:
            plan = fault(plan, game, random.Random(f"{seed} {name}"))
    return plan


def drawn(game: Game, rng: random.Random, power: float = 1.0) -> PlanSpec:
    """A plan as some planner might write it: good, bad or in between, of any length.

    What an agent is trained on, so that it follows whatever it is given.
    """
    most = rng.choice((1, 2, 3, 3, 4, 5))
    plan = rng.choice((oracle, best))(game, power, most)
    names = [name for name, chance in CHANCES.items() if rng.random() < chance]
    return spoiled(plan, game, names, rng.getrandbits(32))


def _searching(plan: PlanSpec, order: Callable[[Step], list[str]]) -> list[Step]:
    """The steps, each search through as many kinds as before, in a new order.

    A search for another object keeps to the order of the first.
    """
    steps: list[Step] = []
    orders: dict[str, list[str]] = {}
    for step in plan.steps:
        if step.search:
            kinds = orders.setdefault(step.thing, order(step))
            steps.append(replace(step, search=tuple(kinds[: len(step.search)])))
        else:
            steps.append(step)
    return steps
