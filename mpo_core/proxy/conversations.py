"""A caller's conversations: which one a request belongs to, and the plan that it is given once.

Invariants:
- A conversation has one plan, or none, from its first request on, whichever worker answers it: what
  the store has kept first counts.
- What fails here costs the caller a plan, never an answer.
- Memory does not grow with the conversations.
"""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from mpo_core.config import ProxyConfig
from mpo_core.errors import InputError
from mpo_core.proxy.arms import arm_of
from mpo_core.proxy.asked import OWN, Asked, own_name
from mpo_core.proxy.draws import Draws, NoSuchPlan, PlanMissing
from mpo_core.proxy.metrics import Metrics
from mpo_core.proxy.records import OFF, Conversation, task_of
from mpo_core.proxy.store import Store
from mpo_core.proxy.task_rule import TaskRule
from mpo_core.proxy.versions import Versions
from mpo_core.types import Plan, PlanMode

log = logging.getLogger(__name__)
T = TypeVar("T")
FRESH = "fresh"
REMEMBERED = 4096
"""Conversations whose plans are held in memory; the others' are read when they go on."""
LONGEST_REMEMBERED = 4096
"""Characters of a task that is held."""
LONG = 2**16
"""Characters of a body, or bytes, that take some time to read."""
WITHOUT = "began without the proxy's folder"
MOST_BEGINNINGS = 64
"""Beginnings of one request that are looked for."""


@dataclass(frozen=True, slots=True)
class Given:
    """What is placed in the requests of a conversation, and what its answers say of it."""

    id: str
    arm: str
    task: str
    plan_id: str | None
    plan: str | None
    mode: PlanMode
    why: str

    @classmethod
    def of(cls, kept: Conversation) -> "Given":
        return cls(kept.id, kept.arm, kept.task, kept.plan_id, kept.plan, kept.mode, kept.why)


class NoSuchConversation(InputError):
    """A name of the proxy's own form that no conversation has."""


