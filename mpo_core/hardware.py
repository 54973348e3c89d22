"""What this machine can do and has free."""

import re
import socket
from functools import cache
from pathlib import Path

from mpo_core.errors import InputError

NATIVE_BF16 = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")


@cache
def multiplies_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself.

    Elsewhere the libraries convert number by number, several times slower than float32.
    """
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and NATIVE_BF16.search(flags.read_text(encoding="utf-8")) is not None


def free_port(asked: int = 0) -> int:
    """A free TCP port of loopback: the one asked for, or any for 0.

    Raises:
        InputError: the port asked for is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", asked))
        except OSError as error:
            raise InputError(
                f"cluster.http_port: port {asked} is taken; choose another, or 0 for a free one"
            ) from error
        return probe.getsockname()[1]
