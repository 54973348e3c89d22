"""An environment tried: the expert's actions played in it, as they are and in other words."""

from collections.abc import Sequence
from pathlib import Path

from mpo_core.checks import Check
from mpo_core.envs.base import Environment, Suite
from mpo_core.errors import EnvironmentLost, InputError
from mpo_core.types import Task

REINSTALL = "reinstall the environment's package; `mpo tasks {}` says what is wrong with its data"


async def tried(suite: Suite, folder: Path) -> list[Check]:
    """What comes of the expert's actions in one of the suite's tasks, and of the same actions in
    the other words that the environment must understand (`Suite.wordings`).

    Args:
        folder: for what has to be generated to play.
    """
    name = f"{suite.name}, expert's actions"
    try:
        suite, task = suite.trial(folder)
        host = suite.host()
        try:
            environment = await host.environment()
            actions = await environment.expert_actions(task)
            found = f"{task.id}: {len(actions)} actions"
            checks = [await _played(name, environment, task, actions, found)]
            for words, reworded in suite.wordings(actions).items():
                pairs = zip(reworded, actions, strict=True)
                said, own = next((said, own) for said, own in pairs if said != own)
                found = f"{said!r} is done as this game's own {own!r}"
                checked = f"{suite.name}, {words!r}"
                checks.append(await _played(checked, environment, task, reworded, found))
            return checks
        finally:
            await host.close()
    except (InputError, EnvironmentLost) as error:
        return [Check(name, "fault", str(error), REINSTALL.format(suite.name))]


async def _played(
    name: str, environment: Environment, task: Task, actions: Sequence[str], found: str
) -> Check:
    """Whether the actions solve the task."""
    await environment.reset(task)
    score, success = 0.0, False
    for action in actions:
        step = await environment.step(action)
        if not step.understood:
            fault = f"{task.id}: {action!r} is not understood"
            return Check(name, "fault", fault, REINSTALL.format(task.env))
        score, success = step.score, step.success
    found = f"{found}, reward {score:.2f}"
    if not success:
        return Check(name, "fault", f"{found}, not solved", REINSTALL.format(task.env))
    return Check(name, "ok", found)
