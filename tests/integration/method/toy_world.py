"""A toy world where a plan's place decides the reward, an agent that follows its plan though it
slips at times, and a teacher who only guesses."""

from random import Random

from mpo_core.envs.base import Reset, Step
from mpo_core.plan_text import read_plan
from mpo_core.types import Plan, Task

PLACES = {
    "fridge": ("cheese", "butter", "lettuce", "melon"),
    "wardrobe": ("coat", "scarf", "jacket", "shirt"),
    "shed": ("hammer", "saw", "rake", "shovel"),
}
HOME = {thing: place for place, things in PLACES.items() for thing in things}
HOUSES = ("red", "blue", "green", "white", "black", "old", "new", "tall", "small", "big")
HOUSES += ("cold", "dark", "quiet", "stone", "wooden")
SLIP = 0.2
"""Probability that the agent wanders off instead of taking the next step of its plan."""


def all_tasks() -> list[Task]:
    """120 to train on, 60 held out: each thing in five of the fifteen houses."""
    return [
        Task(
            id=f"toy/find/{thing}-{house}",
            env="toy",
            type="find",
            split="unseen" if (i + j) % 3 == 0 else "train",
            description=f"Find the {thing} in the {house} house.",
        )
        for i, thing in enumerate(HOME)
        for j, house in enumerate(HOUSES)
    ]


def thing_of(task: Task) -> str:
    return task.description.split()[2]


def plan_text(thing: str, place: str) -> str:
    return f"Step 1: Go to the {place}.\nStep 2: Take the {thing}."


def is_right(plan: Plan, task: Task) -> bool:
    """Whether an agent that never slips finds the thing with this plan."""
    thing = thing_of(task)
    return plan.text == plan_text(thing, HOME[thing])


def taught(task: Task, seed: int) -> Plan:
    """The seed plan of a teacher who knows what a plan looks like, but not where things are."""
    place = Random(f"{seed}/{task.id}").choice(list(PLACES))
    return Plan.of(task.id, plan_text(thing_of(task), place), "teacher")


def follower(messages: list[dict], seed: int) -> str:
    """The agent: the plan's next step, the last one over and over; or a walk somewhere."""
    steps = read_plan(messages[0]["content"]).text.splitlines()
    turn = sum(message["role"] == "assistant" for message in messages)
    random = Random(seed)
    if random.random() < SLIP:
        return f"Action: Go to the {random.choice(list(PLACES))}"
    return "Action: " + steps[min(turn, len(steps) - 1)].partition(": ")[2]


class House:
    """`go to the PLACE`, then `take the THING` where it belongs."""

    async def reset(self, task: Task) -> Reset:
        self.thing, self.place, self.found = thing_of(task), None, False
        return Reset(task.description, "You are at the door.")

    async def step(self, action: str) -> Step:
        match action.lower().split():
            case ["go", "to", "the", place] if place in PLACES:
                self.place = place
            case ["take", "the", self.thing] if self.place == HOME[self.thing]:
                self.found = True
            case ["take", "the", thing] if thing in HOME:
                pass
            case _:
                return Step("You cannot do that.", 0.0, False, False, understood=False)
        return Step(f"You {action}.", float(self.found), self.found, self.found)

    async def close(self) -> None:
        pass


class Town:
    """The suite and its only host: what a `Player` asks of them."""

    def host(self) -> "Town":
        return self

    async def environment(self) -> House:
        return House()

    async def close(self) -> None:
        pass
