"""What conversations were given, those of late held in memory."""

from collections import OrderedDict
from dataclasses import dataclass

from mpo_core.proxy.records import Conversation
from mpo_core.types import PlanMode

REMEMBERED = 4096
"""Names and beginnings whose conversations are held; others are read when they go on."""
LONGEST_REMEMBERED = 4096
"""Characters of a task that is held."""


@dataclass(frozen=True, slots=True)
class Given:
    """What is placed in the requests of a conversation, and what its answers say of it."""

    id: str
    arm: str
    task: str
    plan_id: str | None
    plan: str | None
    turn: str
    mode: PlanMode
    why: str

    @classmethod
    def of(cls, kept: Conversation) -> "Given":
        plan = kept.plan_id, kept.plan, kept.turn
        return cls(kept.id, kept.arm, kept.task, *plan, kept.mode, kept.why)


class Recent:
    """The conversations of late, by their names and beginnings."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Given] = OrderedDict()

    def __contains__(self, id: str) -> bool:
        return id in self._held

    def get(self, id: str) -> Given | None:
        """The conversation of a name or a beginning, which is then the last to be let go of."""
        if id in self._held:
            self._held.move_to_end(id)
        return self._held.get(id)

    def hold(self, id: str, given: Given) -> Given:
        """Keep a conversation in mind, unless it is too long for it."""
        if len(given.task) <= LONGEST_REMEMBERED:
            self._held[id] = given
            if len(self._held) > REMEMBERED:
                self._held.popitem(last=False)
        return given
