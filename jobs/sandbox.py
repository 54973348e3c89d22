"""`mpo sandbox`: makes the sandbox's models from nothing, and checks the agent."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpo_core.errors import InputError, remedy
from mpo_core.files import write_text
from mpo_core.locks import locked
from mpo_core.progress import Bar

if TYPE_CHECKING:
    from mpo_core.sandbox.train import Budget, Standing

Say = Callable[[str], None]
REPORTS = 4
"""Tables of accuracy during a training."""
AGENT, PLANNER, CARD = "agent", "planner", "README.md"
BUILDING = ".building"
"""In the models' folder: what is not yet whole."""
HEAD = """---
license: apache-2.0
pipeline_tag: text-generation
tags: [alfworld, meta-plan-optimization]
---
"""
AGENT_CARD = (
    HEAD
    + """# The sandbox's agent

A Llama of 0.9M parameters that plays generated ALFWorld games in the suite's own protocol and does
what a plan says, in the suite's words or in a person's. Made from nothing, by imitation of a
scripted agent and DAgger, with

    {command}

{steps} steps, {millions}M tokens in each of two processes, {games} games of its own in each. Its
tokenizer reads the suite's dialogues of ALFWorld and nothing else; play it without a worked example
(`agent.example: false`).

## What it can do
Decisions are compared with the scripted agent's, on the agent's own way through the games.

```
{told}
```
"""
)
PLANNER_CARD = (
    HEAD
    + """# The sandbox's planner, untrained

A Llama of 0.9M parameters that writes plans for generated ALFWorld tasks: it knows the words, names
sensible places in any order, and forgets steps. What SFT, RFT, DPO and policy gradient start from.
Made from nothing, on plans of every quality, with

    {command}

{steps} steps, {millions}M tokens in each of two processes; the last loss {loss} nats a token. Its
tokenizer reads the suite's ALFWorld planner prompt and writes plans, nothing else.
"""
)


def build(
    out: Path,
    *,
    minutes: float,
    planner_minutes: float,
    seed: int,
    held_out: Path | int,
    say: Say,
) -> bool:
    """Train agent and planner, check the agent, and write both to `out`; whether the gate is kept.

    Until both are whole they lie in `out/.building`, from which the same command goes on.

    Raises:
        InputError: `out` has something else in it, cannot be written or is being built in, or
            `held_out` has no unseen games, or others than generated ones.
    """
    _check_games(held_out)
    import torch

    from mpo_core.sandbox.train import Budget

    # So small a model is slower on two threads, and much slower where cores are busy.
    torch.set_num_threads(1)
    command = f"mpo sandbox build --minutes {minutes:g} --planner-minutes {planner_minutes:g}"
    command += f" --seed {seed} --out FOLDER"
    with _building(out) as building:
        agent, planner = building / AGENT, building / PLANNER
        if _made_by(agent, command):
            say(f"agent: made before, by the same command: {agent}")
            passed = check(agent, held_out, say)
        else:
            shutil.rmtree(building)
            budget = Budget(minutes=minutes, seed=seed)
            passed = _build_agent(agent, budget, held_out, command, say)
        budget = Budget(minutes=planner_minutes, seed=seed)
        _build_planner(planner, budget, command, say)
        for made in (agent, planner):
            made.rename(out / made.name)
    say(f"models: {out / AGENT}, {out / PLANNER}")
    return passed


@contextmanager
def _building(out: Path) -> Iterator[Path]:
    """The folder in `out` for what is not yet whole; it stays where it is not left empty.

    `out` itself may be a mounted one, or a link: it is neither removed nor renamed.
    """
    building = out / BUILDING
    with ExitStack() as held:
        try:
            out.mkdir(parents=True, exist_ok=True)
            file = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, file)
            held.enter_context(locked(file, out))
            if {path.name for path in out.iterdir()} - {BUILDING}:
                raise InputError(f"{out}: there already; --out names a new or empty folder")
            building.mkdir(exist_ok=True)
        except BlockingIOError as error:
            raise InputError(
                f"{out}: another process builds there; wait for it, or name another folder"
            ) from error
        except OSError as error:
            raise InputError(
                f"{out}: cannot be written: {error.strerror}; {remedy(error)}"
            ) from error
        try:
            yield building
        finally:
            with suppress(OSError):  # Not empty, or removed by hand.
                building.rmdir()


