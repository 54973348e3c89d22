"""The shipped agent under plans written by hand, in other words than it was trained on."""

from collections.abc import Callable

import pytest

from mpo_core.abstraction.wording import article
from mpo_core.builtin_models import SHIPPED
from mpo_core.envs.alfworld.rules import SEVERAL, in_or_on
from mpo_core.envs.alfworld.rules import places as all_of
from mpo_core.sandbox.agent import play
from mpo_core.sandbox.folder import load
from mpo_core.sandbox.games import Game, games
from mpo_core.sandbox.knowledge import best
from mpo_core.sandbox.measure import POWER, STEPS
from mpo_core.sandbox.rows import Setting
from mpo_core.sandbox.wording import write

HANDS: dict[str, dict[str, str]] = {
    "notes": {
        "find": "Check {all1} first, after that {all2}, and finally {all3}, until you spot {a}.",
        "take": "Pick it up.",
        "heat": "Heat it up in the microwave.",
        "cool": "Cool it down in the fridge.",
        "clean": "Clean it at the sink.",
        "put": "Finally, place it {in_} {place}{open}.",
        "open": " (open it beforehand)",
        "two": "Then return for a second {thing}, continuing the search where you stopped, pick it "
        "up and place it {in_} {place} too.",
        "lamp": "With the {thing} in hand, find {lamp} ({lamp1}, else {lamp2}) and switch it on.",
    },
    "reasons": {
        "find": "The {thing} will most likely be {in1}; if you cannot see it there, try {in2}, "
        "then {in3}.",
        "take": "Once found, grab the {thing}.",
        "heat": "Bring it to the microwave and make it hot.",
        "cool": "Bring it to the refrigerator and chill it.",
        "clean": "Bring it to the sinkbasin and wash it.",
        "put": "Walk over to {place}{open} and leave the {thing} {in_} it.",
        "open": ", opening it if necessary,",
        "two": "Afterwards fetch another {thing} from where you saw one, or keep on searching, "
        "take it and put it {in_} the same place.",
        "lamp": "Keep holding the {thing} and look for {lamp} at {lamp1}, otherwise at {lamp2}; "
        "turn it on.",
    },
    "prose": {
        "find": "Begin with {all1}. No {thing}? Then examine {all2} and, as a last resort, {all3}.",
        "take": "Take hold of the {thing}.",
        "heat": "Use the microwave to heat the {thing}.",
        "cool": "Use the fridge to cool the {thing}.",
        "clean": "Rinse the {thing} under the tap of the sink.",
        "put": "Carry the {thing} to {place} and drop it there{open}.",
        "open": " after you have opened it",
        "two": "Repeat with one more {thing}: go back, carry on with the search, grab it and put "
        "it {in_} {place} as well.",
        "lamp": "Now locate {lamp}: check {lamp1} and then {lamp2}. Use it to look at the {thing}.",
    },
    "steps": {
        "find": "Explore {all1}, {all2} and {all3}, in this sequence, to discover {a}.",
        "take": "Collect it.",
        "heat": "Warm the {thing} using the microwave.",
        "cool": "Make the {thing} cold with the fridge.",
        "clean": "Use the sinkbasin to clean the {thing}.",
        "put": "Deliver it to {place}{open}.",
        "open": ", which you must open",
        "two": "Go back for the other {thing}, which you may have noticed on your way. Take it to "
        "{place} also and put it there.",
        "lamp": "Then search {lamp1}, and after that {lamp2}, for {lamp}. Turn on the lamp.",
    },
    "advice": {
        "find": "Have a look {in1} for {a}. Should that fail, proceed to {all2}; {all3} come last.",
        "take": "Get the {thing} into your hands.",
        "heat": "Put the {thing} through the microwave so that it becomes hot, heating it there.",
        "cool": "Let the {thing} cool by means of the fridge.",
        "clean": "Give the {thing} a wash in the sink.",
        "put": "The {thing} belongs {in_} {place}, so put it there{open}.",
        "open": ", remembering to open its door first",
        "two": "Now the second {thing}: resume the search where you left off, get it and set it "
        "{in_} {place}.",
        "lamp": "Walk to where {lamp} is, probably at {lamp1} or {lamp2}, and use it.",
    },
}
"""Five people's words for each step."""
PAGES: dict[str, Callable[[list[str]], str]] = {
    "notes": lambda lines: "\n".join(f"{n}. {line}" for n, line in enumerate(lines, 1)),
    "reasons": lambda lines: "\n".join(f"- {line}" for line in lines),
    "prose": " ".join,
    "steps": lambda lines: "\n".join(f"Step {n}: {line}" for n, line in enumerate(lines, 1)),
    "advice": lambda lines: "\n".join(
        ["Here is what I would do:", *(f"{n}) {t}" for n, t in enumerate(lines, 1)), "Good luck!"]
    ),
}
LEAST = 0.15
"""What the agent may lose."""


def by_hand(game: Game, hand: str) -> str:
    """The best general plan for a game, in a person's words."""
    plan, said = best(game, POWER), HANDS[hand]
    thing, place = game.goal.object.lower(), game.goal.place.lower()
    kinds = [*plan.search, *plan.search[-1:] * 3][:3]
    words = {"thing": thing, "a": article(thing), "in_": in_or_on(place)}
    words["place"] = article(place) if place in SEVERAL else f"the {place}"
    words["open"] = said["open"] if plan.opens else ""
    for number, kind in enumerate(kinds, 1):
        words |= {f"all{number}": all_of(kind), f"in{number}": f"{in_or_on(kind)} {all_of(kind)}"}
    steps = ["find", "take", plan.prepares, "put" * bool(place), "two" * plan.sweeps]
    if game.goal.lamp:
        last = [step for step in plan.steps if step.verb == "look"][-1].search
        words |= {"lamp": article(game.goal.lamp.lower()), "lamp1": all_of(last[0])}
        words["lamp2"] = all_of(last[-1])
        steps.append("lamp")
    return PAGES[hand]([said[step].format(**words) for step in steps if step])


def won(played: list[Game], texts: list[str]) -> float:
    agent = load(SHIPPED["sandbox-agent"])
    given = [Setting(game, best(game, POWER), t) for game, t in zip(played, texts, strict=True)]
    return sum(episode.won for episode in play(agent, given, STEPS)) / len(played)


@pytest.fixture(scope="module")
def held_out() -> list[Game]:
    return list(games(78, "unseen", 60, POWER))


@pytest.fixture(scope="module")
def its_own(held_out) -> float:
    return won(held_out, [write(best(game, POWER)) for game in held_out])


@pytest.mark.parametrize("hand", HANDS)
def test_plans_in_a_persons_words_are_followed(hand, held_out, its_own):
    assert won(held_out, [by_hand(game, hand) for game in held_out]) >= its_own - LEAST
