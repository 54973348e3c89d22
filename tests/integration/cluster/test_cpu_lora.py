"""Adapters in an engine on a CPU, against the product of each token with its own adapter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_selector import get_punica_wrapper
from vllm.platforms import current_platform

from cluster.cpu_lora import GroupedAdapters, use_grouped_adapters

SLOTS, INPUTS, RANK, OUTPUTS = 3, 6, 4, (5, 2)
SCALE = 0.5
LOADED = [7, None, 9]
"""The adapters' ids in their slots."""


def wrapper_for(ids: list[int], *, prefill: bool) -> GroupedAdapters:
    """A wrapper told of a step whose tokens are of these adapters, 0 being the base model."""
    wrapper = GroupedAdapters(64, 64, "cpu")
    mapping = LoRAMapping(tuple(ids), tuple(ids), is_prefill=prefill)
    wrapper.update_metadata(mapping, LOADED, SLOTS, 100)
    return wrapper


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0, 7, 9]), min_size=1, max_size=12),
    st.booleans(),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_every_token_has_its_own_adapter_and_that_of_the_base_none(ids, prefill, dtype):
    torch.manual_seed(0)
    x, y = torch.randn(len(ids), INPUTS).to(dtype), torch.randn(len(ids), sum(OUTPUTS)).to(dtype)
    a = tuple(torch.randn(SLOTS, 1, RANK, INPUTS).to(dtype) for _ in OUTPUTS)
    b = tuple(torch.randn(SLOTS, 1, size, RANK).to(dtype) for size in OUTPUTS)
    expected = y.float()
    for token, one in enumerate(ids):
        if one:
            slot = LOADED.index(one)
            products = [
                SCALE * x[token].float() @ down[slot, 0].float().T @ up[slot, 0].float().T
                for down, up in zip(a, b, strict=True)
            ]
            expected[token] += torch.cat(products)
    wrapper_for(ids, prefill=prefill).add_lora_linear(y, x, a, b, SCALE, OUTPUTS)
    near = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.2}
    torch.testing.assert_close(y.float(), expected, **near)


def test_an_engine_of_this_process_uses_it(monkeypatch):
    monkeypatch.setattr(
        type(current_platform), "get_punica_wrapper", type(current_platform).get_punica_wrapper
    )
    if not current_platform.is_cpu():
        pytest.skip("vLLM is that of GPUs here")
    use_grouped_adapters()
    made = get_punica_wrapper(64, max_batches=64, device="cpu")
    assert isinstance(made, GroupedAdapters)
