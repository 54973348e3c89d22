"""Generates ALFWorld games, in the released layout and format, from the alfworld package's tables.

    DIR/{train,valid_seen,valid_unseen}/<type>-<Object>-None-<Place or Lamp>-<scene>/trial_<hash>/
        game.tw-pddl  initial_state.pddl  traj_data.json
    DIR/generation.json

A room is drawn (`rooms.py`) with things where they are likely to be (`prior.yaml`), its task's
shortest walkthrough is written down (`walkthrough.py`) and played in the real engine until it wins
(`proof.py`, `play.py`). A game that cannot be proven is replaced by the next draw.

Invariants:
- The same arguments write the same bytes, whatever the number of workers, the order in which they
  finish, and which of them die on the way.
- No two games have the same task and everything in the same places.
- The folder is there whole or not at all.
"""

import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from mpo_core.envs.alfworld.games import SPLIT_FOLDERS
from mpo_core.envs.alfworld.generation import pddl
from mpo_core.envs.alfworld.generation.proof import Provers
from mpo_core.envs.alfworld.generation.rooms import Room, draw
from mpo_core.envs.alfworld.generation.tables import tables
from mpo_core.envs.alfworld.generation.walkthrough import walkthrough
from mpo_core.errors import InputError
from mpo_core.files import whole_folder
from mpo_core.types import Split, content_hash

RECORD = "generation.json"
MOST_DRAWS = 8
"""Draws for one game, before the reasons are taken for a fault of the installation."""


@dataclass(frozen=True)
class GenerationReport:
    games: dict[Split, int]
    replaced: int
    """Draws that became no game."""
    reasons: dict[str, int]
    """Why, and how often."""
    seconds: float

    def __str__(self) -> str:
        total = sum(self.games.values())
        games = ", ".join(f"{count} {split}" for split, count in self.games.items())
        why = "".join(f"; {count} x {reason}" for reason, count in self.reasons.items())
        rate = self.replaced / (total + self.replaced)
        return (
            f"{total} games ({games}) in {self.seconds:.1f} s, each won once by its walkthrough; "
            f"{self.replaced} draws replaced ({rate:.1%}){why}"
        )


@dataclass
class Slot:
    """A game to be made, and the draw that it has come to."""

    split: Split
    number: int
    attempt: int = 0


@dataclass
class Draws:
    """What has been drawn so far, in a fixed order: no draw depends on a verdict of its round."""

    folder: Path
    seed: int
    power: float
    reasons: Counter[str] = field(default_factory=Counter)
    _taken: set[tuple] = field(default_factory=set)

    def write_next(self, slot: Slot) -> Path:
        """Write the slot's next draw that is like no other game; returns the game's file."""
        while slot.attempt < MOST_DRAWS:
            room = draw(self.seed, slot.split, slot.number, slot.attempt, self.power)
            slot.attempt += 1
            if room.arrangement not in self._taken:
                self._taken.add(room.arrangement)
                return _write(self.folder / SPLIT_FOLDERS[slot.split], room)
            self.reasons["the same as another"] += 1
        common = "; ".join(f"{why} ({count})" for why, count in self.reasons.most_common(3))
        raise InputError(
            f"{slot.split}: no game {slot.number} in {MOST_DRAWS} draws: {common}; ask for fewer "
            "games or another seed, or reinstall alfworld"
        )

    def refuse(self, game: Path, fault: str) -> None:
        """Remove a game that was not proven."""
        self.reasons[fault] += 1
        shutil.rmtree(game.parent)
        if not any(game.parent.parent.iterdir()):
            game.parent.parent.rmdir()


