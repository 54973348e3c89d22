"""Mends one fault of a plan and leaves all others: what is gained is what that fault costs.

For any plan, a learned planner's too: read its text (`reading.read`), repair it, and play both.
"""

from collections.abc import Callable
from dataclasses import replace

from mpo_core.envs.alfworld.generation.rooms import TWO
from mpo_core.sandbox.games import CHANGES, Game
from mpo_core.sandbox.knowledge import MOST, best
from mpo_core.sandbox.plans import PlanSpec, Step, openable

Repair = Callable[[PlanSpec, Game, float], PlanSpec]
"""Takes the plan, its game, and the exponent of the prior that the game was drawn with."""


def search(plan: PlanSpec, game: Game, power: float) -> PlanSpec:
    """Names as many kinds of places as before (some, where there were none), the best first."""

    def ordered(step: Step) -> Step:
        ideal = best(game, power, len(step.search) or MOST)
        orders = {look.thing: look.search for look in ideal.steps if look.search}
        return replace(step, search=orders.get(step.thing, step.search))

    searches = ("look", False)
    return plan.changed(
        ordered(step) if (step.verb, step.sweep) == searches else step for step in plan.steps
    )


def prepared(plan: PlanSpec, game: Game, power: float) -> PlanSpec:
    """Heats, cools or cleans where the task asks for it: right before the object is put."""
    wanted = best(game, power).prepares
    if plan.prepares == wanted:
        return plan
    steps = [step for step in plan.steps if step.verb not in CHANGES]
    if wanted:
        put = next((n for n, step in enumerate(steps) if step.verb == "put"), len(steps))
        steps.insert(put, Step(wanted, game.goal.object.lower()))
    return plan.changed(steps)


def opened(plan: PlanSpec, game: Game, power: float) -> PlanSpec:
    """Says that a place that can be closed is to be opened."""
    return plan.changed(
        replace(step, opens=True) if step.place in openable() else step for step in plan.steps
    )


def swept(plan: PlanSpec, game: Game, power: float) -> PlanSpec:
    """Fetches the second of two objects in the same sweep as the first."""
    if game.goal.type != TWO:
        return plan
    return plan.changed(
        replace(step, sweep=True, search=()) if step.again else step for step in plan.steps
    )


REPAIRS: dict[str, Repair] = {
    "wrong_order": search,
    "unprepared": prepared,
    "unopened": opened,
    "two_searches": swept,
}
"""By the fault that each one mends."""
