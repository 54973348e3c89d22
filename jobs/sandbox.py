"""`mpo sandbox`: makes the sandbox's models from nothing, and checks the agent."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mpo_core.errors import InputError
from mpo_core.files import whole_folder

Say = Callable[[str], None]
REPORTS = 4
"""Tables of accuracy during a training."""
AGENT, PLANNER, CARD = "agent", "planner", "README.md"
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

    Raises:
        InputError: `out` has something in it or cannot be written, `held_out` has no unseen games.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: there already; --out names a new or empty folder")
    out = out.absolute()
    with whole_folder(out) as partial:
        import torch

        from mpo_core.sandbox.train import Budget

        if isinstance(held_out, Path):
            from mpo_core.sandbox.gate import held_out_tasks

            # Before the long work, not after it.
            held_out_tasks(held_out)
        # So small a model is slower on two threads, and much slower where cores are busy.
        torch.set_num_threads(1)
        command = f"mpo sandbox build --minutes {minutes:g} --planner-minutes {planner_minutes:g}"
        command += f" --seed {seed} --out FOLDER"
        budget = Budget(minutes=minutes, seed=seed)
        passed = _build_agent(partial / AGENT, budget, held_out, command, say)
        budget = Budget(minutes=planner_minutes, seed=seed)
        _build_planner(partial / PLANNER, budget, command, say)
    say(f"models: {out / AGENT}, {out / PLANNER}")
    return passed


def _build_agent(folder: Path, budget, held_out: Path | int, command: str, say: Say) -> bool:
    from mpo_core.sandbox.folder import write
    from mpo_core.sandbox.gate import gate
    from mpo_core.sandbox.train import train
    from mpo_core.sandbox.vocabulary import pretrained

    with _Bar("agent", say) as bar:
        model = train(budget, bar.watch)
    write(model, folder, "", pretrained())
    verdict = gate(folder, held_out)
    lines = [*verdict.lines(), "", *accuracies(verdict.accuracy)]
    for line in lines:
        say(line)
    card = AGENT_CARD.format(command=command, told="\n".join(lines), **told(bar.standing))
    (folder / CARD).write_text(card, encoding="utf-8")
    return verdict.passed


def _build_planner(folder: Path, budget, command: str, say: Say) -> None:
    from mpo_core.sandbox.folder import write
    from mpo_core.sandbox.planner import train_planner
    from mpo_core.sandbox.planner_vocabulary import pretrained

    with _Bar("planner", say) as bar:
        model = train_planner(budget, bar.watch)
    write(model, folder, PLANNER_CARD.format(command=command, **told(bar.standing)), pretrained())


def check(folder: Path, held_out: Path | int, say: Say) -> bool:
    """Check an agent, in its folder or in that of a `build`; whether its gate is kept."""
    import torch

    from mpo_core.sandbox.gate import gate

    torch.set_num_threads(1)
    agent = folder / AGENT if (folder / AGENT).is_dir() else folder
    verdict = gate(agent, held_out)
    for line in [*verdict.lines(), "", *accuracies(verdict.accuracy)]:
        say(line)
    return verdict.passed


def accuracies(by_kind) -> list[str]:
    """Accuracy by kind of decision, a line each."""
    width = max(map(len, by_kind), default=0)
    return [
        f"{kind:<{width}}  {right / count:.3f} of {count}"
        for kind, (right, count) in by_kind.items()
    ]


def told(standing) -> dict[str, Any]:
    """What a card says of a training."""
    return {
        "steps": standing.steps,
        "millions": f"{standing.tokens / 1e6:.1f}",
        "games": standing.own_games,
        "loss": f"{standing.loss:.3f}",
    }


class _Bar:
    """The training's progress, and now and then its accuracy by kind of decision."""

    def __init__(self, name: str, say: Say) -> None:
        self._say, self._told, self.standing = say, 0, None
        interval = 0.2 if sys.stderr.isatty() else 15
        self._bar = tqdm(
            total=100, desc=name, unit="%", mininterval=interval, maxinterval=2 * interval,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )  # fmt: skip

    def watch(self, standing) -> None:
        self.standing = standing
        part = int(REPORTS * min(1, standing.done))
        right = f"accuracy {standing.accuracy:.3f}, " if standing.decisions else ""
        state = f"loss {standing.loss:.3f}, {right}{standing.tokens / 1e6:.2f}M tokens"
        self._bar.set_postfix_str(state, refresh=False)
        self._bar.update(100 * min(1, standing.done) - self._bar.n)
        if part > self._told:
            self._told = part
            counts = {k: (standing.right[k], n) for k, n in sorted(standing.decisions.items())}
            with tqdm.external_write_mode():
                if counts:
                    self._say(f"after {standing.steps} steps, on games that were new to it")
                for line in accuracies(counts):
                    self._say(f"  {line}")
            standing.right.clear()
            standing.decisions.clear()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
