"""The process that plays games' walkthroughs: `[game, limit_s]` a line in, a verdict a line out.

It ends when its standard input closes, so with its parent; should the engine hang just then, by an
alarm that it sets itself for every game.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from mpo_core.envs.alfworld.engine import Session

ALARM_MARGIN_S = 10


def fault_of(game: Path) -> str | None:
    """Play a game's walkthrough: why it does not prove the game, None where it does."""
    walkthrough = json.loads(game.read_text(encoding="utf-8"))["walkthrough"]
    with contextlib.closing(Session()) as session:
        state = session.load(game)
        for number, command in enumerate(walkthrough):
            if state.won:
                return "won before the walkthrough's end" if number else "won at the start"
            if command not in state.admissible_commands:
                return f"the walkthrough's `{command.split()[0]}` cannot be done"
            state = session.step(command)
    return None if state.won else "the walkthrough does not win"


def main() -> None:
    # The engine's C code prints: give it another standard output than the answers'.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for line in sys.stdin:
        game, limit_s = json.loads(line)
        # Kills this process whatever the engine is at; the parent normally comes first.
        signal.alarm(int(limit_s) + ALARM_MARGIN_S)
        try:
            verdict = fault_of(Path(game))
        except (Exception, SystemExit) as error:  # the translator exits where it gives up
            verdict = f"{type(error).__name__}: {error}".replace(game, "game")
        signal.alarm(0)
        answers.write(json.dumps(verdict) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
