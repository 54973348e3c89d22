"""Trains the sandbox's models from nothing; the agent by imitation of the follower, then DAgger.

Two processes of one thread each share every step's gradient: on busy cores that is several times as
fast as two threads of one process. The loss is on the actions, and with a small weight on all other
tokens. The matrices are trained by Muon (Jordan et al., 2024), all else by AdamW.
"""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch.nn import functional as F

from mpo_core.sandbox.agent import PATIENCE, lessons, play
from mpo_core.sandbox.games import Game
from mpo_core.sandbox.llama import Llama, Shape
from mpo_core.sandbox.rows import NOISE, POWER, Row, followed, setting
from mpo_core.sandbox.vocabulary import END, PAD, words

WARM_UP = 20
FLAT = 0.4
"""Share of the training after which the learning rates sink."""
LAST_RATE = 0.02
DAGGER = 0.3
"""Share of the training after which the agent's own episodes are learned from as well."""
TEMPERATURES = (0.0, 0.3, 0.7)
"""Of the agent's own episodes."""


@dataclass(frozen=True)
class Budget:
    """How long to train, and with what; it ends with the first of `minutes` and `tokens`."""

    minutes: float
    tokens: float = float("inf")
    """Of one process. Only a training that ends by these repeats exactly."""
    seed: int = 0
    processes: int = 2
    batch: int = 1120
    """Tokens of a step in one process. Twice as many learned less from the same tokens."""
    matrix_rate: float = 3e-3
    rate: float = 3e-3
    pool: int = 192
    """Games of the agent's own at a time."""


@dataclass
class Standing:
    """Where the training stands."""

    done: float = 0.0
    """Share of the budget."""
    steps: int = 0
    tokens: int = 0
    """Of one process."""
    loss: float = 0.0
    """Cross entropy of the actions' tokens, nats; a running mean."""
    right: Counter[str] = field(default_factory=Counter)
    """Decisions made right since the last report, by kind, on games that were never seen before."""
    decisions: Counter[str] = field(default_factory=Counter)
    own_games: int = 0

    @property
    def accuracy(self) -> float:
        return self.right.total() / max(1, self.decisions.total())


Watch = Callable[[Standing], None]
Source = Callable[[Llama, Budget, int, Standing], Iterator[list[Row]]]
"""Makes the rows of every step; of the model, the budget, the process's number and the standing."""


def train(
    budget: Budget,
    watch: Watch = lambda _: None,
    shape: Shape | None = None,
    source: Source | None = None,
) -> Llama:
    """A model, trained from nothing; by default an agent. `watch` is called after every step."""
    source = source or Batches
    shape = shape or Shape(len(words()))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if budget.processes == 1:
            return _train(budget, shape, source, 0, watch)
        with tempfile.TemporaryDirectory() as folder:
            meeting = f"file://{folder}/meeting"
            others = [
                torch.multiprocessing.get_context("spawn").Process(
                    target=_other, args=(budget, shape, source, rank, meeting), daemon=True
                )
                for rank in range(1, budget.processes)
            ]
            for other in others:
                other.start()
            try:
                _meet(budget, 0, meeting)
                return _train(budget, shape, source, 0, watch)
            finally:
                if dist.is_initialized():
                    dist.destroy_process_group()
                for other in others:
                    other.join(timeout=10)
                    other.kill()
    finally:
        torch.set_num_threads(threads)


def _other(budget: Budget, shape: Shape, source: Source, rank: int, meeting: str) -> None:
    torch.set_num_threads(1)
    _meet(budget, rank, meeting)
    _train(budget, shape, source, rank, lambda _: None)
    dist.destroy_process_group()


def _meet(budget: Budget, rank: int, meeting: str) -> None:
    dist.init_process_group("gloo", meeting, rank=rank, world_size=budget.processes)


def _train(budget: Budget, shape: Shape, source: Source, rank: int, watch: Watch) -> Llama:
    torch.manual_seed(budget.seed)
    model = Llama(shape)
    optimizers = made_optimizers(model, budget)
    standing = Standing()
    batches = source(model, budget, rank, standing)
    started = time.monotonic()
    while standing.done < 1:
        rate = _rate(standing)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate
        rows = next(batches)
        loss = learn(model, rows, standing)
        standing.steps += 1
        standing.tokens += sum(len(row.tokens) for row in rows)
        spent = (time.monotonic() - started) / (60 * budget.minutes)
        standing.done = _shared(model, max(spent, standing.tokens / budget.tokens))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        first = standing.steps == 1
        standing.loss = loss if first else 0.95 * standing.loss + 0.05 * loss
        watch(standing)
    return model.eval()


