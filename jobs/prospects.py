"""What a run that begins with another one's folder keeps of it, by the settings that differ.

A stage whose settings, and those of all stages before it, are as they were takes up what it finds.
The others look for what they can use among what is there, and do the rest anew; how much that is
only shows as they go.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mpo_core.config import Config, bearing_on, load_config
from mpo_core.run_folder import RunFolder

SHOWN = 3
"""Settings that are named of those that differ for a stage."""


@dataclass(frozen=True)
class Stage:
    """A stage of the loop."""

    name: str
    keys: str
    """The settings and sections that it goes by. `models.planner` stands for the model that is the
    planner, and so on."""
    after: str
    """The stages whose results it takes."""
    done: Callable[[RunFolder], bool]
    """Whether it has left something."""
    asked: Callable[[Config], object] = lambda config: True
    """Whether a config has it."""


TOLD = "seed prompts_dir planner.example"
ACTS = "agent models.agent seed prompts_dir"
STAGES = (
    Stage("tasks", "envs", "", lambda of: of.tasks("train").is_file()),
    Stage(
        "seeds",
        f"seeds models.teacher {TOLD}",
        "tasks",
        lambda of: of.seeds("train").is_file(),
        lambda config: config.planner.sft,
    ),
    Stage(
        "agent",
        f"{ACTS} validation",
        "tasks",
        lambda of: of.agent.is_dir(),
        lambda config: config.agent.sft,
    ),
    Stage(
        "SFT",
        f"planner.sft planner.model models.planner validation {TOLD}",
        "seeds",
        lambda of: of.planner("sft").is_dir(),
        lambda config: config.planner.sft,
    ),
    Stage(
        "plans",
        "planner.model models.planner planner.per_task planner.temperature planner.max_tokens "
        f"planner.sampled {TOLD}",
        "tasks SFT",
        lambda of: any(split == "train" for _, split, _ in of.planners_plans()),
    ),
    Stage(
        "scoring",
        "scoring.repetitions scoring.mean_repetitions scoring.max_repetitions scoring.temperature "
        f"{ACTS}",
        "plans agent",
        lambda of: of.scores().is_file(),
    ),
    Stage("pairs", "pairs validation", "scoring", lambda of: of.pairs().is_file()),
    Stage(
        "DPO",
        "training seed",
        "pairs SFT",
        lambda of: of.planner("mpo").is_dir(),
        lambda config: config.trains,
    ),
    Stage(
        "RFT",
        "planner.rft planner.sft seed validation",
        "scoring SFT",
        lambda of: of.planner("rft").is_dir(),
        lambda config: "rft" in config.evaluation.arms,
    ),
    Stage(
        "PG",
        "planner.pg seed validation",
        "scoring SFT",
        lambda of: of.planner("pg").is_dir(),
        lambda config: "pg" in config.evaluation.arms,
    ),
    Stage(
        "controls",
        "scoring.shuffle training seed",
        "pairs SFT",
        lambda of: any(of.planners.glob("shuffled-*")),
        lambda config: config.scoring.shuffle,
    ),
    Stage(
        "evaluation",
        f"evaluation planner.evaluation_temperature planner.max_tokens {ACTS} {TOLD}",
        "SFT DPO RFT PG controls agent",
        lambda of: of.episodes("evaluation").is_file(),
    ),
)
"""In the order of the loop."""


@dataclass(frozen=True)
class Prospect:
    """A stage of a run that begins with another's folder."""

    stage: str
    done: bool
    """Whether the other one has done it."""
    why: tuple[str, ...]
    """The settings that differ for it, or the stages before it that are done anew; none where it
    keeps what is there."""


def prospects(begun_with: Path, config: Config) -> list[Prospect]:
    """What becomes of each stage of the config, in their order.

    Args:
        begun_with: the other run's folder.

    Raises:
        InputError: its config cannot be read.
    """
    files = RunFolder(begun_with)
    before = load_config(files.config)
    there, here = _by_role(before), _by_role(config)
    changed = {key for key in there | here if there.get(key) != here.get(key)}
    found: dict[str, Prospect] = {}
    for stage in STAGES:
        if not stage.asked(config):
            continue
        own = sorted(key for key in changed if _goes_by(stage, key))
        anew = [name for name in stage.after.split() if name in found and found[name].why]
        found[stage.name] = Prospect(stage.name, stage.done(files), tuple(own or anew))
    return list(found.values())


def in_words(found: list[Prospect]) -> str:
    """What is kept and what is done anew, in one line."""
    kept = [one.stage for one in found if one.done and not one.why]
    owed = [one.stage for one in found if not one.done and not one.why]
    anew = [f"{one.stage} ({', '.join(_shown(one.why))})" for one in found if one.why]
    parts = [f"keeps {', '.join(kept) or 'nothing as it is'}"]
    if anew:
        parts.append(f"does anew what differs of {', '.join(anew)}")
    if owed:
        parts.append(f"goes on with {', '.join(owed)}")
    return "; ".join(parts)


def _shown(why: tuple[str, ...]) -> Iterator[str]:
    yield from why[:SHOWN]
    if len(why) > SHOWN:
        yield f"{len(why) - SHOWN} more"


def _by_role(config: Config) -> dict[str, object]:
    """What bears on results, the models by what they are for."""
    found = bearing_on(config, "decides", "adds", "selects")
    roles = {
        "teacher": config.seeds.teacher,
        "planner": config.planner.model,
        "agent": config.agent.model,
    }
    of_models = {
        f"models.{role}.{key.removeprefix(f'models.{name}.')}": value
        for role, name in roles.items()
        for key, value in found.items()
        if name is not None and key.startswith(f"models.{name}.")
    }
    return {key: value for key, value in found.items() if not key.startswith("models.")} | of_models


def _goes_by(stage: Stage, key: str) -> bool:
    return any(key == named or key.startswith(f"{named}.") for named in stage.keys.split())
