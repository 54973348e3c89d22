"""Makes the ScienceWorld agent from nothing, or checks one, in the real engine.

    python -m mpo_core.sandbox.scienceworld build --out DIR [--minutes M] [--processes N] [--seed S]
    python -m mpo_core.sandbox.scienceworld check --out DIR [--split unseen] [--most N]

`build` trains until `--minutes` or `--tokens` are spent, then checks.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from mpo_core.errors import InputError
from mpo_core.sandbox import folder
from mpo_core.sandbox.llama import Llama
from mpo_core.sandbox.scienceworld.agent import SHAPE, Batches
from mpo_core.sandbox.scienceworld.games import TYPES
from mpo_core.sandbox.scienceworld.gate import gate
from mpo_core.sandbox.scienceworld.vocabulary import pretrained
from mpo_core.sandbox.train import Budget, Standing, train

REPORT_EVERY_S = 30
CARD = """---
license: apache-2.0
pipeline_tag: text-generation
tags: [scienceworld, meta-plan-optimization]
---
# A ScienceWorld agent of the sandbox

A Llama of 0.9M parameters that plays {types} in the suite's own protocol and does what a plan says.
Made from nothing, by imitation of a scripted agent and DAgger, with

    {command}

Its tokenizer reads these dialogues and nothing else; play it without a worked example and thoughts
(`agent.example: false`, `agent.thoughts: false`).

```
{told}
```
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("build", "check"))
    parser.add_argument("--out", type=Path, required=True, help="the model's folder")
    parser.add_argument("--minutes", type=float, default=10, help="of training at most")
    parser.add_argument(
        "--tokens", type=float, default=float("inf"), help="of one process, after which it ends"
    )
    parser.add_argument("--processes", type=int, default=2, help="that train")
    parser.add_argument("--seed", type=int, default=0, help="of weights and games")
    parser.add_argument("--split", choices=("seen", "unseen"), default="unseen")
    parser.add_argument("--most", type=int, default=40, help="variations of a type to check with")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        if options.action == "build":
            if options.out.exists():
                raise InputError(f"{options.out}: there already; --out names a new folder")
            model = train(
                Budget(options.minutes, options.tokens, options.seed, options.processes),
                _Told(),
                SHAPE,
                Batches,
            )
            _write(model, options.out, "", options)
        model = folder.load(options.out)
        verdict = gate(model, options.split, options.most)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(verdict.lines()))
    if options.action == "build":
        _write(model, options.out, "\n".join(verdict.lines()), options)
    return 0 if verdict.passed else 1


def _write(model: Llama, out: Path, told: str, options: argparse.Namespace) -> None:
    command = (
        f"python -m mpo_core.sandbox.scienceworld build --minutes {options.minutes:g} "
        f"--tokens {options.tokens:g} --processes {options.processes} --seed {options.seed} "
        "--out FOLDER"
    )
    card = CARD.format(types=", ".join(TYPES), command=command, told=told)
    folder.write(model, out, card, pretrained())


class _Told:
    """Prints how the training stands, now and then."""

    def __init__(self) -> None:
        self._last = self._started = time.monotonic()

    def __call__(self, standing: Standing) -> None:
        if time.monotonic() - self._last < REPORT_EVERY_S:
            return
        self._last = time.monotonic()
        kinds = (f"{k} {standing.right[k] / n:.3f}" for k, n in sorted(standing.decisions.items()))
        print(
            f"{self._last - self._started:.0f} s, {standing.done:.0%}, {standing.steps} steps, "
            f"{standing.tokens / 1e6:.2f}M tokens, loss {standing.loss:.3f}, {', '.join(kinds)}",
            flush=True,
        )
        standing.right.clear()
        standing.decisions.clear()


if __name__ == "__main__":
    sys.exit(main())
