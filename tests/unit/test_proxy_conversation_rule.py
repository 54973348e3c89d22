"""A conversation has one plan at one place, or none, whoever answers it and whatever fails."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mpo_core.config import ProxyConfig
from mpo_core.prompts import plan_block
from mpo_core.proxy.asked import Asked, Headers
from mpo_core.proxy.conversations import Conversations, Unplanned
from mpo_core.proxy.metrics import Metrics
from mpo_core.proxy.placing import with_plan
from mpo_core.proxy.planners import Planners, Source
from mpo_core.proxy.store import Store, StoreFault

WORKERS = st.integers(0, 1)
EXAMPLES = ["Example.", "So."]
ALIKE = [Headers(), Headers(task="Elsewhere.")]
PLANS = [{"plan": "fresh"}, {"plan": "off"}]
WRITES = ("open_conversation", "name")
READS = ("conversation", "named", "plans_of")


class Planner:
    """In the place of the versions: a plan for every task."""

    planners = Planners(current="v1", versions={"v1": Source(plans=Path("plans"))})

    def writer(self, version: str) -> "Planner":
        return self

    def writers(self) -> dict[str, Any]:
        return {}

    async def write(self, task, sample, *, sampled):
        return f"Step 1: {task.description}\nStep 2: Way {sample}."


class Failing(Store):
    """A folder that can be made unusable."""

    failing: tuple[str, ...] = ()

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "failing"):
            return failed
        return object.__getattribute__(self, name)


def failed(*_: Any) -> None:
    raise StoreFault("the folder cannot be used")


@dataclass
class Caller:
    """Who has a conversation, and what the upstream has been sent of it."""

    api: str
    headers: Headers
    said: list[str]
    previous: str | None = None
    id: str | None = None
    place: tuple[int, str] | None = None
    """Turn and plan."""
    begun: bool = False
    sent: list[list[str]] = field(default_factory=list)

    def asked(self) -> Asked:
        roles = ("user", "assistant")
        turns = [{"role": roles[k % 2], "content": said} for k, said in enumerate(self.said)]
        if self.api == "chat":
            return Asked("chat", json.dumps({"model": "m", "messages": turns}), self.headers)
        body = {"model": "m", "input": turns[-1:] if self.previous else turns}
        body |= {"previous_response_id": self.previous} if self.previous else {}
        return Asked("responses", json.dumps(body), self.headers)


class OnePlanAtOnePlace(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.config = ProxyConfig(folder=Path(self.folder.name), explore=2)
        self.callers: list[Caller] = []
        self.known: set[str] = set()
        self.stores = [Failing(self.config.folder) for _ in range(2)]
        self.workers = [self.started(store) for store in self.stores]

    def started(self, store: Store) -> Conversations:
        return Conversations(self.config, store, Planner(), Metrics())

    def teardown(self) -> None:
        for worker, store in zip(self.workers, self.stores, strict=True):
            store.failing = ()
            worker.close()
            store.close()
        self.loop.close()
        self.folder.cleanup()

    @rule(
        worker=WORKERS,
        api=st.sampled_from(["chat", "chat", "responses"]),
        begins=st.sampled_from([[], EXAMPLES]),
        told=st.sampled_from([*[{}] * 3, {"conversation": "c"}, {"task": "Elsewhere."}, *PLANS]),
    )
    def begin(self, worker, api, begins, told):
        n = len(self.callers)
        headers = Headers(**{k: f"{v}{n}" if k == "conversation" else v for k, v in told.items()})
        self.callers.append(Caller(api, headers, [*begins, f"Task {n}."]))
        self.ask(self.callers[-1], worker)

    @precondition(lambda self: self.callers)
    @rule(worker=WORKERS, data=st.data(), user=st.sampled_from(["And now?", "Example.", "same"]))
    def go_on(self, worker, data, user):
        caller = data.draw(st.sampled_from(self.callers))
        self.say(caller, worker, caller.said[-1] if user == "same" else user)

    @precondition(lambda self: self.callers)
    @rule(worker=WORKERS, data=st.data())
    def ask_again(self, worker, data):
        caller = data.draw(st.sampled_from(self.callers))
        # Who asks for a fresh plan once more is given another one.
        if caller.headers.plan != "fresh" or len(caller.sent) > 1:
            self.ask(caller, worker)

    def known_beginners(self) -> list[Caller]:
        """Whose first words others may say without a loss: a conversation that began while nothing
        could be kept, and is asked for again later, is taken for that of the same first words."""
        lost = {(one.api, one.said[0]) for one in self.callers if one.begun and not one.id}
        known = [one for one in self.callers if one.id and one.headers in ALIKE]
        return [one for one in known if (one.api, one.said[0]) not in lost]

    @precondition(lambda self: self.known_beginners())
    @rule(worker=WORKERS, data=st.data(), headers=st.sampled_from(ALIKE))
    def someone_says_the_first_words_alone(self, worker, data, headers):
        other = data.draw(st.sampled_from(self.known_beginners()))
        self.callers.append(Caller(other.api, headers, other.said[:1]))
        self.ask(self.callers[-1], worker)
        self.say(other, worker, "And now?")

    def say(self, caller: Caller, worker: int, user: str) -> None:
        caller.said += ["So.", user]
        if caller.api == "responses":
            caller.previous = f"resp_{self.callers.index(caller)}_{len(caller.sent)}"
            if caller.id:
                self.run(self.workers[worker].also_named(caller.previous, caller.id))
        self.ask(caller, worker)

    @rule(failing=st.sampled_from([(), WRITES, (*WRITES, *READS)]))
    def fail(self, failing):
        for store in self.stores:
            store.failing = failing

    @rule(worker=WORKERS)
    def restart(self, worker):
        self.workers[worker].close()
        self.workers[worker] = self.started(self.stores[worker])

    def run(self, work):
        return self.loop.run_until_complete(work)

    def ask(self, caller: Caller, worker: int) -> None:
        asked = caller.asked()
        conversations = self.workers[worker]
        try:
            given = conversations.remembered(asked) or self.run(conversations.of(asked))
        except Unplanned:
            # Nothing can be kept, or of the response nothing could be.
            assert self.stores[0].failing or caller.previous
            given = None
        place = None
        turns = [turn.text for turn in asked.turns]
        if given is not None and given.plan is not None:
            at = asked.marked(given.turn)
            body = json.loads(with_plan(asked, given.plan, at, given.mode))
            sent = [turn["content"] for turn in body.get("messages", body.get("input"))]
            changed = [
                k for k, (one, two) in enumerate(zip(turns, sent, strict=True)) if one != two
            ]
            for k in changed:
                assert sent[k] == f"{turns[k]}\n\n{plan_block(given.plan)}"
                place = k, given.plan
            assert len(changed) == (0 if caller.previous else 1)
        self.judge(caller, asked, given, place)
        caller.sent.append(turns)

    def judge(self, caller, asked, given, place) -> None:
        if caller.previous:
            # The upstream has the plan from the first request, or there is none.
            assert place is None and (given is None or caller.id in (None, given.id))
            return
        if given is None:
            # Where it is another's conversation as well, that may have a plan already.
            others = {id for _, id in asked.beginnings} & self.known
            caller.begun = caller.begun or not others
            return
        if caller.begun:
            assert place == caller.place
            assert caller.id in (None, given.id)
        caller.begun, caller.id, caller.place = True, given.id, place
        self.known.add(given.id)

    @invariant()
    def plans_are_for_the_callers_tasks(self):
        for caller in self.callers:
            if caller.place:
                at, plan = caller.place
                task = caller.headers.task or caller.said[at]
                assert plan.startswith(f"Step 1: {task}")


OnePlanAtOnePlace.TestCase.settings = settings(
    max_examples=100, stateful_step_count=20, deadline=None
)
TestOnePlanAtOnePlace = pytest.mark.slow(OnePlanAtOnePlace.TestCase)
