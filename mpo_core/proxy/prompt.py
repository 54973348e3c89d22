"""What a planner is asked for the task of a caller: `prompts/planner.txt`, or one's own file."""

from pathlib import Path

from mpo_core.errors import InputError
from mpo_core.prompts import Prompts, load_prompts
from mpo_core.proxy.records import ENVIRONMENT
from mpo_core.textfile import read_text

OWN = Path(__file__).parent / "prompts" / "planner.txt"


def planner_prompts(env: str = ENVIRONMENT, prompts_dir: Path | None = None) -> Prompts:
    """The prompts by which plans are asked for.

    Args:
        env: of which environment; `feedback` for tasks of callers.
        prompts_dir: a folder of one's own, in which `feedback/planner.txt` goes before the suite's.

    Raises:
        InputError: a file cannot be used.
    """
    if env != ENVIRONMENT:
        return load_prompts(env, prompts_dir)
    own = prompts_dir / ENVIRONMENT / "planner.txt" if prompts_dir else None
    path = own if own and own.is_file() else OWN
    planner = read_text(path)
    if "{task}" not in planner:
        raise InputError(f"{path}: the planner prompt lacks {{task}}")
    return Prompts(agent="", agent_act="", examples={}, planner=planner)
