"""A Llama in plain torch: transformers' weights by their names, much faster on a CPU where tiny.

`Llama` is what is trained, `Sampler` leads many dialogues side by side. Only what trains the
sandbox's models, or plays with them in the simulator, imports this module.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-5
THETA = 10000.0
SPARE = 64
"""Positions made beyond those needed whenever a dialogue outgrows its cache."""


@dataclass(frozen=True)
class Shape:
    """How large a model is; as it stands, 0.9M parameters."""

    vocabulary: int
    width: int = 128
    layers: int = 4
    heads: int = 4
    feedforward: int = 384
    context: int = 1024


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, turned: "Turn", past: "Past | None") -> Tensor:
        rows, length, width = x.shape
        split = (rows, length, self.heads, width // self.heads)
        q, k, v = (
            proj(x).view(split).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = turned(q), turned(k)
        if past is None:
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            k, v = past.extended(k, v)
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=past.mask)
        return self.o_proj(seen.transpose(1, 2).reshape(rows, length, width))


class FeedForward(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.feedforward, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.feedforward, bias=False)
        self.down_proj = nn.Linear(shape.feedforward, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.width, EPSILON)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, EPSILON)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, turned: "Turn", past: "Past | None") -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turned, past)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, EPSILON)


class Llama(nn.Module):
    angles: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        self.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        each = shape.width // shape.heads
        rates = THETA ** (-torch.arange(0, each, 2) / each)
        self.register_buffer(
            "angles", torch.arange(shape.context)[:, None] * rates, persistent=False
        )
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("o_proj.weight", "down_proj.weight"))
                scale = 1 / math.sqrt(2 * shape.layers) if last else 1
                nn.init.normal_(weight, std=0.02 * scale)

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The weights inside the layers: what Muon is made for."""
        return [weight for weight in self.model.layers.parameters() if weight.dim() == 2]

    def forward(
        self, ids: Tensor, *, keep: Tensor | None = None, past: "Pasts | None" = None
    ) -> Tensor:
        """Logits (rows, length, vocabulary), or (kept, vocabulary) of the positions in `keep`.

        Args:
            ids: (rows, length).
            keep: booleans (rows, length).
            past: what came before; extended by `ids`.
        """
        x = self.model.embed_tokens(ids)
        if past is None:
            turned = Turn(self.angles[: ids.shape[1]])
        else:
            turned = Turn(self.angles[past.positions][:, None])
        for number, layer in enumerate(self.model.layers):
            x = layer(x, turned, past.of(number) if past else None)
        return self.lm_head(self.model.norm(x if keep is None else x[keep]))


class Turn:
    """Rotates queries and keys by their positions."""

    def __init__(self, angles: Tensor) -> None:
        self._cos, self._sin = angles.cos(), angles.sin()

    def __call__(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        turned = (a * self._cos - b * self._sin, b * self._cos + a * self._sin)
        return torch.cat(turned, -1).to(x.dtype)


class Past:
    """One layer's keys and values, (rows, heads, room, each), and where the next ones go."""

    def __init__(self, keys: Tensor, values: Tensor, positions: Tensor, mask: Tensor) -> None:
        self._keys, self._values, self._positions, self.mask = keys, values, positions, mask

    def extended(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        at = (torch.arange(len(keys))[:, None], slice(None), self._positions)
        self._keys[at], self._values[at] = keys.transpose(1, 2), values.transpose(1, 2)
        end = self.mask.shape[-1]
        return self._keys[:, :, :end], self._values[:, :, :end]


class Pasts:
    """The keys and values of all layers; each row has a length of its own."""

    def __init__(self, shape: Shape, rows: int) -> None:
        size = (2, rows, shape.heads, 0, shape.width // shape.heads)
        self._layers = [torch.zeros(size) for _ in range(shape.layers)]
        self._room, self._most = 0, shape.context
        self.lengths = torch.zeros(rows, dtype=torch.long)

    def place(self, most: int) -> None:
        """Say that up to `most` tokens are added to each row."""
        self._grow(min(int(self.lengths.max()) + most, self._most))
        offsets = torch.arange(most)[None]
        # Of rows that are full or pad, what is written last is never read.
        self.positions = (self.lengths[:, None] + offsets).clamp(max=self._room - 1)
        ahead = torch.arange(int(self.positions.max()) + 1)
        self._mask = (ahead[None, None] <= self.positions[:, :, None])[:, None]

    def _grow(self, room: int) -> None:
        if room > self._room:
            room = min(room + SPARE, self._most)
            more = (0, 0, 0, room - self._room)
            self._layers = [F.pad(layer, more) for layer in self._layers]
            self._room = room

    def of(self, layer: int) -> Past:
        keys, values = self._layers[layer]
        return Past(keys, values, self.positions, self._mask)

    def keep(self, rows: Tensor) -> None:
        self._layers = [layer[:, rows] for layer in self._layers]
        self.lengths = self.lengths[rows]


class Sampler:
    """Dialogues side by side: each row of tokens grows by what it is fed and what it says.

    No row may be longer than the model's context.
    """

    def __init__(self, model: Llama, rows: int) -> None:
        self._model, self._past = model, Pasts(model.shape, rows)
        self._logits = torch.zeros(rows, model.shape.vocabulary)

    @torch.inference_mode()
    def feed(self, tokens: Sequence[Sequence[int]]) -> None:
        """Append tokens to each row; to some of them none."""
        lengths = torch.tensor([len(new) for new in tokens])
        ids = torch.zeros(len(tokens), int(lengths.max()), dtype=torch.long)
        for n, new in enumerate(tokens):
            ids[n, : len(new)] = torch.tensor(new, dtype=torch.long)
        last = torch.arange(ids.shape[1])[None] == lengths[:, None] - 1
        self._past.place(ids.shape[1])
        self._logits[lengths > 0] = self._model(ids, keep=last, past=self._past)
        self._past.lengths += lengths

    @torch.inference_mode()
    def say(
        self,
        end: int,
        most: int,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> list[list[int]]:
        """Each row's next tokens up to `end`, which is fed, too, but not returned."""
        said: list[list[int]] = [[] for _ in self._logits]
        live = [True] * len(said)
        for _ in range(most):
            if temperature:
                chances = (self._logits / temperature).softmax(-1)
                chosen = torch.multinomial(chances, 1, generator=generator)[:, 0].tolist()
            else:
                chosen = self._logits.argmax(-1).tolist()
            self.feed([[token] if on else [] for token, on in zip(chosen, live, strict=True)])
            for row, token in enumerate(chosen):
                if live[row] and token != end:
                    said[row].append(token)
                live[row] = live[row] and token != end
            if not any(live):
                break
        return said

    def rewind(self, lengths: Sequence[int]) -> None:
        """Forget what follows each row's first tokens; it must be fed before it says more."""
        self._past.lengths = torch.tensor(lengths)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, which are 0, 1, ... from here on."""
        chosen = torch.tensor(rows)
        self._past.keep(chosen)
        self._logits = self._logits[chosen]
