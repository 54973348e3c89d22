"""Which plan a new conversation is given: a new one of its planner's, or one that its task has."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from mpo_core.config import ProxyConfig
from mpo_core.errors import ContextFull, InputError, ModelUnavailable
from mpo_core.planning import NoPlan
from mpo_core.proxy.metrics import Metrics
from mpo_core.proxy.store import Store
from mpo_core.proxy.versions import Versions
from mpo_core.proxy.writers import NOT_IN_FILE, FileWriter
from mpo_core.types import Plan, Task

log = logging.getLogger(__name__)
T = TypeVar("T")


class PlanMissing(Exception):
    """No plan came in time; the conversation goes on without one."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class NoSuchPlan(InputError):
    """The plan that a caller asks for by its id is not the task's."""


@dataclass(eq=False)
class Trying:
    """The plans of a task by one version that are under way."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    drawn: list[asyncio.Task[Plan]] = field(default_factory=list)
    """Whose conversations are not yet kept."""


class Draws:
    """The plans of the tasks, as far as their conversations have been given any."""

    def __init__(
        self,
        config: ProxyConfig,
        store: Store,
        versions: Versions,
        metrics: Metrics,
        read: Callable[..., Awaitable[Any]],
    ) -> None:
        self._config, self._store = config, store
        self._versions, self._metrics = versions, metrics
        self._read = read
        self._said: Counter[tuple[str, str]] = Counter()
        self._trying: WeakValueDictionary[tuple[str, str], Trying] = WeakValueDictionary()

    async def given(
        self, version: str, task: Task, opened: Callable[[Plan], Awaitable[T]], *, fresh: bool
    ) -> T:
        """What is made of the plan that a task's next conversation is given.

        The first `explore` conversations of a task and version, and those that ask for it, are
        given a new plan; later ones that which was given least. Of conversations that begin at
        once, those past the first `explore` share the plans that the first ones wait for. Of
        the plans of a file, the first `explore`, it is that which was given least.

        Args:
            opened: keeps the conversation with its plan.

        Raises:
            PlanMissing: the planner fails, or takes longer than the time limit.
        """
        trying = self._trying.setdefault((version, task.id), Trying())
        async with trying.lock:
            known = await self._read(self._store.plans_of, task.id)
            counts = [(plan, n) for plan, n in known if plan.origin == version]
            under_way = sum(n for _, n in counts) + len(trying.drawn)
            there = self._in_file(version, task)
            if there is not None:
                # What the file held before is given to no new conversation.
                times = {plan.id: n for plan, n in counts}
                counts = [(plan, times.get(plan.id, 0)) for plan in there]
            if not fresh and counts and (there or under_way >= self._config.explore):
                return await opened(min(counts, key=lambda one: one[1])[0])
            if not fresh and trying.drawn and under_way >= self._config.explore:
                drawn = trying.drawn[0]
                trying.drawn.append(trying.drawn.pop(0))
                mine = False
            else:
                sampled = fresh or self._config.explore > 1
                drawn = asyncio.create_task(self._draw(version, task, under_way, sampled))
                trying.drawn.append(drawn)
                mine = True
        try:
            return await opened(await asyncio.shield(drawn))
        finally:
            if mine:
                trying.drawn.remove(drawn)

    async def named(self, task: Task, id: str) -> Plan:
        """The task's plan of that id. Raises NoSuchPlan where there is none."""
        known = await self._read(self._store.plans_of, task.id)
        plans = [plan for plan, _ in known]
        for version, writer in self._versions.writers().items():
            plans += [Plan.of(task.id, text, version) for text in writer.known(task)]
        found = next((plan for plan in plans if plan.id == id), None)
        if found is None:
            raise NoSuchPlan(
                f"X-MPO-Plan: no plan {id!r} of this task; expected off, fresh, or the id of a "
                "plan that this very task was given or has in the file of plans"
            )
        return found

    def _in_file(self, version: str, task: Task) -> list[Plan] | None:
        """The first `explore` plans of a task in the version's file; None where it has none."""
        writer = self._versions.writers().get(version)
        if not isinstance(writer, FileWriter):
            return None
        texts = writer.known(task)[: self._config.explore]
        return [Plan.of(task.id, text, version) for text in texts]

    async def _draw(self, version: str, task: Task, sample: int, sampled: bool) -> Plan:
        """A new plan, within the time limit."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._config.planner_timeout_s):
                writer = self._versions.writer(version)
                text = await writer.write(task, sample, sampled=sampled)
        except TimeoutError as error:
            limit = self._config.planner_timeout_s
            slow = TimeoutError(f"no plan within {limit:g} s (proxy.planner_timeout_s)")
            raise self._failed(version, "planner timeout", slow) from error
        except NoPlan as error:
            why = f"no plan: {error.fault}"
            if error.fault == NOT_IN_FILE:
                raise PlanMissing(why) from error
            raise self._failed(version, why, error) from error
        except ContextFull as error:
            raise self._failed(version, "task too long for the planner", error) from error
        except ModelUnavailable as error:
            raise self._failed(version, "planner unavailable", error) from error
        except Exception as error:
            # Whatever a planner does, its caller's agent is answered.
            raise self._failed(version, "planner failed", error) from error
        self._metrics.planner_seconds.labels(version).observe(time.monotonic() - began)
        return Plan.of(task.id, text, version)

    def _failed(self, version: str, why: str, error: Exception) -> PlanMissing:
        self._metrics.failures.labels("planner", version).inc()
        self._said[version, why] += 1
        times = self._said[version, why]
        # The first time, the tenth, the hundredth: a planner that is down fails for everyone.
        if str(times).strip("0") == "1":
            words = " ".join(str(error).split())[:300]
            log.warning("planner %s: %s (%d so far): %s", version, why, times, words)
        return PlanMissing(why)
