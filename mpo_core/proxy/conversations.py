"""A caller's conversations: which one a request belongs to, and the plan that it is given once.

A conversation's beginning is all that its first request says. By it a conversation is known that
has no name; and there its plan stands, in the turn with the task.

Invariants:
- A request belongs to the conversation that it names, by a header or as the upstream keeps it; else
  to that of the response which it goes on from; else to the one of the longest known beginning that
  it begins with; else it is itself the beginning of a new one. Replies in such a beginning are
  worked examples: a history that was begun elsewhere looks just like them.
- A conversation has one plan, or none, from its first request on, whichever worker answers it: what
  the store has kept first counts, and what began while it could keep nothing has none.
- The plan stands in one turn of the beginning for good, and later requests have it in the turn that
  says the same. One that goes on from what the upstream keeps has it there.
- What fails here costs the caller a plan, never an answer.
- Memory does not grow with the conversations.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mpo_core.config import ProxyConfig
from mpo_core.errors import InputError
from mpo_core.proxy.arms import arm_of
from mpo_core.proxy.asked import LONG, OWN, Asked, own_name
from mpo_core.proxy.draws import Draws, NoSuchPlan, PlanMissing
from mpo_core.proxy.given import Given, Recent
from mpo_core.proxy.metrics import Metrics
from mpo_core.proxy.records import OFF, Conversation, task_of
from mpo_core.proxy.store import Store
from mpo_core.proxy.task_rule import TaskRule
from mpo_core.proxy.versions import Versions
from mpo_core.proxy.without import Without
from mpo_core.types import Plan

log = logging.getLogger(__name__)
T = TypeVar("T")
FRESH = "fresh"
WITHOUT = "began without the proxy's folder"


class Unplanned(Exception):
    """A request belongs to no conversation: why."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


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
        self._known = Recent()
        self._beginning: dict[str, asyncio.Task[Given]] = {}
        self._without = Without(store.folder)
        # Those who only read do not wait for another process of the folder to finish its write.
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="mpo-proxy-reads")
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="mpo-proxy-writes")

    async def of(self, asked: Asked) -> Given:
        """The conversation that a request belongs to, begun where it is new.

        Raises:
            Unplanned: it belongs to none, or nothing can be kept of it.
            NoSuchPlan: the plan that the caller asks for is not there.
            NoSuchConversation: the caller names one by a name of the proxy's own that is none.
            RecursionError: its body is nested too deep.
        """
        try:
            return await self._of(asked)
        except (Unplanned, NoSuchPlan, NoSuchConversation, RecursionError):
            raise
        except Exception as error:
            # Bugs as well: they are no reason not to answer an agent.
            known = isinstance(error, InputError)
            said = " ".join(str(error).split())
            log.warning("a request goes on without a plan: %s", said, exc_info=not known)
            self._metrics.failures.labels("proxy", "").inc()
            if asked.named or not asked.previous_response:
                self._without.add(asked.named or asked.beginnings[-1][1])
            raise Unplanned("the proxy's folder cannot be used") from error

    def remembered(self, asked: Asked) -> Given | None:
        """The conversation that a request belongs to, where it is known without a look anywhere:
        by its name, or since the very same was asked."""
        if asked.named:
            return self._known.get(asked.named)
        if asked.previous_response or asked.headers.plan == FRESH or not asked.beginnings:
            return None
        return self._known.get(asked.beginnings[-1][1])

    async def also_named(self, name: str, id: str) -> None:
        """Let a conversation be found by another name, which is none of the proxy's own."""
        if name.startswith(OWN):
            return
        try:
            await self.write(self._store.name, name, id)
        except Exception as error:
            known = isinstance(error, InputError)
            log.warning("%s: not kept as a name of %s: %s", name, id, error, exc_info=not known)

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
        self._without.close()

    # ---------------------------------------------------------------------- which one it is

    async def _of(self, asked: Asked) -> Given:
        if asked.named:
            return await self._of_name(asked.named, asked)
        if asked.previous_response:
            # One of the proxy's own names would be that of a beginning.
            ids = [] if asked.previous_response.startswith(OWN) else [asked.previous_response]
            found = await self._last_named(ids)
            if found is None:
                raise Unplanned("goes on from a response that is not known")
            return found[1]
        if not asked.beginnings:
            raise Unplanned("no task")
        if asked.headers.plan == FRESH:
            return await self._fresh(asked)
        ids = [id for _, id in reversed(asked.beginnings)]
        given = await self._longest(ids)
        if given is None:
            turns, id = self._lost(asked) or asked.beginnings[-1]
            given = await self._begun(id, asked, turns, known_as=id)
        # Of later requests, only what they add is looked for: no longer beginning becomes known.
        return self._known.hold(ids[0], given)

    async def _of_name(self, name: str, asked: Asked) -> Given:
        known = await self._kept(name)
        if known is None and asked.headers.conversation and name.startswith(OWN):
            raise NoSuchConversation(
                f"X-MPO-Conversation: no conversation {name!r}; names that begin with {OWN} "
                "are the proxy's own, give another one"
            )
        # Of one that began without the folder, this is a later request.
        which = 0 if name in self._without else -1
        turns = asked.beginnings[which][0] if asked.beginnings else len(asked.turns)
        return known or await self._begun(name, asked, turns, known_as=name)

    async def _fresh(self, asked: Asked) -> Given:
        """A conversation that asks for a fresh plan: a new one with each request that is no more
        than a beginning; what goes on from that beginning belongs to the last of them."""
        turns, beginning = asked.beginnings[-1]
        found = await self._last_named([id for _, id in reversed(asked.beginnings)])
        if found is not None and (found[0] != beginning or turns < len(asked.turns)):
            return found[1]
        turns, lost = self._lost(asked) or (turns, beginning)
        given = await self._begun(own_name(secrets.token_hex(12)), asked, turns, known_as=lost)
        await self.write(self._store.name, lost, given.id)
        return given

    async def _longest(self, ids: Sequence[str]) -> Given | None:
        """The conversation of the first of some beginnings that has one."""
        n = next((n for n, id in enumerate(ids) if id in self._known), len(ids))
        held = self._known.get(ids[n]) if n < len(ids) else None
        try:
            kept = await self.read(_first, self._store.conversation, ids[:n])
        except InputError:
            if held is None:
                raise
            return held
        if kept is not None:
            return self._remembered(kept[1])
        under_way = next((id for id in ids[:n] if id in self._beginning), None)
        return held if under_way is None else await asyncio.shield(self._beginning[under_way])

    async def _last_named(self, names: Sequence[str]) -> tuple[str, Given] | None:
        """The first of some names that was given to a conversation, and the one it was given to."""
        found = await self.read(_first, self._store.named, names)
        given = await self._kept(found[1]) if found else None
        return (found[0], given) if found and given else None

    async def _kept(self, id: str) -> Given | None:
        if given := self._known.get(id):
            return given
        if id in self._beginning:
            return await asyncio.shield(self._beginning[id])
        kept = await self.read(self._store.conversation, id)
        return self._remembered(kept) if kept else None

    def _lost(self, asked: Asked) -> tuple[int, str] | None:
        """The beginning of a conversation that began when nothing could be kept of it."""
        return next((one for one in asked.beginnings if one[1] in self._without), None)

    def _remembered(self, kept: Conversation) -> Given:
        return self._known.hold(kept.id, Given.of(kept))

    async def _begun(self, id: str, asked: Asked, turns: int, *, known_as: str) -> Given:
        """A new conversation; of requests that begin it at once, the first does.

        Args:
            turns: of the request that are its beginning.
            known_as: by which it is noted where it has begun without the folder.
        """
        if id not in self._beginning:
            task = asyncio.create_task(self._begin(id, asked, turns, known_as))
            self._beginning[id] = task
            task.add_done_callback(lambda _: self._beginning.pop(id, None))
        # A caller that leaves does not take the plan from those who wait for it too.
        return await asyncio.shield(self._beginning[id])

    # ---------------------------------------------------------------------- what it is given

    async def _begin(self, id: str, asked: Asked, turns: int, known_as: str) -> Given:
        planners = self._versions.planners
        assert planners is not None
        text = await self.apart(asked, self.rule.task, asked, turns) or ""
        longest = self._config.longest_task
        task = task_of(text[:longest])
        place = self.rule.place(asked.turns[:turns], text)
        wanted = asked.headers.plan
        # Who asks for a fresh plan is given one.
        off = 0.0 if wanted == FRESH else self._config.off
        arm = OFF if wanted == OFF else arm_of(id, off, planners)
        made = Conversation(
            id=id,
            task_id=task.id,
            task=task.description,
            arm=arm,
            turn="" if place is None else asked.mark(asked.turns[place]),
            model=task_of(asked.model).description,
            mode=self._config.mode,
            begun=time.time(),
        )

        async def opened(plan: Plan) -> Given:
            given = {"plan_id": plan.id, "plan": plan.text, "planner": plan.origin}
            return await self._open(made.model_copy(update={"arm": plan.origin, **given}))

        try:
            if known_as in self._without and arm != OFF:
                raise PlanMissing(WITHOUT)
            if wanted not in (None, OFF, FRESH):
                return await opened(await self._draws.named(task, wanted))
            if arm == OFF:
                return await self._open(made)
            if not text or place is None or len(text) > longest:
                raise PlanMissing("task too long" if len(text) > longest else "no task")
            return await self._draws.given(arm, task, opened, fresh=wanted == FRESH)
        except PlanMissing as missing:
            given = await self._open(made.model_copy(update={"why": missing.why}))
            self._without.discard(known_as)
            return given

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


def _first(look: Callable[[str], T | None], ids: Sequence[str]) -> tuple[str, T] | None:
    """The first of some names of which something is found, and what."""
    found = ((id, look(id)) for id in ids)
    return next(((id, value) for id, value in found if value is not None), None)
