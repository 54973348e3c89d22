"""Deterministic stand-ins for a planner and an agent: what they answer is a function of what they
are asked."""

import os
import time
from pathlib import Path

from mpo_core.types import content_hash

ACTIONS = (
    "look around",
    "teleport to kitchen",
    "teleport to outside",
    "teleport to greenhouse",
    "focus on apple tree",
    "pick up flower pot 8",
    "wait1",
    "dance on the ceiling",
    "inventory",
    "look",
    "go to countertop 1",
    "go to drawer 1",
    "open drawer 1",
)


def planner(messages: list[dict], seed: int) -> str:
    number = int(content_hash(messages, seed), 16)
    return f"Step 1: Go to place {number % 7}.\nStep 2: {ACTIONS[number % len(ACTIONS)]}."


def agent(messages: list[dict], seed: int) -> str:
    number = int(content_hash(messages, seed), 16)
    return f"Thought: it is {number % 100}.\nAction: {ACTIONS[number % len(ACTIONS)]}"


def visitor(messages: list[dict], seed: int) -> str:
    """An agent that opens the doors of `tests.fakes` now and then."""
    action = ("look", "knock", "enter", "explode")[int(content_hash(messages, seed), 16) % 4]
    return f"Thought: a door.\nAction: {action}"


def slow_agent(messages: list[dict], seed: int) -> str:
    time.sleep(0.02)
    return agent(messages, seed)


def signing_agent(messages: list[dict], seed: int) -> str:
    """Leaves a file named after the address of the node that it is asked on."""
    import ray

    (Path(os.environ["MPO_SIGNATURES"]) / ray.util.get_node_ip_address()).touch()
    return slow_agent(messages, seed)


def slow_teacher(messages: list[dict], seed: int) -> str:
    time.sleep(0.5)
    return planner(messages, seed)


def mute(messages: list[dict], seed: int) -> str:
    return "I cannot."
