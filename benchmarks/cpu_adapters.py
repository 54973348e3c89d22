"""LoRA layers on a CPU: the suite's against vLLM's own, the same layer and tokens in one process.

python benchmarks/cpu_adapters.py [--tokens 128] [--width 576] [--rank 64]
"""

import argparse
import statistics
import time

import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from cluster.cpu_lora import GroupedAdapters

REPEATS = 30


def milliseconds(wrapper_class: type, tokens: int, width: int, rank: int) -> float:
    """The median of a linear layer's adapter, from `width` to `width`, for all tokens of a step."""
    wrapper = wrapper_class(tokens, tokens, "cpu")
    ids = (1,) * tokens
    wrapper.update_metadata(LoRAMapping(ids, ids, is_prefill=True), [1], 1, 100)
    torch.manual_seed(0)
    x, y = torch.randn(tokens, width), torch.zeros(tokens, width)
    down, up = torch.randn(1, 1, rank, width), torch.randn(1, 1, width, rank)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        wrapper.add_lora_linear(y, x, (down,), (up,), 1.0, (width,))
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a step")
    parser.add_argument("--width", type=int, default=576, help="width of the layer")
    parser.add_argument("--rank", type=int, default=64, help="rank of the adapter")
    given = parser.parse_args()
    torch.set_num_threads(1)
    size = (given.tokens, given.width, given.rank)
    theirs, ours = (milliseconds(one, *size) for one in (PunicaWrapperCPU, GroupedAdapters))
    print(f"vLLM's {theirs:.2f} ms, the suite's {ours:.2f} ms: {theirs / ours:.0f} times as fast")


if __name__ == "__main__":
    main()