def generate(
    out: Path,
    counts: Mapping[Split, int],
    seed: int = 0,
    prior_power: float = 1.0,
    *,
    workers: int | None = None,
    on_game: Callable[[], object] = lambda: None,
) -> GenerationReport:
    """Write a data root of `counts` games a split to `out`, a folder that is not there or empty.

    `prior_power` sharpens (> 1) or flattens (< 1; 0: none) the prior of where things are.
    `workers` processes prove the games, by default one a core. `on_game` is called, on this
    thread, for each game that is proven. Fewer games of a split are the first of more.

    Raises:
        InputError: an argument that makes no sense, `out` has something in it, or games cannot be
            played here at all.
    """
    out = out.absolute()
    workers = workers if workers is not None else os.cpu_count() or 1
    _check(out, counts, prior_power, workers)
    started = time.monotonic()
    slots = [
        Slot(split, number) for split in SPLIT_FOLDERS for number in range(counts.get(split, 0))
    ]
    with _built_aside(out) as folder, Provers(workers) as provers:
        draws = Draws(folder, seed, prior_power)
        while slots:
            verdicts = provers.prove(map(draws.write_next, slots), on_game)
            slots = [slot for slot, (_, fault) in zip(slots, verdicts, strict=True) if fault]
            for game, fault in verdicts:
                if fault:
                    draws.refuse(game, fault)
        record = provenance(counts, seed, prior_power)
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return GenerationReport(
        games={split: counts.get(split, 0) for split in SPLIT_FOLDERS},
        replaced=draws.reasons.total(),
        reasons=dict(draws.reasons.most_common()),
        seconds=time.monotonic() - started,
    )


def _check(out: Path, counts: Mapping[Split, int], prior_power: float, workers: int) -> None:
    if unknown := sorted(set(counts) - set(SPLIT_FOLDERS)):
        raise InputError(f"counts: unknown split {unknown[0]!r}; use {', '.join(SPLIT_FOLDERS)}")
    if any(count < 0 for count in counts.values()) or not any(counts.values()):
        raise InputError(f"counts: {dict(counts)} asks for no games; give numbers of 1 or more")
    if not (math.isfinite(prior_power) and prior_power >= 0):
        raise InputError(
            f"prior_power: {prior_power} is not a number of 0 or more; 1 is as written"
        )
    if workers < 1:
        raise InputError(f"workers: {workers} is too few; give 1 or more")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: not a folder; give another --out")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: not empty; give another --out, or remove it first")


@contextmanager
def _built_aside(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` when the block ends well, and else goes."""
    made, there = b"", out / RECORD
    try:
        with whole_folder(out) as folder:
            for name in SPLIT_FOLDERS.values():
                (folder / name).mkdir()
            yield folder
            made = (folder / RECORD).read_bytes()
    except OSError as error:
        # Another process may have made the same games meanwhile: then there they are.
        if not (made and there.is_file() and there.read_bytes() == made):
            raise InputError(
                f"{out}: not written ({error}); mend that, or give another --out"
            ) from error


def _write(split: Path, room: Room) -> Path:
    """Write a room as a game into the split's folder; returns the game's file."""
    problem = pddl.problem(room)
    trial = f"trial_{content_hash(problem, room.text)}"
    folder = split / room.goal.name / trial
    folder.mkdir(parents=True)
    game = {
        "pddl_domain": tables().domain,
        "grammar": pddl.grammar(room),
        "pddl_problem": problem,
        "solvable": True,
        "walkthrough": walkthrough(room),
    }
    trajectory = {
        "task_id": trial,
        "task_type": room.goal.type,
        "pddl_params": {
            "mrecep_target": "",
            "object_sliced": False,
            "object_target": room.goal.object,
            "parent_target": room.goal.place,
            "toggle_target": room.goal.lamp,
        },
        "scene": {"floor_plan": f"FloorPlan{room.goal.scene}", "scene_num": room.goal.scene},
        "turk_annotations": {"anns": [{"task_desc": room.text}]},
    }
    (folder / "game.tw-pddl").write_text(json.dumps(game), encoding="utf-8")
    (folder / "initial_state.pddl").write_text(problem, encoding="utf-8")
    (folder / "traj_data.json").write_text(json.dumps(trajectory, indent=2), encoding="utf-8")
    return folder / "game.tw-pddl"


def provenance(counts: Mapping[Split, int], seed: int, prior_power: float) -> dict:
    """What decides the games; nothing of the time or the machine."""
    return {
        "generator": _generator(),
        "seed": seed,
        "counts": {split: counts.get(split, 0) for split in SPLIT_FOLDERS},
        "prior_power": float(prior_power),
        "packages": {
            name: version(name) for name in ("alfworld", "textworld", "fast-downward-textworld")
        },
    }


def _generator() -> str:
    """A hash of this package's own files: a version that nobody has to remember to raise."""
    package = Path(__file__).parent
    files = sorted(file for file in package.iterdir() if file.suffix in (".py", ".yaml"))
    return content_hash(*[(file.name, file.read_text(encoding="utf-8")) for file in files])