def _made_by(folder: Path, command: str) -> bool:
    """Whether a folder holds a whole model made by a command: the card is written last."""
    card = folder / CARD
    return card.is_file() and f" {command}\n" in card.read_text(encoding="utf-8", errors="replace")


def _build_agent(
    folder: Path, budget: "Budget", held_out: Path | int, command: str, say: Say
) -> bool:
    from mpo_core.sandbox.folder import write
    from mpo_core.sandbox.gate import gate
    from mpo_core.sandbox.train import train
    from mpo_core.sandbox.vocabulary import pretrained

    with _Training("agent") as bar:
        model = train(budget, bar.watch)
    write(model, folder, "", pretrained())
    verdict = gate(folder, held_out)
    lines = [*verdict.lines(), "", *accuracies(verdict.accuracy)]
    for line in lines:
        say(line)
    card = AGENT_CARD.format(command=command, told="\n".join(lines), **told(bar.standing))
    write_text(folder / CARD, card)
    return verdict.passed


def _build_planner(folder: Path, budget: "Budget", command: str, say: Say) -> None:
    from mpo_core.sandbox.folder import write
    from mpo_core.sandbox.planner import train_planner
    from mpo_core.sandbox.planner_vocabulary import pretrained

    shutil.rmtree(folder, ignore_errors=True)  # Of a build that was killed.
    with _Training("planner") as bar:
        model = train_planner(budget, bar.watch)
    write(model, folder, PLANNER_CARD.format(command=command, **told(bar.standing)), pretrained())


def check(folder: Path, held_out: Path | int, say: Say) -> bool:
    """Check an agent, in its folder or in that of a `build`; whether its gate is kept.

    Raises:
        InputError: there is no agent, or `held_out` has no unseen games, or others than generated
            ones.
    """
    agent = folder / AGENT if (folder / AGENT).is_dir() else folder
    if not (agent / "config.json").is_file():
        raise InputError(f"{agent}: no agent there; make one with `mpo sandbox build`")
    _check_games(held_out)
    say(f"checking {agent}; a minute or so")
    import torch

    from mpo_core.sandbox.gate import gate

    torch.set_num_threads(1)
    verdict = gate(agent, held_out)
    for line in [*verdict.lines(), "", *accuracies(verdict.accuracy)]:
        say(line)
    return verdict.passed


def _check_games(held_out: Path | int) -> None:
    """See that the games are there, before the long work and what is slow to import."""
    if isinstance(held_out, Path):
        from mpo_core.sandbox.held_out import held_out_games

        held_out_games(held_out)


def accuracies(by_kind: Mapping[str, tuple[int, int]]) -> list[str]:
    """Accuracy by kind of decision, a line each."""
    width = max(map(len, by_kind), default=0)
    return [
        f"{kind:<{width}}  {right / count:.3f} of {count}"
        for kind, (right, count) in by_kind.items()
    ]


def told(standing: "Standing") -> dict[str, Any]:
    """What a card says of a training."""
    return {
        "steps": standing.steps,
        "millions": f"{standing.tokens / 1e6:.1f}",
        "games": standing.own_games,
        "loss": f"{standing.loss:.3f}",
    }


class _Training:
    """The training's progress, and now and then its accuracy by kind of decision."""

    standing: "Standing"
    """The last that was watched."""

    def __init__(self, name: str) -> None:
        self._told = 0
        self._bar = Bar(name, 100, 0, "%")

    def watch(self, standing: "Standing") -> None:
        self.standing = standing
        part = int(REPORTS * min(1, standing.done))
        right = f"accuracy {standing.accuracy:.3f}, " if standing.decisions else ""
        state = f"loss {standing.loss:.3f}, {right}{standing.tokens / 1e6:.2f}M tokens"
        self._bar.tell(state)
        self._bar.update(100 * min(1, standing.done) - self._bar.n)
        if part > self._told:
            self._told = part
            counts = {k: (standing.right[k], n) for k, n in sorted(standing.decisions.items())}
            if counts:
                self._bar.say(f"after {standing.steps} steps, on games that were new to it")
            for line in accuracies(counts):
                self._bar.say(f"  {line}")
            standing.right.clear()
            standing.decisions.clear()

    def __enter__(self) -> "_Training":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
