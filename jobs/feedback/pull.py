"""Stage: the conversations with final feedback that the proxy has kept, as the run's records.

They are copied into the run's folder once each, in the order in which their feedback came, so that
what a round has learnt from stays there whatever becomes of the proxy's folder.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from jobs.rollout import Episodes, episode_ledger
from jobs.run import Run
from mpo_core.errors import InputError
from mpo_core.files import write_records
from mpo_core.inert import inert, shortened
from mpo_core.ledger import Ledger
from mpo_core.proxy.episodes import NO_USAGE, Assignment, episode_key_of, episode_of
from mpo_core.proxy.planners import read_planners
from mpo_core.proxy.records import Conversation, task_of
from mpo_core.proxy.store import Store
from mpo_core.types import Plan, Task, content_hash

FEEDBACK = "feedback"
"""The stage whose ledger holds callers' episodes."""
AT_ONCE = 500
"""Episodes that are written at a time."""
SHOWN, LONGEST_SHOWN = 8, 80
"""Agents that an error names, and characters of a name."""


@dataclass(frozen=True)
class Pulled:
    """All that has come so far."""

    tasks: list[Task]
    plans: list[Plan]
    arms: list[Assignment]
    """What each episode was drawn into, in the order in which their feedback came."""
    episodes: Episodes
    counts: dict[str, int]
    """Of the proxy's folder (`Store.counts`)."""


def at_hand(run: Run, store: Store) -> tuple[list[Task], list[Assignment]]:
    """The tasks and episodes of the run, and after these what has come since; writes nothing."""
    tasks = {task.id: task for task in run.records(run.files.tasks("train"), Task)}
    arms = {one.conversation: one for one in run.records(run.files.conversations, Assignment)}
    for id, reward in store.rewards().items():
        if id not in arms and (one := store.conversation(id)) is not None:
            tasks.setdefault(one.task_id, task_of(one.task))
            arms[id] = Assignment.of(one, reward)
    return list(tasks.values()), list(arms.values())


def check_input(run: Run) -> None:
    """See that there is a proxy's folder, and in it what the config has in mind, before anything is
    written.

    Raises:
        InputError: there is none, conversations are of several agents of which the config names
            none, or it names agents or planners that none is of.
    """
    with Store(run.config.proxy.folder, create=False) as store:
        check_named(run, at_hand(run, store)[1])


def check_named(run: Run, arms: Sequence[Assignment]) -> None:
    """See that the agents and planners that the config names are there.

    Raises:
        InputError: as of `check_input`.
    """
    asked, known = run.config.feedback, read_planners(run.config.proxy.folder)
    _require("models", asked.models, Counter(one.model for one in arms))
    planners = Counter(one.planner for one in arms if one.planner)
    _require("planners", asked.planners, planners, known.versions if known else ())
    counted(run, arms)


def _require(
    key: str, named: Sequence[str], there: Counter[str], to_come: Collection[str] = ()
) -> None:
    missing = [name for name in named if name not in there and name not in to_come]
    if there and missing:
        raise InputError(
            f"feedback.{key}: {', '.join(missing)}: no conversation of these has a final reward; "
            f"there are those of {_in_words(there)}"
        )


