"""A planner and an agent of the cooking games (`examples/cooking`), who do what they read."""

import re

from mpo_core.types import content_hash


def planner(messages: list[dict], seed: int) -> str:
    """Half of the time, to take what the recipe names; else nothing that helps."""
    _, _, recipe = messages[-1]["content"].partition("Ingredients:\n")
    foods, _, _ = recipe.partition("\nDirections:")
    helps = int(content_hash(messages, seed), 16) % 2
    fetching = ["Open the fridge.", *(f"Take the {food}." for food in foods.splitlines())]
    steps = fetching if helps else ["Sit down."]
    return "\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, 1))


def agent(messages: list[dict], seed: int) -> str:
    """Does the first possible action, of those not yet done, that a step of the plan names."""
    _, _, listed = messages[-1]["content"].partition("Some possible actions: ")
    # Before it stands a worked example.
    begins = next(k for k, m in enumerate(messages) if "Some possible actions: " in m["content"])
    task, *since = (message["content"] for message in messages[begins:])
    for step in re.findall(r"^Step \d+: (.*)", task, re.MULTILINE):
        named = set(re.findall(r"\w+", step.lower()))
        for action in listed.split("; "):
            what, _, _ = action.partition(" from ")
            done = any(said.endswith(f"Action: {action}") for said in since)
            if set(what.split()) <= named and not done:
                return f"Thought: {step}\nAction: {action}"
    return "Thought: the plan says nothing more.\nAction: look"
