"""`mpo sandbox`: makes the sandbox's agent from nothing, and checks it."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from mpo_core.errors import InputError

Say = Callable[[str], None]
REPORTS = 4
"""Tables of accuracy during a training."""


def build(out: Path, minutes: float, seed: int, held_out: Path | int, say: Say) -> bool:
    """Train an agent, check it, and write it to `out`; whether its gate is kept.

    Raises:
        InputError: `out` has something in it or cannot be written, `held_out` has no unseen games.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: there already; --out names a new or empty folder")
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        import torch

        from mpo_core.sandbox.folder import write
        from mpo_core.sandbox.gate import gate, held_out_tasks
        from mpo_core.sandbox.train import Budget, train

        if isinstance(held_out, Path):
            # Before the long work, not after it.
            held_out_tasks(held_out)

        # So small a model is slower on two threads, and much slower where cores are busy.
        torch.set_num_threads(1)
        with _Bar(say) as bar:
            model = train(Budget(minutes=minutes, seed=seed), bar.watch)
        write(model, partial, "")
        verdict = gate(partial, held_out)
        lines = [*verdict.lines(), "", *accuracies(verdict.accuracy)]
        for line in lines:
            say(line)
        told = bar.standing
        (partial / "README.md").write_text(card(minutes, seed, told, lines), encoding="utf-8")
        partial.chmod(0o755)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    say(f"agent: {out}")
    return verdict.passed


def check(agent: Path, held_out: Path | int, say: Say) -> bool:
    """Check an agent's folder; whether its gate is kept."""
    import torch

    from mpo_core.sandbox.gate import gate

    torch.set_num_threads(1)
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


def card(minutes: float, seed: int, standing, lines: list[str]) -> str:
    """The model's card: how it was made, and what it can do."""
    told = "\n".join(lines)
    return f"""---
license: apache-2.0
pipeline_tag: text-generation
tags: [alfworld, meta-plan-optimization]
---
# The sandbox's agent

A Llama of 0.9M parameters that plays generated ALFWorld games in the suite's own protocol and does
what a plan says. Made from nothing, by imitation of a scripted agent and DAgger, with

    mpo sandbox build --minutes {minutes:g} --seed {seed} --out FOLDER

{standing.steps} steps, {standing.tokens / 1e6:.1f}M tokens in each of two processes,
{standing.own_games} games of its own in each. Its tokenizer reads the suite's dialogues of ALFWorld
and nothing else; play it without a worked example (`agent.example: false`).

## What it can do
Decisions are compared with the scripted agent's, on the agent's own way through the games.

```
{told}
```
"""


class _Bar:
    """The training's progress, and now and then its accuracy by kind of decision."""

    def __init__(self, say: Say) -> None:
        self._say, self._told, self.standing = say, 0, None
        interval = 0.2 if sys.stderr.isatty() else 15
        self._bar = tqdm(
            total=100, desc="agent", unit="%", mininterval=interval, maxinterval=2 * interval,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )  # fmt: skip

    def watch(self, standing) -> None:
        self.standing = standing
        part = int(REPORTS * min(1, standing.done))
        self._bar.set_postfix_str(
            f"loss {standing.loss:.3f}, accuracy {standing.accuracy:.3f}, "
            f"{standing.tokens / 1e6:.2f}M tokens",
            refresh=False,
        )
        self._bar.update(100 * min(1, standing.done) - self._bar.n)
        if part > self._told:
            self._told = part
            counts = {k: (standing.right[k], n) for k, n in sorted(standing.decisions.items())}
            with tqdm.external_write_mode():
                self._say(f"after {standing.steps} steps, on games that were new to it")
                for line in accuracies(counts):
                    self._say(f"  {line}")
            standing.right.clear()
            standing.decisions.clear()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