def made_optimizers(model: Llama, budget: Budget) -> list[torch.optim.Optimizer]:
    inside = {id(weight) for weight in model.matrices}
    rest = [weight for weight in model.parameters() if id(weight) not in inside]
    made = [
        torch.optim.Muon(
            model.matrices,
            lr=budget.matrix_rate,
            weight_decay=0.01,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(rest, budget.rate, betas=(0.9, 0.95), weight_decay=0.01),
    ]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return made


def learn(model: Llama, rows: Sequence[Row], standing: Standing) -> float:
    """Add the rows' gradient; the mean loss of their actions' tokens."""
    ids, weights = padded(rows)
    keep = weights[:, 1:] > 0
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids[:, :-1], keep=keep)
    wanted, weight = ids[:, 1:][keep], weights[:, 1:][keep]
    losses = F.cross_entropy(logits.float(), wanted, reduction="none")
    ((losses * weight).sum() / weight.sum()).backward()
    right = torch.ones_like(ids, dtype=torch.bool)
    right[:, 1:][keep] = logits.argmax(-1) == wanted
    for row, of_row in zip(rows, right, strict=True):
        for at, kind in row.decisions:
            end = row.tokens.index(words().index(END), at)
            standing.decisions[kind] += 1
            standing.right[kind] += bool(of_row[at : end + 1].all())
    return losses[weight == 1].mean().item()


def padded(rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and weights, (rows, longest); padding weighs nothing."""
    longest = max(len(row.tokens) for row in rows)
    ids = torch.full((len(rows), longest), words().index(PAD))
    weights = torch.zeros(len(rows), longest)
    for n, row in enumerate(rows):
        ids[n, : len(row.tokens)] = torch.tensor(row.tokens)
        weights[n, : len(row.tokens)] = torch.tensor(row.weights)
    return ids, weights


def batched(rows: list[Row], most: int, rng: random.Random) -> list[list[Row]]:
    """Rows of like length together, `most` tokens in each batch with what is padded."""
    ready: list[list[Row]] = []
    part: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.tokens)):
        if part and len(row.tokens) * (len(part) + 1) > most:
            ready.append(part)
            part = []
        part.append(row)
    # The longest few would make a small batch; they are left out only where others are.
    ready = ready or [part]
    rng.shuffle(ready)
    return ready


class Batches(Iterator[list[Row]]):
    """The agent's batches; every game is new."""

    def __init__(self, model: Llama, budget: Budget, rank: int, standing: Standing) -> None:
        self._model, self._budget, self._standing = model, budget, standing
        self._random = random.Random(f"{budget.seed} {rank}")
        self._seed = 1_000 + 1_000 * budget.seed + rank
        self._number = 0
        self._pool: list[Row] = []
        self._ready: list[list[Row]] = []
        self._generator = torch.Generator().manual_seed(self._seed)

    def __next__(self) -> list[Row]:
        while not self._ready:
            self._fill()
        return self._ready.pop()

    def _fill(self) -> None:
        rng = self._random
        if self._standing.done > DAGGER and not self._pool:
            self._pool = self._own_episodes()
        share = 64 if self._pool else 128
        rows = [
            followed(setting(game, rng), rng, NOISE if rng.random() < 0.5 else 0)
            for game in self._games(share)
        ]
        rows += [self._pool.pop() for _ in range(min(64, len(self._pool)))]
        self._ready = batched(rows, self._budget.batch, rng)

    def _own_episodes(self) -> list[Row]:
        rng = self._random
        settings = [setting(game, rng) for game in self._games(self._budget.pool)]
        self._model.eval()
        played = play(
            self._model,
            settings,
            temperature=rng.choice(TEMPERATURES),
            generator=self._generator,
            patience=PATIENCE,
        )
        self._model.train()
        self._standing.own_games += len(played)
        rows = lessons(played, rng)
        rng.shuffle(rows)
        return rows

    def _games(self, count: int) -> Iterator[Game]:
        for _ in range(count):
            self._number += 1
            yield Game.drawn(self._seed, "train", self._number, POWER)


def _rate(standing: Standing) -> float:
    """What the learning rates are multiplied with."""
    warm = min(1.0, (standing.steps + 1) / WARM_UP)
    return warm * min(1.0, max(LAST_RATE, (1 - standing.done) / (1 - FLAT)))


def _shared(model: Llama, done: float) -> float:
    """Average the processes' gradients, and how far they are."""
    if not dist.is_initialized():
        return done
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), torch.tensor([done])])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = flat[:-1].split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return flat[-1].item()
