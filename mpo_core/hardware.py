"""What this machine's processor can do."""

import re
from functools import cache
from pathlib import Path

NATIVE_BF16 = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")


@cache
def multiplies_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself.

    Elsewhere the libraries convert number by number, several times slower than float32.
    """
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and NATIVE_BF16.search(flags.read_text()) is not None
