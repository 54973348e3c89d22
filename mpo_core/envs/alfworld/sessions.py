"""The sessions of a worker process, as its parent calls them."""

import re
from pathlib import Path

from mpo_core.envs.alfworld.commands import is_command, resolve
from mpo_core.envs.alfworld.engine import Session, State

BANNER = re.compile(r"\A-= .* =-\s*")
TASK = "Your task is to:"
ARRIVAL = re.compile(r"\AYou arrive at loc \d+\. ")
"""What the grammar of older games says on arrival: a place's number, which nothing else tells."""


class Sessions:
    """The sessions of a process, by a number that the parent gives them."""

    def __init__(self, translations: Path | None) -> None:
        self._translations = translations
        self._sessions: dict[int, Session] = {}
        self._states: dict[int, State] = {}

    def load(self, number: int, game: str) -> dict[str, str]:
        """Start a game: the task, and what is seen first."""
        state = self._states[number] = self._session(number).load(Path(game))
        room, _, task = state.observation.partition(TASK)
        return {
            "instruction": f"{TASK} {task.strip()}",
            "observation": BANNER.sub("", room).strip(),
        }

    def step(self, number: int, action: str) -> dict[str, str | bool]:
        """Do what an action means, if it means a command that is admissible now."""
        command = resolve(action, self._states[number].admissible_commands)
        state = self._states[number] = self._sessions[number].step(command or "")
        return {
            "observation": ARRIVAL.sub("", state.observation),
            "won": state.won,
            # What is well said but cannot be done now counts as understood, as in the paper's code.
            "understood": command is not None or is_command(action),
        }

    def commands(self, number: int) -> list[str]:
        return self._states[number].admissible_commands

    def expert(self, number: int, game: str) -> list[str]:
        """Commands that win a game; the session is then without one."""
        # Most workers never need it, and it takes a while to import.
        from mpo_core.envs.alfworld.expert import expert_actions

        actions = expert_actions(Path(game), self._session(number))
        self.close(number)
        return actions

    def close(self, number: int) -> None:
        self._states.pop(number, None)
        session = self._sessions.pop(number, None)
        if session:
            session.close()

    def _session(self, number: int) -> Session:
        if number not in self._sessions:
            self._sessions[number] = Session(self._translations)
        return self._sessions[number]
