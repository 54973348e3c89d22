"""The actions that solve a game: its recorded walkthrough, else what the package's expert plays.

The package's hand-coded expert searches the room as a player would, so its solution may take more
steps than a walkthrough, and it may fail. What it gets wrong is repaired here; the rest is tried
again with other draws. The same game has the same actions every time.
"""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alfworld.agents.expert import HandCodedAgentFailed, HandCodedAgentTimeout, HandCodedTWAgent
from alfworld.agents.expert.handcoded_expert import BasePolicy

from mpo_core.envs.alfworld.commands import plain, resolve
from mpo_core.envs.alfworld.engine import GameError, Session
from mpo_core.envs.alfworld.games import TRAJECTORY

LOOK = "look"
"""What the expert begins with, and does when what it wants cannot be done. Changes nothing."""
ATTEMPTS = 5
MOST_STEPS = 150
"""Steps of an attempt: more than a search of the whole room takes."""


def expert_actions(path: Path, session: Session) -> list[str]:
    """The commands that win the game at `path`, found by playing it in the session.

    Raises:
        GameError: no game that can be played, or neither its walkthrough nor the expert wins it.
    """
    actions = _recorded(path, session)
    for attempt in range(ATTEMPTS):
        actions = actions or _played(path, session, attempt)
    if not actions:
        raise GameError(f"{path}: neither its walkthrough nor the expert wins; remove the game")
    return actions


def _recorded(path: Path, session: Session) -> list[str] | None:
    """The file's walkthrough, in the engine's words; None when it has none that wins."""
    state = session.load(path)
    walkthrough = json.loads(path.read_bytes()).get("walkthrough")
    actions = []
    for said in walkthrough if isinstance(walkthrough, list) else ():
        command = resolve(str(said), state.admissible_commands)
        if command is None:
            return None
        state = session.step(command)
        actions.append(command)
        if state.won:
            return actions
    return None


def _played(path: Path, session: Session, seed: int) -> list[str] | None:
    """What the hand-coded expert does; None when it fails."""
    expert = _Expert(MOST_STEPS)
    trajectory = path.with_name(TRAJECTORY)
    try:
        expert.reset(str(path))
    except Exception as error:
        # The package reads the file without a check of any kind.
        what = f"{type(error).__name__}: {error}"
        raise GameError(f"{trajectory}: cannot be read ({what}); get the game anew") from error
    state = session.load(path)
    expert.observe(state.observation)
    actions = []
    commands: dict[str, str] = {}
    said = LOOK
    with _seeded(seed):
        while True:
            command = commands.get(said, LOOK)
            state = session.step(command)
            if command != LOOK:
                actions.append(command)
            if state.won:
                return actions
            # The expert knows the engine's words of today; older games have other ones.
            commands = {plain(text): text for text in state.admissible_commands}
            seen = {
                "feedback": state.observation,
                "admissible_commands": list(commands),
                "facts": session.facts(),
            }
            try:
                said = expert.act(seen, 0, False, said)
            except (HandCodedAgentFailed, HandCodedAgentTimeout, LookupError):
                return None
            if said not in commands:
                said = LOOK


class _Expert(HandCodedTWAgent):
    """The package's expert with its faults repaired."""

    def get_task_policy(self, task_param: dict[str, str]) -> type[BasePolicy]:
        policy = super().get_task_policy(task_param)
        return type(policy.__name__, (_Repaired, policy), {})


class _Repaired(BasePolicy):
    def update_state_tracking(self, game_state: dict, last_action: str) -> None:
        """Notice that an object was put down: the expert waits for a `put` that has become `move`.

        Without this it believes ever after that it holds what it has put down, and seldom finds
        the second of two objects.
        """
        if last_action.startswith("move "):
            last_action = last_action.replace("move", "put", 1)
        super().update_state_tracking(game_state, last_action)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The expert draws from the process's one generator."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