class Conversations:
    """The conversations of one worker, in the folder that all of them share."""

    def __init__(
        self, config: ProxyConfig, store: Store, versions: Versions, metrics: Metrics
    ) -> None:
        self._config, self._store = config, store
        self._versions, self._metrics = versions, metrics
        self.rule = TaskRule(config)
        self._draws = Draws(config, store, versions, metrics, self.read)
        self._known: OrderedDict[str, Given] = OrderedDict()
        self._beginning: dict[str, asyncio.Task[Given]] = {}
        self._without: OrderedDict[str, None] = OrderedDict()
        # Those who only read do not wait for another process of the folder to finish its write.
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="mpo-proxy-reads")
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="mpo-proxy-writes")

    async def of(self, asked: Asked) -> Given | None:
        """The conversation that a request belongs to, begun where it is new; None where the request
        belongs to none.

        Raises:
            NoSuchPlan: the plan that the caller asks for is not there.
            NoSuchConversation: the caller names one by a name of the proxy's own that is none.
            RecursionError: its body is nested too deep.
        """
        try:
            return await self._of(asked)
        except (NoSuchPlan, NoSuchConversation, RecursionError):
            raise
        except Exception as error:
            # Bugs as well: they are no reason not to answer an agent.
            known = isinstance(error, InputError)
            said = " ".join(str(error).split())
            log.warning("a request goes on without a plan: %s", said, exc_info=not known)
            self._metrics.failures.labels("proxy", "").inc()
            self._note_without(asked)
            return None

    def remembered(self, asked: Asked) -> Given | None:
        """The conversation that a request belongs to, where it is known without a look anywhere."""
        named = asked.headers.conversation or asked.served_state
        if named is None and (asked.headers.plan == FRESH or asked.previous_response is not None):
            return None
        # As long as one is not known, the next beginning is made: mostly it is the first.
        beginnings = islice(asked.beginnings(), MOST_BEGINNINGS)
        ids: Iterable[str] = [named] if named else (id for _, id in beginnings)
        for id in ids:
            if id in self._known:
                self._known.move_to_end(id)
                return self._known[id]
        return None

    async def also_named(self, name: str, id: str) -> None:
        """Let a conversation be found by another name."""
        try:
            await self.write(self._store.name, name, id)
        except InputError as error:
            log.warning("%s: not kept as a name of %s: %s", name, id, error)

    async def apart(self, asked: Asked, function: Callable[..., T], *values: Any) -> T:
        """What a function makes of a request; in a thread where that may take long."""
        return await in_thread(len(asked.text) > LONG or self.rule.may_be_slow, function, *values)

    async def read(self, function: Callable[..., T], *values: Any) -> T:
        """What a function gives that reads the folder."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, *values)

    async def write(self, function: Callable[..., T], *values: Any) -> T:
        """What a function gives that writes to the folder."""
        return await asyncio.get_running_loop().run_in_executor(self._writers, function, *values)

    def close(self) -> None:
        """Wait for what is being written."""
        self._readers.shutdown()
        self._writers.shutdown()

    def _note_without(self, asked: Asked) -> None:
        """A conversation that begins without a plan is given none later, in its middle."""
        named = asked.headers.conversation or asked.served_state
        for id in [named] if named else [id for _, id in _some(list(asked.beginnings()))[-1:]]:
            self._without[id] = None
            if len(self._without) > REMEMBERED:
                self._without.popitem(last=False)

    # ---------------------------------------------------------------------- which one it is

    async def _of(self, asked: Asked) -> Given | None:
        beginnings = _some(list(asked.beginnings()))
        named = asked.headers.conversation or asked.served_state
        if named is None and asked.previous_response is not None:
            previous = asked.previous_response
            # Those that begin otherwise name beginnings.
            is_one = not previous.startswith(OWN)
            named = await self.read(self._store.named, previous) if is_one else None
            # What goes on from a response of another place gets no plan in its middle.
            return await self._kept(named) if named else None
        if named is not None:
            known = await self._kept(named)
            if known is None and asked.headers.conversation and named.startswith(OWN):
                raise NoSuchConversation(
                    f"X-MPO-Conversation: no conversation {named!r}; names that begin with {OWN} "
                    "are the proxy's own, give another one"
                )
            last = beginnings[-1][0] if beginnings else len(asked.turns)
            return known or await self._begun(named, asked, last)
        if not beginnings:
            return None
        if asked.headers.plan == FRESH:
            return await self._fresh(asked, beginnings)
        for _, id in beginnings:
            known = await self._kept(id)
            if known is not None:
                return known
        without = next((one for one in beginnings if one[1] in self._without), None)
        turns, id = without or beginnings[-1]
        return await self._begun(id, asked, turns)

    async def _fresh(self, asked: Asked, beginnings: list[tuple[int, str]]) -> Given:
        """A conversation that asks for a fresh plan: a new one with each request that is no more
        than a beginning; what goes on from that beginning belongs to the last of them."""
        turns, beginning = beginnings[-1]
        if turns < len(asked.turns) or len(beginnings) > 1:
            for _, earlier in beginnings:
                id = await self.read(self._store.named, earlier)
                known = await self._kept(id) if id else None
                if known is not None:
                    return known
        without = next((id for _, id in beginnings if id in self._without), None)
        id = own_name(secrets.token_hex(12))
        if without:
            self._without[id] = None
        given = await self._begun(id, asked, turns)
        self._without.pop(without or "", None)
        await self.write(self._store.name, beginning, given.id)
        return given

    async def _kept(self, id: str) -> Given | None:
        if id in self._known:
            self._known.move_to_end(id)
            return self._known[id]
        if id in self._beginning:
            return await asyncio.shield(self._beginning[id])
        kept = await self.read(self._store.conversation, id)
        return self._remembered(kept) if kept else None

    def _remembered(self, kept: Conversation) -> Given:
        given = Given.of(kept)
        if len(given.task) <= LONGEST_REMEMBERED:
            self._known[given.id] = given
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return given

    async def _begun(self, id: str, asked: Asked, beginning: int) -> Given:
        """A new conversation; of requests that begin it at once, the first does."""
        if id not in self._beginning:
            task = asyncio.create_task(self._begin(id, asked, beginning))
            self._beginning[id] = task
            task.add_done_callback(lambda _: self._beginning.pop(id, None))
        # A caller that leaves does not take the plan from those who wait for it too.
        return await asyncio.shield(self._beginning[id])

    # ---------------------------------------------------------------------- what it is given

    async def _begin(self, id: str, asked: Asked, beginning: int) -> Given:
        planners = self._versions.planners
        assert planners is not None
        text = await self.apart(asked, self.rule.task, asked, beginning) or ""
        longest = self._config.longest_task
        task = task_of(text[:longest])
        wanted = asked.headers.plan
        # Who asks for a fresh plan is given one.
        off = 0.0 if wanted == FRESH else self._config.off
        arm = OFF if wanted == OFF else arm_of(id, off, planners)
        made = Conversation(
            id=id,
            task_id=task.id,
            task=task.description,
            arm=arm,
            model=task_of(asked.model).description,
            mode=self._config.mode,
            begun=time.time(),
        )

        async def opened(plan: Plan) -> Given:
            given = {"plan_id": plan.id, "plan": plan.text, "planner": plan.origin}
            return await self._open(made.model_copy(update={"arm": plan.origin, **given}))

        if id in self._without and arm != OFF:
            given = await self._open(made.model_copy(update={"why": WITHOUT}))
            self._without.pop(id, None)
            return given
        if wanted not in (None, OFF, FRESH):
            return await opened(await self._draws.named(task, wanted))
        if arm == OFF:
            return await self._open(made)
        try:
            if not text or len(text) > longest:
                raise PlanMissing("task too long" if text else "no task")
            return await self._draws.given(arm, task, opened, fresh=wanted == FRESH)
        except PlanMissing as missing:
            return await self._open(made.model_copy(update={"why": missing.why}))

    async def _open(self, made: Conversation) -> Given:
        kept = await self.write(self._store.open_conversation, made)
        if kept == made:
            self._metrics.conversations.labels(made.arm).inc()
            if made.arm != OFF:
                self._metrics.plans.labels(made.arm, made.why or "given").inc()
        return self._remembered(kept)


async def in_thread(slow: bool, function: Callable[..., T], *values: Any) -> T:
    """What a function gives; where it may be slow, others are answered meanwhile."""
    return await asyncio.to_thread(function, *values) if slow else function(*values)


def _some(beginnings: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The shortest, and the whole."""
    if len(beginnings) <= MOST_BEGINNINGS:
        return beginnings
    return [*beginnings[: MOST_BEGINNINGS - 1], beginnings[-1]]
