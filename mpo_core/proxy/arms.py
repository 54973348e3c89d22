"""Which arm a new conversation is in.

It is drawn from the conversation's id: every worker draws the same, and so does the next start.
"""

import hashlib

from mpo_core.proxy.planners import Planners
from mpo_core.proxy.records import OFF


def arm_of(conversation: str, off: float, planners: Planners) -> str:
    """`off`, or the version of the planner that is due.

    Args:
        off: share of the conversations without a plan.
    """
    if drawn(conversation, OFF) < off:
        return OFF
    canary = planners.canary
    if canary is not None and drawn(conversation, canary.version) < canary.share:
        return canary.version
    return planners.current


def drawn(*what: str) -> float:
    """A number from 0 up to 1, uniform over texts, the same for the same ones."""
    digest = hashlib.sha256("\0".join(what).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
