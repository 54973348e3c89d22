"""Adapters in an engine on a CPU: a matrix product an adapter, not one a token.

vLLM's own layers for CPUs copy a token's matrices out of the stack of all adapters, for every token
and layer: gigabytes a step at 128 tokens of rank 64, for a product of a tenth of a millisecond. And
they give the tokens of the base model those of the stack's last place.

Imports vLLM alone: it is loaded in the engine's process.
"""

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform

Rows = slice | torch.Tensor


def use_grouped_adapters() -> None:
    """Make vLLM's engines of this process use `GroupedAdapters`; for a model that runs eagerly,
    since a compiled one would keep the groups of its first step."""
    name = f"{__name__}.{GroupedAdapters.__name__}"
    platform: Any = type(current_platform)
    platform.get_punica_wrapper = classmethod(lambda _: name)


class GroupedAdapters(PunicaWrapperCPU):
    """The tokens of a step by their adapter; those of the base model have none."""

    _groups: tuple[tuple[int, Rows], ...] = ()

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        super().update_metadata(*args, **kwargs)
        indices = self.token_lora_indices
        used = indices.unique().tolist()
        self._groups = tuple(
            (index, slice(None) if len(used) == 1 else (indices == index).nonzero()[:, 0])
            for index in used
            if index >= 0
        )

    def _apply_shrink(
        self, y: torch.Tensor, x: torch.Tensor, w_t_all: torch.Tensor, scale: float
    ) -> None:
        """Writes x @ A' x scale into y, (tokens, rank), A being the stack's (rank, inputs)."""
        for index, rows in self._groups:
            a = _of(w_t_all, index, y)
            y[rows, : len(a)] = scale * (x[rows].to(y.dtype) @ a.T)

    def _apply_expand(  # noqa: PLR0917  As vLLM calls it.
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        w_t_all: torch.Tensor,
        y_offset: int,
        y_slice_size: int,
        add_inputs: bool = True,
    ) -> None:
        """Adds x @ B' to the slice of y, (tokens, outputs), B being the stack's (outputs, rank)."""
        part = slice(y_offset, y_offset + y_slice_size)
        for index, rows in self._groups:
            product = x[rows].to(y.dtype) @ _of(w_t_all, index, y).T
            y[rows, part] = y[rows, part] + product if add_inputs else product


def _of(stack: torch.Tensor, index: int, like: torch.Tensor) -> torch.Tensor:
    """An adapter's matrix out of a stack (adapters, 1, rows, columns), or one without the 1."""
    return stack[index].view(stack.shape[-2:]).to(like.dtype)
