"""Wait until a Ray cluster has its nodes: `python -m cluster.ready NODES`, with RAY_ADDRESS set."""

import logging
import sys
import time

import ray

TIMEOUT_S = 300


def wait_for_nodes(count: int, timeout_s: float = TIMEOUT_S) -> None:
    """Return when the cluster at RAY_ADDRESS answers and `count` nodes have joined it.

    Raises:
        TimeoutError: not within the time limit; names how many have.
    """
    deadline = time.monotonic() + timeout_s
    joined = 0
    while time.monotonic() < deadline:
        try:
            if not ray.is_initialized():
                ray.init(address="auto", logging_level=logging.CRITICAL, log_to_driver=False)
            joined = sum(node["Alive"] for node in ray.nodes())
            if joined >= count:
                return
        except ConnectionError:
            # The head is not up yet.
            ray.shutdown()
        time.sleep(0.5)
    raise TimeoutError(f"{joined} of {count} nodes have joined Ray within {timeout_s:g} s")


if __name__ == "__main__":
    try:
        wait_for_nodes(int(sys.argv[1]))
    except TimeoutError as error:
        sys.exit(str(error))