def pull(run: Run) -> Pulled:
    """Copy what has come since the last time, and give all of it.

    Raises:
        InputError: there is no proxy's folder.
    """
    tasks = {task.id: task for task in run.records(run.files.tasks("train"), Task)}
    plans = Plans(run)
    with (
        Store(run.config.proxy.folder, create=False) as store,
        _drawn(run) as arms,
        episode_ledger(run, FEEDBACK) as episodes,
    ):
        counts, rewards, usage = store.counts(), store.rewards(), store.usage()
        owed = [id for id in rewards if episode_key_of(id) not in episodes]
        # What episodes belong to is there before them, whenever this is cut off.
        for one in _conversations(store, owed):
            tasks.setdefault(one.task_id, task_of(one.task))
            plans.add(one)
        write_records(run.files.tasks("train"), tasks.values())
        plans.write()
        under = Counter((one.task_id, one.plan_id) for one in episodes)
        for batch in _batches(_conversations(store, owed)):
            played = []
            for one in batch:
                place, cost = (one.task_id, one.plan_id), usage.get(one.id, NO_USAGE)
                said = store.messages(one.id)
                played.append(episode_of(one, rewards[one.id], cost, said, under[place]))
                under[place] += 1
            drawn = [
                Assignment.of(one, rewards[one.id], usage.get(one.id, NO_USAGE)) for one in batch
            ]
            arms.append(*(one for one in drawn if one.key not in arms))
            episodes.append(*played)
        of_episodes = [arms[episode.key] for episode in episodes]
    return Pulled(list(tasks.values()), plans.all(), of_episodes, episodes, counts)


def counted(run: Run, arms: Sequence[Assignment]) -> list[Assignment]:
    """The episodes of the agents that the config has in mind.

    Raises:
        InputError: there are several agents, and it names none.
    """
    named = run.config.feedback.models
    there = Counter(one.model for one in arms)
    if not named and len(there) > 1:
        raise InputError(
            f"feedback.models: conversations of several agents: {_in_words(there)}; name those "
            "that count"
        )
    return [one for one in arms if not named or one.model in named]


def _in_words(of_each: Counter[str]) -> str:
    """Names with how often each came, as a line holds them: callers may name agents at any
    length."""
    most = of_each.most_common()
    names = (inert(shortened(" ".join(name.split()), LONGEST_SHOWN)) for name, _ in most)
    shown = [f"{name} ({n})" for name, (_, n) in zip(names, most[:SHOWN], strict=False)]
    others = len(most) - len(shown)
    return ", ".join(shown) + (f", and {others} others" if others else "")


class Plans:
    """The plans that conversations were given: a file for each version of the planner."""

    def __init__(self, run: Run) -> None:
        self._files = run.files
        self._of: dict[str, dict[str, Plan]] = {}
        for _, _, path in run.files.planners_plans():
            for plan in run.records(path, Plan):
                self._of.setdefault(plan.origin, {})[plan.id] = plan
        self._number = Counter((plan.origin, plan.task_id) for plan in self.all())
        self._new: set[str] = set()

    def add(self, conversation: Conversation) -> None:
        """Take note of the plan of a conversation, where it has one."""
        plan = conversation.given
        if plan is None or plan.id in self._of.get(plan.origin, {}):
            return
        place = plan.origin, plan.task_id
        numbered = plan.model_copy(update={"sample": self._number[place]})
        self._of.setdefault(plan.origin, {})[plan.id] = numbered
        self._number[place] += 1
        self._new.add(plan.origin)

    def write(self) -> None:
        """Write the files that lack something."""
        for version in self._new:
            path = self._files.plans(_in_a_name(version), "train")
            write_records(path, self._of[version].values())
        self._new.clear()

    def all(self) -> list[Plan]:
        """All plans, version by version."""
        return [plan for of_version in self._of.values() for plan in of_version.values()]


def _drawn(run: Run) -> Ledger[Assignment, Assignment]:
    return Ledger(run.files.conversations, Assignment, key=lambda one: one.key)


def _in_a_name(version: str) -> str:
    """A version as a file's name may hold it."""
    plain = re.sub(r"[^A-Za-z0-9._]+", "_", version)[:40]
    return plain if plain == version else f"{plain}_{content_hash(version, length=6)}"


def _conversations(store: Store, ids: Iterable[str]) -> Iterator[Conversation]:
    return (one for id in ids if (one := store.conversation(id)) is not None)


def _batches(conversations: Iterator[Conversation]) -> Iterator[list[Conversation]]:
    while batch := list(islice(conversations, AT_ONCE)):
        yield batch
